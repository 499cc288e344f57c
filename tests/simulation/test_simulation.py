"""A few fixed seeds of the simulation in every run of the tests; `python -m scripts.simulate --seeds 1000` runs many.

Each interleaves claims, paid calls, writes, sweeps, deaths at crash points, lapsed leases, late answers and people, over
several processes on one job table, and asks after every step whether a job was lost or charged beyond what was agreed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain.outcomes import NotSent
from orchestrator.services.lanes import sweep
from tests.simulation.provider import MemoryProvider
from tests.simulation.run import SimulationFailed, simulate

SEEDS = tuple(range(5))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_order_of_events_loses_a_job_or_pays_twice(seed: int) -> None:
    """A2-A5, A7, B5, B6, B8, B12, C4-C6, C18, G1, G2, G4: whatever comes between two steps, and whoever dies in one."""
    figures = simulate(seed)
    assert figures["charges"] > 0


def test_the_policy_pays_again_and_no_more_than_it_may() -> None:
    """The opt-in way: unexplained calls are made again by themselves, under their cap."""
    figures = simulate(2, resubmit_max=2)
    assert figures["resubmitted_by_policy"] > 0


FOUND = [(10010, 2)]
"""Seeds that found something, with their policy: a poll of an old lease and one of a new lease, written together."""


@pytest.mark.parametrize(("seed", "resubmit_max"), FOUND)
def test_what_a_seed_has_found_stays_mended(seed: int, resubmit_max: int) -> None:
    """A story that went wrong once ends well."""
    assert simulate(seed, resubmit_max=resubmit_max)["steps"] > 0


def test_a_seed_tells_the_same_story_again() -> None:
    """What a failing seed shows is worth nothing unless it can be seen again."""
    assert simulate(3) == simulate(3)


def test_a_broken_promise_is_found_and_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness that cannot fail proves nothing: here the provider takes every request twice."""
    take = MemoryProvider.take
    monkeypatch.setattr(MemoryProvider, "take", lambda self, request: (take(self, request), take(self, request))[1])
    with pytest.raises(SimulationFailed, match=r"python -m scripts\.simulate --from 0 --seeds 1"):
        simulate(0)


def take_silence_for_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dearest mistake of all."""
    monkeypatch.setattr(sweep, "Unknown", NotSent)


def read_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dead process had kept is thrown away."""
    monkeypatch.setattr(sweep, "_replay", lambda context, journal: (0, 0))


@pytest.mark.parametrize(
    ("plant", "seed", "words"),
    [(take_silence_for_not_sent, 1, "was charged 2 times"), (read_no_journal, 2, "kept in a journal, and yet unknown")],
)
def test_a_known_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], seed: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was found by the seed that stands beside it, which finds nothing in the code as it is."""
    plant(monkeypatch)
    with pytest.raises(SimulationFailed, match=words):
        simulate(seed)

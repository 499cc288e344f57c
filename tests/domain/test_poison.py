"""B9: which due rows may be taken beside what is in flight, so that one that kills its worker takes nobody along."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.poison import ALONE_FROM, SUSPECT_WINDOW, InFlight, count_takable

CASES: dict[str, tuple[list[int], InFlight, int]] = {
    "clean rows know no window": ([0] * 50, InFlight(100, 0), 50),
    "suspects, ten at most": ([1] * 15, InFlight(), 10),
    "clean rows fill a suspect's window": ([1] + [0] * 15, InFlight(), 10),
    "what is held counts for the window": ([1] * 15, InFlight(4, 0), 6),
    "a full lane makes a suspect wait": ([1, 0, 0], InFlight(10, 0), 0),
    "clean rows wait while a suspect's window is full": ([0, 0], InFlight(10, 1), 0),
    "clean rows join a suspect": ([0, 0], InFlight(1, 1), 2),
    "from two deaths on alone": ([2, 2, 1, 0], InFlight(), 1),
    "alone means an empty lane": ([2, 0, 0], InFlight(1, 0), 0),
    "nothing beside one that is alone": ([0, 1], InFlight(1, 2), 0),
    "nothing is due": ([], InFlight(3, 1), 0),
}


@pytest.mark.parametrize(("deaths", "held", "count"), CASES.values(), ids=CASES.keys())
def test_what_may_be_taken(deaths: list[int], held: InFlight, count: int) -> None:
    """Design section 6, the poison rule."""
    assert count_takable(deaths, held) == count


@given(
    deaths=st.lists(st.integers(0, 6), max_size=40).map(lambda found: sorted(found, reverse=True)),
    held=st.lists(st.integers(0, 1), max_size=12),
)
def test_no_window_is_ever_too_large(deaths: list[int], held: list[int]) -> None:
    """Whatever is taken: a suspect shares a window of ten, a worse one shares nothing; an empty lane always gets work."""
    count = count_takable(deaths, InFlight.of(held))
    taken = deaths[:count]
    if any(each >= ALONE_FROM for each in taken):
        assert (len(taken), held) == (1, [])
    elif taken and max(*taken, *held, 0) == 1:
        assert len(taken) + len(held) <= max(SUSPECT_WINDOW, len(held))
    if deaths and not held:
        assert count > 0

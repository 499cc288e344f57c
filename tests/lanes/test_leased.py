"""What the leased lanes share: a job that is put aside costs the others of its claim nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from orchestrator.domain.errors import Transient
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.leased import LeasedLane
from tests.domain.samples import job_in
from tests.fixtures.clock import FakeClock


class JobsAway:
    """A job table that can be claimed from and not written to."""

    def apply(self, decisions: object) -> None:
        raise Transient("database_unavailable", "gone")


@dataclass
class Context:
    """As much of a lane's context as putting aside looks at."""

    jobs: JobsAway = field(default_factory=JobsAway)
    rules: Rules = field(default_factory=Rules)
    clock: FakeClock = field(default_factory=FakeClock)


class OneLane(LeasedLane[Any]):
    """A lane that has a name and no more."""

    name = cast("Any", "poll")


def test_a_poisoned_job_that_cannot_be_put_aside_spares_its_neighbours() -> None:
    """The claim is committed: rows that were dropped now would stand still for a lease and count a death."""
    lane = OneLane(cast("LaneContext", Context()), lease=timedelta(seconds=60))
    well = job_in(State.PROCESSING)
    poisoned = job_in(State.PROCESSING, death_count=5)
    assert lane._without_poisoned([poisoned, well]) == [well]

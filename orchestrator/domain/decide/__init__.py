"""decide(): from a job and what happened to what follows. Pure, total over what a lane can report, and table-tested."""

from __future__ import annotations

from datetime import datetime
from random import Random

from orchestrator.domain.decide.archive import decide_archive
from orchestrator.domain.decide.attach import choose_submission
from orchestrator.domain.decide.decision import Decision, JobPatch, Pause, PauseLane
from orchestrator.domain.decide.dependency import Standing, decide_dependent, find_due
from orchestrator.domain.decide.late import Evidence, is_moved_by_repeats, may_end_otherwise, settle_ended, settle_late
from orchestrator.domain.decide.person import (
    decide_cancel,
    decide_policy_resubmit,
    decide_resubmit,
    decide_retry,
    decide_write_off,
)
from orchestrator.domain.decide.poll import decide_poisoned, decide_poll, is_nothing_new
from orchestrator.domain.decide.submit import decide_submit
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import (
    ArchiveStep,
    NothingUsable,
    Outcome,
    OutputsReady,
    PollFailed,
    ProviderFailed,
    StillRunning,
    TaskMissing,
)
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State

__all__ = [
    "Decision",
    "Evidence",
    "IllegalOutcome",
    "JobPatch",
    "Pause",
    "PauseLane",
    "Standing",
    "choose_submission",
    "decide",
    "decide_cancel",
    "decide_dependent",
    "decide_poisoned",
    "decide_policy_resubmit",
    "decide_resubmit",
    "decide_retry",
    "decide_write_off",
    "find_due",
    "is_moved_by_repeats",
    "is_nothing_new",
    "may_end_otherwise",
    "settle_ended",
    "settle_late",
]


class IllegalOutcome(Exception):
    """A bug of ours: a lane reported what cannot happen to a job in this state."""


def decide(job: Job, outcome: Outcome, rules: Rules, now: datetime, rng: Random) -> Decision:
    """Return what follows for `job`, a snapshot in the state its lane claimed it in. Raises IllegalOutcome."""
    match outcome:
        case StillRunning() | PollFailed() | TaskMissing() | OutputsReady() | NothingUsable() | ProviderFailed():
            wanted = State.PROCESSING
        case ArchiveStep():
            wanted = State.ARCHIVING
        case _:
            wanted = State.SUBMITTING
    if job.state is not wanted:
        raise IllegalOutcome(f"{type(outcome).__name__} reported for a job in {job.state}")
    match outcome:
        case StillRunning() | PollFailed() | TaskMissing() | OutputsReady() | NothingUsable() | ProviderFailed():
            return decide_poll(job, outcome, rules, now, rng)
        case ArchiveStep():
            return decide_archive(job, outcome, rules, now, rng)
        case _:
            return decide_submit(job, outcome, rules, now, rng)

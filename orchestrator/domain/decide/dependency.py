"""What follows for a job from how those it depends on stand (docs/dependencies.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.decide.decision import Decision, JobPatch, failed
from orchestrator.domain.job import Job
from orchestrator.domain.states import State, Trigger

DEPENDENCY_FAILED = "dependency_failed"


@dataclass(frozen=True)
class Standing:
    """The jobs that one waits for: how many have not succeeded, and the name of one that ended otherwise."""

    waiting_count: int
    dead_name: str | None = None


def decide_dependent(job: Job, standing: Standing, now: datetime) -> Decision | None:
    """Return the move of a job that depends on others; None when it stays where it is.

    A queued job fails with a dead parent, before anything is paid; one that failed so comes back once none is dead.
    """
    is_dead = standing.dead_name is not None
    if job.state is State.QUEUED and is_dead:
        message = f"{standing.dead_name}, which it depends on, did not succeed"
        cost = job.cost_final_micros if job.submission_count else 0
        data = {"depends_on": standing.dead_name}
        return failed(
            job, Trigger.DEPENDENCY_FAILED, now, code=DEPENDENCY_FAILED, message=message, cost=cost, data=data
        )
    if job.state is State.FAILED and job.failure_code == DEPENDENCY_FAILED and not is_dead:
        return _back(job, standing, now)
    return None


def _back(job: Job, standing: Standing, now: datetime) -> Decision:
    patch = JobPatch(
        attempt_count=0,
        finished_at=None,
        failure_code=None,
        failure_message=None,
        last_error=None,
        cost_final_micros=None,
        waiting_on_count=standing.waiting_count,
    )
    due = find_due(job, standing, now)
    return Decision(job.state, Trigger.RETRIED, State.QUEUED, due, "what it depends on is tried again", patch)


def find_due(job: Job, standing: Standing, now: datetime) -> datetime | None:
    """Return when a queued job may be submitted; None while it waits for others."""
    if standing.waiting_count:
        return None
    return max(now, job.not_before) if job.not_before else now

"""What follows when the database was restored from a backup (docs/decisions/0008): hold, and let go again."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.decide.decision import Decision, JobPatch
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import RESTORED_IN_DOUBT, RESTORED_QUEUED, Job
from orchestrator.domain.states import State, Trigger

HOLDABLE = frozenset({State.QUEUED, State.SUBMITTING, State.NEEDS_REVIEW})
"""Where a paid call can still come from. Polling and archiving cost nothing and go on."""

REASON = "restored from a backup: it may have been submitted since"


def decide_restore_hold(job: Job) -> Decision:
    """Return the move of a job that could still be paid for to `needs_review`; nothing but a paid answer or a person
    moves it on. One that is held already keeps its reason: the evidence of its own call is what settles it.
    """
    code = RESTORED_QUEUED if job.state is State.QUEUED else RESTORED_IN_DOUBT
    patch = JobPatch(provider_code=code, cost_final_micros=None)
    if job.state is not State.NEEDS_REVIEW or job.last_error is None:
        patch["last_error"] = REASON
    data = {"was": job.state, "provider_code": job.provider_code}
    return Decision(job.state, Trigger.RESTORED, State.NEEDS_REVIEW, None, REASON, patch, data)


def decide_restore_release(job: Job, now: datetime, *, not_before: datetime | None) -> Decision:
    """Return the move back to `queued` of a job that was queued in the backup; raises Conflict for any other."""
    if not job.is_held_by_restore or job.provider_code != RESTORED_QUEUED:
        raise Conflict(f"{job.id} is not held because a restore found it queued")
    patch = JobPatch(provider_code=None, last_error=None, attempt_count=0)
    due = max(now, not_before) if not_before else now
    return Decision(job.state, Trigger.RELEASED, State.QUEUED, due, "no trace of a submission was found", patch)

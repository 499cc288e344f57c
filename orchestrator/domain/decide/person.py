"""What follows when a person asks: cancel, and retry by hand (design section 6)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

from orchestrator.domain.decide.decision import Decision, JobPatch, cancelled
from orchestrator.domain.decide.submit import spent_micros
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import FinalAnswer, Job, Output
from orchestrator.domain.states import State, Trigger

RETRYABLE = frozenset({State.FAILED, State.CANCELLED, State.NEEDS_REVIEW})
FLAGGABLE = frozenset({State.SUBMITTING, State.PROCESSING})


def decide_cancel(job: Job, now: datetime) -> Decision | None:
    """Return the move of a queued job to `cancelled`; None when only the flag can be set (a paid task runs on).

    Raises Conflict where cancelling makes no sense.
    """
    if job.state is State.QUEUED:
        return cancelled(job, now, "cancelled while it was queued", cost=spent_micros(job))
    if job.state in FLAGGABLE:
        return None
    hint = "write it off instead" if job.state is State.NEEDS_REVIEW else None
    raise Conflict(f"{job.id} is {job.state} and cannot be cancelled", hint=hint)


def decide_retry(job: Job, now: datetime, *, last_final_answer: FinalAnswer | None, may_charge: bool) -> Decision:
    """Return the first move that holds: what needs no new charge comes before what does.

    `last_final_answer` is what the provider last said of the job's task. Raises Conflict when a new charge is needed
    and was not agreed to, or when the state forbids it.
    """
    if job.state not in RETRYABLE:
        raise Conflict(f"{job.id} is {job.state}; only failed, cancelled and held jobs can be retried")
    patch = JobPatch(
        attempt_count=0,
        ask_count=0,
        death_count=0,
        missing_since=None,
        cancel_requested_at=None,
        finished_at=None,
        failure_code=None,
        failure_message=None,
        provider_code=None,
        last_error=None,
    )
    mandatory = [o for o in job.outputs if not o.is_optional]
    if mandatory and all(o.stored for o in mandatory):
        patch["finished_at"] = now
        return Decision(job.state, Trigger.RETRIED, State.SUCCEEDED, None, "every output is already archived", patch)
    if mandatory and all(o.stored or _is_fetchable(o, now) for o in mandatory):
        return Decision(job.state, Trigger.RETRIED, State.ARCHIVING, now, "its outputs can still be fetched", patch)
    is_askable = job.provider_task_id is not None and last_final_answer not in (FinalAnswer.FAIL, FinalAnswer.LOST)
    if is_askable and job.failure_code != "output_expired":
        return Decision(job.state, Trigger.RETRIED, State.PROCESSING, now, "its task can still be asked about", patch)
    if job.state is State.NEEDS_REVIEW:
        raise Conflict(
            f"{job.id} may have been charged already; a retry could pay twice",
            hint=f"orchestrator jobs resubmit {job.id} pays again on purpose",
        )
    if not may_charge:
        raise Conflict(f"retrying {job.id} is a new charge", hint="confirm it")
    patch["provider_task_id"] = None
    patch["submitted_at"] = None
    patch["cost_final_micros"] = None
    decision = Decision(job.state, Trigger.RETRIED, State.QUEUED, now, "retried by hand as a new charge", patch)
    return replace(decision, supersedes=True)  # a written-off submission is decided and must not hold the job again


def _is_fetchable(output: Output, now: datetime) -> bool:
    if output.text is not None:
        return True
    if output.source_url is None or output.is_lost:
        return False
    if hashlib.sha256(output.source_url.encode()).hexdigest() in output.dead_links:
        return False
    return output.source_expires_at is None or output.source_expires_at > now

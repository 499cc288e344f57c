"""What follows when a person asks: cancel, retry, resubmit, write off (design section 6). Attaching: attach.py."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain.decide.decision import Decision, JobPatch, cancelled, failed
from orchestrator.domain.decide.late import is_held_for_a_call
from orchestrator.domain.decide.submit import spent_micros
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import (
    DUPLICATE_TASK_ID,
    RESTORED_CODES,
    FinalAnswer,
    Job,
    Origin,
    Output,
    Submission,
    Verdict,
)
from orchestrator.domain.retry import Rules
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


def decide_retry(
    job: Job, rules: Rules, now: datetime, *, last_final_answer: FinalAnswer | None, may_charge: bool
) -> Decision:
    """Return the first move that holds, from a clean sheet: what needs no new charge comes before what does.

    `last_final_answer` is what the provider last said of the job's task. Raises Conflict when a new charge is needed
    and was not agreed to, or comes while an unexplained call may still be under way, or when the state forbids it.
    """
    if job.state not in RETRYABLE:
        raise Conflict(f"{job.id} is {job.state}; only failed, cancelled and held jobs can be retried")
    if job.erased_at is not None:
        raise Conflict(
            f"{job.id} was erased by a retention rule on {job.erased_at:%Y-%m-%d}: its request is gone",
            hint="submit it as a job of its own",
        )
    decision = _find_way(job, rules, now, last_final_answer=last_final_answer, may_charge=may_charge)
    return replace(decision, forgets_asks=True)


def _find_way(
    job: Job, rules: Rules, now: datetime, *, last_final_answer: FinalAnswer | None, may_charge: bool
) -> Decision:
    patch = _clean_sheet()
    mandatory = [o for o in job.outputs if not o.is_optional]
    if mandatory and all(o.stored for o in mandatory):
        patch["finished_at"] = now
        return Decision(job.state, Trigger.RETRIED, State.SUCCEEDED, None, "every output is already archived", patch)
    if mandatory and all(o.stored or _is_fetchable(o, now) for o in mandatory):
        return Decision(job.state, Trigger.RETRIED, State.ARCHIVING, now, "its outputs can still be fetched", patch)
    others = [s for s in job.submissions if s.is_paid_and_open]
    others = [s for s in others if s.task_id is None or s.task_id != job.provider_task_id]
    is_askable = job.provider_task_id is not None and last_final_answer not in (FinalAnswer.FAIL, FinalAnswer.LOST)
    is_spent = last_final_answer is FinalAnswer.SUCCESS and bool(others)  # it has said all; another has not
    if is_askable and not is_spent and job.failure_code != "output_expired":
        return Decision(job.state, Trigger.RETRIED, State.PROCESSING, now, "its task can still be asked about", patch)
    if others:
        return _use_paid(job, min(others, key=lambda s: s.number), patch, now)
    if job.state is State.NEEDS_REVIEW:
        raise Conflict(
            f"{job.id} may have been charged already; a retry could pay twice",
            hint=f"orchestrator jobs resubmit {job.id} pays again on purpose",
        )
    if dead := next((parent for parent in job.parents if parent.is_dead), None):
        raise Conflict(
            f"{job.id} depends on {dead.name}, which is {dead.state}",
            hint=f"orchestrator jobs retry {dead.job_id} brings back what depends on it",
        )
    if not may_charge:
        raise Conflict(f"retrying {job.id} is a new charge", hint=f"--yes agrees to it: {_price_of(job)}")
    _require_waited([s for s in job.submissions if s.verdict is Verdict.UNKNOWN], job, rules, now)
    return _pay_again(job, Trigger.RETRIED, now, "retried by hand as a new charge")


def _use_paid(job: Job, paid: Submission, patch: JobPatch, now: datetime) -> Decision:
    """A task or a whole answer that came too late to be used costs nothing more."""
    if paid.task_id is None:
        why = "a whole answer to another call of it is paid for"
        return Decision(job.state, Trigger.RETRIED, State.ARCHIVING, now, why, patch, outputs=paid.result)
    patch["provider_task_id"] = paid.task_id
    return Decision(job.state, Trigger.RETRIED, State.PROCESSING, now, "another task of it is paid for", patch)


def _price_of(job: Job) -> str:
    if job.price is None:
        return "it has no table price"
    return f"{Decimal(job.price.micros) / 1_000_000:.2f} {job.price.currency} by the price table"


def decide_resubmit(job: Job, rules: Rules, now: datetime) -> Decision:
    """Return the move of a held job back to `queued`: a new charge that a person has agreed to.

    Raises Conflict in any other state, while an earlier call may still be under way, and where asking about a task
    that is already paid for costs nothing.
    """
    if job.state is not State.NEEDS_REVIEW:
        hint = f"orchestrator jobs retry {job.id}" if job.state in RETRYABLE else None
        raise Conflict(f"{job.id} is {job.state}; only held jobs can be resubmitted", hint=hint)
    if any(s.is_paid_and_open for s in job.submissions):
        raise Conflict(
            f"{job.id} has a paid task that has not ended", hint=f"orchestrator jobs retry {job.id} costs nothing"
        )
    _require_waited(job.submissions, job, rules, now)
    return _pay_again(job, Trigger.RESUBMIT, now, "resubmitted by hand: a new charge")


def decide_policy_resubmit(job: Job, rules: Rules, now: datetime, *, done_count: int, cap: int) -> Decision | None:
    """Return the same move by the opt-in policy, None where it must not act.

    Only a job that is held because a call is unexplained: not after `cap` such moves (`done_count` were made), not
    when a person cancelled it, a restore holds it, the evidence says that an earlier try landed, or a task of it has
    ended without a result: what the provider refused once is not paid for again unasked.
    """
    if job.state is not State.NEEDS_REVIEW or job.is_held_by_restore or job.is_cancelling or done_count >= cap:
        return None
    has_failed = any(s.final_answer in (FinalAnswer.FAIL, FinalAnswer.LOST) for s in job.submissions)
    if has_failed or not is_held_for_a_call(job):
        return None
    unsettled = [s for s in job.submissions if s.is_unsettled]
    landed = rules.landed_codes | {DUPLICATE_TASK_ID} | RESTORED_CODES
    if not unsettled or any(s.provider_code in landed for s in unsettled):
        return None
    if any(s.is_paid_and_open for s in job.submissions) or _time_left(job.submissions, job, rules, now) > timedelta(0):
        return None
    return _pay_again(job, Trigger.RESUBMIT, now, "resubmitted by ORCHESTRATOR_ON_UNKNOWN: may pay twice")


def decide_write_off(job: Job, now: datetime, *, reason: str = "") -> Decision:
    """Return the move of a held job to `failed` (written_off). What it cost stays as unknown as it is.

    A task id that turns up later still brings it back. Raises Conflict in any other state.
    """
    if job.state is not State.NEEDS_REVIEW:
        raise Conflict(f"{job.id} is {job.state}; only held jobs can be written off")
    message = f"written off: {reason}" if reason else "written off by hand"
    return failed(job, Trigger.WRITTEN_OFF, now, code="written_off", message=message, cost=job.cost_final_micros)


def _clean_sheet() -> JobPatch:
    return JobPatch(
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


def _pay_again(job: Job, trigger: Trigger, now: datetime, reason: str) -> Decision:
    if not job.has_request:
        raise Conflict(
            f"{job.id} was adopted: what was sent for it is not known here", hint="submit it as a job of its own"
        )
    patch = _clean_sheet()
    patch |= JobPatch(provider_task_id=None, submitted_at=None, cost_final_micros=None)
    decision = Decision(job.state, trigger, State.QUEUED, now, reason, patch)
    return replace(
        decision, supersedes=True, forgets_asks=True
    )  # what was unexplained is decided and must not hold the job again


def _require_waited(doubtful: Sequence[Submission], job: Job, rules: Rules, now: datetime) -> None:
    left = _time_left(doubtful, job, rules, now)
    if left > timedelta(0):
        seconds = math.ceil(left.total_seconds())
        raise Conflict(
            f"{job.id} was sent too recently: its call may still be under way for {seconds} s",
            hint="wait that long; an answer that comes meanwhile settles it for nothing",
        )


def _time_left(doubtful: Sequence[Submission], job: Job, rules: Rules, now: datetime) -> timedelta:
    """Return how long the newest of these calls may still be under way; adopted tasks were nobody's call here."""
    newest = max((s.intent_at for s in doubtful if s.origin is Origin.OURS), default=None)
    return timedelta(0) if newest is None else newest + rules.resubmit_wait_of(job.kind) - now


def _is_fetchable(output: Output, now: datetime) -> bool:
    if output.text is not None:
        return True
    if output.source_url is None or output.is_lost:
        return False
    if hashlib.sha256(output.source_url.encode()).hexdigest() in output.dead_links:
        return False
    return output.source_expires_at is None or output.source_expires_at > now

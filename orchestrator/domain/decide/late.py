"""Evidence settles its own submission; the job moves by all of them (design section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from orchestrator.domain.decide.decision import Decision, JobPatch, failed, provider_failed
from orchestrator.domain.decide.submit import decide_submit
from orchestrator.domain.job import FinalAnswer, Job, Submission, Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    FailedAtSubmit,
    InputUnusable,
    NotSent,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State, Trigger

_REFUSALS: Mapping[Verdict, tuple[type[SubmitOutcome], ...]] = {
    Verdict.NOT_SENT: (NotSent, InputUnusable),
    Verdict.THROTTLED: (ThrottledNow,),
    Verdict.REFUSED: (AccountRefused,),
    Verdict.REJECTED: (Rejected,),
    Verdict.FAILED: (FailedAtSubmit,),
}
"""The verdicts that move a job by themselves, and the outcomes that say them. The others are open, unsettled, in
flight, or behind the job: a task that has ended, an unknown that a person has superseded."""

_TASK_ENDS = (Trigger.PROVIDER_FAILED, Trigger.RESULT_LOST, Trigger.OUTPUT_EXPIRED, Trigger.NOTHING_USABLE)
"""What leaves a job without the result of the task that it asks about."""


@dataclass(frozen=True)
class Evidence:
    """One outcome and the submission it is about."""

    submission_id: str
    outcome: SubmitOutcome


def settle(job: Job, evidence: Evidence, rules: Rules, now: datetime, rng: Random) -> Decision | None:
    """Return how the job moves when `evidence` has just been stored on one of `job.submissions`, or None.

    `job.submissions` already hold the evidence's verdict. Asked in this order: an open paid submission wins; else an
    unsettled unknown holds the job; else the newest submission's verdict decides. Out of queued and failed, and
    out of a hold by a restore (docs/decisions/0008), only the first leads.
    """
    paid = [s for s in job.submissions if s.is_paid_and_open]
    if paid:
        return decide_submit(job, _paid_outcome(min(paid, key=lambda s: s.number)), rules, now, rng)
    if job.state not in (State.SUBMITTING, State.NEEDS_REVIEW):
        return None
    if job.is_held_by_restore:  # an old refusal says nothing of the submissions that the restored rows do not know
        return None
    unsettled = [s for s in job.submissions if s.is_unsettled]
    if unsettled:
        return _hold(job, min(unsettled, key=lambda s: s.number), rules, now, rng)
    newest = max(job.submissions, key=lambda s: s.number)
    is_paid = isinstance(evidence.outcome, TaskAccepted | AnswerComplete)
    if job.state is State.NEEDS_REVIEW and not is_paid and newest.final_at is not None:
        return _end_of(job, newest, rules, now)
    if newest.verdict is None or newest.verdict not in _REFUSALS:
        return None
    is_news = newest.id == evidence.submission_id and isinstance(evidence.outcome, _REFUSALS[newest.verdict])
    outcome = evidence.outcome if is_news else _outcome_of(newest)
    if job.state is State.NEEDS_REVIEW and isinstance(outcome, InputUnusable):
        outcome = NotSent(outcome.code, outcome.message)  # the next try finds out whether it still is
    return decide_submit(job, outcome, rules, now, rng)


def settle_late(job: Job, evidence: Evidence, rules: Rules, now: datetime, rng: Random) -> Decision | None:
    """Return how late evidence moves the job, or None when it can only be kept (an extra paid task is the caller's
    to record).

    While `submitting`, evidence about an earlier submission moves nothing; nor does a refusal in `needs_review` when the
    job is held for its task or its outputs. In `queued` and `failed(written_off)` only
    a task id or a full answer acts. Everywhere else, and where the job already had that task, nothing does.
    """
    is_paid = isinstance(evidence.outcome, TaskAccepted | AnswerComplete)
    if isinstance(evidence.outcome, TaskAccepted) and evidence.outcome.task_id == job.provider_task_id:
        return None
    newest = max(job.submissions, key=lambda s: s.number)
    match job.state:
        case State.SUBMITTING if newest.id == evidence.submission_id:
            return settle(job, evidence, rules, now, rng)
        case State.NEEDS_REVIEW if is_paid or is_held_for_a_call(job):
            return settle(job, evidence, rules, now, rng)
        case State.QUEUED if is_paid:
            return settle(job, evidence, rules, now, rng)
        case State.FAILED if is_paid and job.failure_code == "written_off":
            return settle(job, evidence, rules, now, rng)
        case _:
            return None


def may_end_otherwise(job: Job, decision: Decision) -> bool:
    """Return True when `decision` ends the job's task without its result and other calls of the job may have a say."""
    is_end = decision.trigger in _TASK_ENDS and decision.target in (State.FAILED, State.NEEDS_REVIEW)
    return is_end and (job.submission_count > 1 or decision.trigger is Trigger.RESULT_LOST)


def settle_ended(job: Job, decision: Decision, now: datetime) -> Decision:
    """Return what becomes of a job whose task has ended in `decision`, by all of its calls (docs/decisions/0014).

    What would fail or hold the job stands only when no other call of it may still bring the result: another paid task
    that has not ended is asked about next, and a call that nobody can explain holds the job, for its provider may have
    taken it (promise 3). A lost task that a person attached may have been a slip of the pen: that is held as well.
    `job.submissions` are as they were before this end, its outputs are loaded.
    """
    if not may_end_otherwise(job, decision):
        return decision
    others = [s for s in job.submissions if s.task_id is None or s.task_id != job.provider_task_id]
    paid = [s for s in others if s.is_paid_and_open and s.task_id is not None]
    if paid:
        return _go_on(decision, min(paid, key=lambda s: s.number), now)
    if decision.target is State.NEEDS_REVIEW:
        return decision
    unsettled = [s for s in others if s.is_unsettled]
    if unsettled:
        doubtful = min(unsettled, key=lambda s: s.number)
        why = f"call {doubtful.number} of it is unexplained and may have been taken"
        return _hold_ended(job, decision, why, doubtful.provider_code)
    own = next((s for s in job.submissions if s.task_id is not None and s.task_id == job.provider_task_id), None)
    if decision.trigger is Trigger.RESULT_LOST and own is not None and own.decided_by not in (None, "system"):
        return _hold_ended(job, decision, f"{own.decided_by} gave that id; the right one may be another", None)
    return decision


def is_moved_by_repeats(job: Job) -> bool:
    """False when evidence that was known before must not move the job: it is held for what its task or its outputs did
    after that evidence was used, and a journal that says it again knows nothing of that (fault B9).
    """
    return job.state is not State.NEEDS_REVIEW or is_held_for_a_call(job)


def _go_on(decision: Decision, paid: Submission, now: datetime) -> Decision:
    """Outputs that were lost with the ended task are not lost yet: the other task may make them."""
    why = f"{decision.reason}; another task of it, {paid.task_id}, is paid for"
    patch = JobPatch(provider_task_id=paid.task_id, attempt_count=0, ask_count=0, missing_since=None, last_error=None)
    return replace(
        decision,
        target=State.PROCESSING,
        due_at=now,
        reason=why,
        patch=patch,
        data={**decision.data, "task_id": paid.task_id},
        lost_output_ids=(),
        forgets_asks=True,
    )


def _hold_ended(job: Job, decision: Decision, why: str, code: str | None) -> Decision:
    """Hold the job for a call, not for its task: that has nothing more to say, the ledger keeps it, and what it had
    announced is lost.
    """
    reason = f"{decision.reason}; {why}"
    patch = JobPatch(
        provider_task_id=None,
        attempt_count=0,
        missing_since=None,
        last_error=reason,
        provider_code=code,
        cost_final_micros=None,
    )
    lost = dict.fromkeys((*decision.lost_output_ids, *(o.id for o in job.outputs if not o.is_settled)))
    return replace(
        decision, target=State.NEEDS_REVIEW, due_at=None, reason=reason, patch=patch, lost_output_ids=tuple(lost)
    )


def _end_of(job: Job, ended: Submission, rules: Rules, now: datetime) -> Decision | None:
    """The last doubt about another call is gone: return the end that the newest call's task came to, None for none."""
    if ended.final_answer is FinalAnswer.FAIL:
        return provider_failed(job, None, f"task {ended.task_id} had ended in FAIL", rules, now)
    if ended.final_answer is FinalAnswer.LOST:
        message = f"the provider no longer knows task {ended.task_id}"
        return failed(job, Trigger.RESULT_LOST, now, code="result_lost", message=message, cost=None)
    needed = [output for output in job.outputs if not output.is_optional]
    if ended.final_answer is FinalAnswer.SUCCESS and any(output.is_lost for output in needed):
        message = f"what task {ended.task_id} made was lost before it was archived"
        return failed(job, Trigger.OUTPUT_EXPIRED, now, code="output_expired", message=message, cost=None)
    return None


def is_held_for_a_call(job: Job) -> bool:
    """A job held for what its task or its outputs did is not moved by what another call of it was told.

    Journals repeat old refusals: one of those must neither queue nor fail a job that is paid for, nor undo a hold.
    """
    return job.provider_task_id is None and all(output.is_settled for output in job.outputs)


def _paid_outcome(submission: Submission) -> TaskAccepted | AnswerComplete:
    if submission.task_id is not None:
        return TaskAccepted(submission.task_id)
    return AnswerComplete(submission.result)


def _hold(job: Job, doubtful: Submission, rules: Rules, now: datetime, rng: Random) -> Decision | None:
    if job.state is State.NEEDS_REVIEW:
        return None
    code, message = doubtful.provider_code or "unknown", doubtful.message or "the paid call is unexplained"
    return decide_submit(job, Unknown(code, message), rules, now, rng)


def _outcome_of(refused: Submission) -> SubmitOutcome:
    """Return what a stored verdict says again; no pause comes of it, for that was set when it was new."""
    code, message = refused.provider_code, refused.message or "no submission was taken"
    match refused.verdict:
        case Verdict.REJECTED:
            return Rejected(code or "rejected", message)
        case Verdict.FAILED:
            return FailedAtSubmit(code, message)
        case _:
            return NotSent(code or "not_sent", message)

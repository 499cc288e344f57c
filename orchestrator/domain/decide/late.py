"""Evidence settles its own submission; the job moves by all of them (design section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random

from orchestrator.domain.decide.decision import Decision
from orchestrator.domain.decide.submit import decide_submit
from orchestrator.domain.job import Job, Submission, Verdict
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
from orchestrator.domain.states import State

_REFUSALS: Mapping[Verdict, tuple[type[SubmitOutcome], ...]] = {
    Verdict.NOT_SENT: (NotSent, InputUnusable),
    Verdict.THROTTLED: (ThrottledNow,),
    Verdict.REFUSED: (AccountRefused,),
    Verdict.REJECTED: (Rejected,),
    Verdict.FAILED: (FailedAtSubmit,),
}
"""The verdicts that move a job by themselves, and the outcomes that say them. The others are open, unsettled, in
flight, or behind the job: a task that has ended, an unknown that a person has superseded."""


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
        case State.NEEDS_REVIEW if is_paid or _is_held_for_a_call(job):
            return settle(job, evidence, rules, now, rng)
        case State.QUEUED if is_paid:
            return settle(job, evidence, rules, now, rng)
        case State.FAILED if is_paid and job.failure_code == "written_off":
            return settle(job, evidence, rules, now, rng)
        case _:
            return None


def _is_held_for_a_call(job: Job) -> bool:
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

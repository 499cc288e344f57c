"""Evidence settles its own submission; the job moves by all of them (design section 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from orchestrator.domain.decide.decision import Decision
from orchestrator.domain.decide.submit import decide_submit
from orchestrator.domain.job import Job, Submission, Verdict
from orchestrator.domain.outcomes import AnswerComplete, NotSent, SubmitOutcome, TaskAccepted, Unknown
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State


@dataclass(frozen=True)
class Evidence:
    """One outcome and the submission it is about."""

    submission_id: str
    outcome: SubmitOutcome


def settle(job: Job, evidence: Evidence, rules: Rules, now: datetime, rng: Random) -> Decision | None:
    """Return how the job moves when `evidence` has just been stored on one of `job.submissions`, or None.

    `job.submissions` already hold the evidence's verdict. Asked in this order: an open paid submission wins; else an
    unsettled unknown holds the job; else the newest submission's verdict decides.
    """
    newest = max(job.submissions, key=lambda s: s.number)
    paid = [s for s in job.submissions if s.is_paid_and_open]
    if paid:
        return decide_submit(job, _paid_outcome(min(paid, key=lambda s: s.number)), rules, now, rng)
    unsettled = [s for s in job.submissions if s.is_unsettled]
    if unsettled:
        if job.state is State.NEEDS_REVIEW:
            return None
        first = unsettled[0]
        return decide_submit(
            job,
            Unknown(first.provider_code or "unknown", first.message or "the paid call is unexplained"),
            rules,
            now,
            rng,
        )
    if newest.id == evidence.submission_id:
        return decide_submit(job, evidence.outcome, rules, now, rng)
    return decide_submit(job, NotSent("not_sent", newest.message or "no submission was taken"), rules, now, rng)


def settle_late(job: Job, evidence: Evidence, rules: Rules, now: datetime, rng: Random) -> Decision | None:
    """Return how late evidence moves the job, or None when it can only be kept (an extra paid task is the caller's
    to record).

    While `submitting`, evidence about an earlier submission moves nothing. In `queued` and `failed(written_off)` only
    a task id or a full answer acts. Everywhere else nothing does.
    """
    is_paid = isinstance(evidence.outcome, TaskAccepted | AnswerComplete)
    newest = max(job.submissions, key=lambda s: s.number)
    match job.state:
        case State.SUBMITTING if newest.id == evidence.submission_id:
            return settle(job, evidence, rules, now, rng)
        case State.NEEDS_REVIEW:
            return settle(job, evidence, rules, now, rng)
        case State.QUEUED if is_paid:
            return settle(job, evidence, rules, now, rng)
        case State.FAILED if is_paid and job.failure_code == "written_off":
            return settle(job, evidence, rules, now, rng)
        case _:
            return None


def with_verdict(submission: Submission, outcome: SubmitOutcome, verdict: Verdict) -> Submission:
    """Return the submission as it stands once the outcome is stored; a verdict is written once."""
    if submission.verdict is not None and submission.verdict is not Verdict.UNKNOWN:
        return submission
    task_id = outcome.task_id if isinstance(outcome, TaskAccepted) else submission.task_id
    result = outcome.outputs if isinstance(outcome, AnswerComplete) else submission.result
    return replace(submission, verdict=verdict, task_id=task_id, result=result)


def _paid_outcome(submission: Submission) -> TaskAccepted | AnswerComplete:
    if submission.task_id is not None:
        return TaskAccepted(submission.task_id)
    return AnswerComplete(submission.result)

"""What follows a paid call (design sections 6 and 7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from orchestrator.domain.decide.decision import Decision, JobPatch, Pause, PauseLane, cancelled, failed, provider_failed
from orchestrator.domain.job import SURE_REFUSALS, Job
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    FailedAtSubmit,
    InputUnusable,
    NotSent,
    PauseScope,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.retry import Rules, later
from orchestrator.domain.states import State, Trigger


def decide_submit(job: Job, outcome: SubmitOutcome, rules: Rules, now: datetime, rng: Random) -> Decision:
    """Return what follows when this outcome is the newest submission's and no other is open or unsettled.

    Also used for late evidence: `job.state` is then needs_review, queued or failed(written_off).
    """
    match outcome:
        case TaskAccepted() | AnswerComplete():
            return _taken(job, outcome, rules, now, rng)
        case NotSent() | ThrottledNow() | AccountRefused():
            return _refused_for_now(job, outcome, rules, now, rng)
        case Rejected(code, message):
            failure = rules.failure_code(code, "invalid_params")
            return failed(
                job, Trigger.REJECTED, now, code=failure, message=message, provider_code=code, cost=spent_micros(job)
            )
        case FailedAtSubmit(code, message):
            return provider_failed(job, code, message, rules, now)
        case InputUnusable(code, message):
            trigger = Trigger.INPUT_MISSING if code == "input_missing" else Trigger.INPUT_CHANGED
            return failed(job, trigger, now, code=code, message=message, cost=spent_micros(job))
        case Unknown(code, message):
            patch = JobPatch(attempt_count=0, last_error=message, provider_code=code, cost_final_micros=None)
            return Decision(job.state, Trigger.UNKNOWN, State.NEEDS_REVIEW, None, message, patch, {"code": code})


def spent_micros(job: Job) -> int | None:
    """Return what earlier submissions of the job cost: 0 when each was surely refused, None when one is unknown."""
    doubtful = [s for s in job.submissions if s.verdict is not None and s.verdict not in SURE_REFUSALS]
    if not doubtful:
        return 0
    return None


def _taken(job: Job, outcome: TaskAccepted | AnswerComplete, rules: Rules, now: datetime, rng: Random) -> Decision:
    price = job.price.micros if job.price else None
    patch = JobPatch(
        attempt_count=0,
        ask_count=0,
        missing_since=None,
        submitted_at=job.submitted_at or now,
        finished_at=None,
        failure_code=None,
        failure_message=None,
        provider_code=None,
        last_error=None,
        cost_final_micros=price,
    )
    is_late = job.state is not State.SUBMITTING
    if isinstance(outcome, TaskAccepted):
        patch["provider_task_id"] = outcome.task_id
        due = now if is_late else now + rules.schedule_of(job.kind).first_delay(rng)
        trigger = Trigger.LATE_TASK_ID if is_late else Trigger.SUBMITTED
        reason = f"the provider took it as task {outcome.task_id}"
        return Decision(job.state, trigger, State.PROCESSING, due, reason, patch, {"task_id": outcome.task_id})
    trigger = Trigger.LATE_ANSWER if is_late else Trigger.OUTPUTS_READY
    reason = "the provider answered with the whole result"
    data = {"output_count": len(outcome.outputs)}
    return Decision(job.state, trigger, State.ARCHIVING, now, reason, patch, data, outputs=outcome.outputs)


def _refused_for_now(
    job: Job, outcome: NotSent | ThrottledNow | AccountRefused, rules: Rules, now: datetime, rng: Random
) -> Decision:
    attempt = job.attempt_count + 1
    pause: Pause | None = None
    if isinstance(outcome, ThrottledNow):
        trigger = Trigger.THROTTLED
        delay = rules.throttle_backoff(outcome.code).delay(attempt, rng)
        due = later(now, delay, at_least=outcome.retry_after, until=outcome.until)
        pause = Pause(PauseScope.MODEL, PauseLane.SUBMIT, due, outcome.code, outcome.message)
    elif isinstance(outcome, AccountRefused):
        trigger = Trigger.REFUSED
        due = now + rules.account_pause
        pause = Pause(PauseScope.CREDENTIAL, PauseLane.SUBMIT, due, outcome.code, outcome.message)
    else:
        trigger = Trigger.NOT_SENT
        due = now + rules.not_sent.delay(attempt, rng)
    if job.is_cancelling:
        decision = cancelled(job, now, "cancelled: the paid call was not taken", cost=spent_micros(job))
        return replace(decision, pause=pause)
    patch = JobPatch(attempt_count=attempt, last_error=f"{outcome.code}: {outcome.message}", provider_code=outcome.code)
    if job.state is State.NEEDS_REVIEW:  # late truth: it has waited long enough; a pause holds it where one is due
        due = now
    data = {"code": outcome.code, "retry_in_seconds": round((due - now) / timedelta(seconds=1), 3)}
    return Decision(job.state, trigger, State.QUEUED, due, outcome.message, patch, data, pause=pause)

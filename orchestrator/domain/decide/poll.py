"""What follows a question about a running task. A failed question never harms the job (promise 5)."""

from __future__ import annotations

from datetime import datetime
from random import Random

from orchestrator.domain.decide.decision import Decision, JobPatch, Pause, PauseLane, failed, provider_failed
from orchestrator.domain.decide.submit import spent_micros
from orchestrator.domain.job import FinalAnswer, Job
from orchestrator.domain.outcomes import (
    NothingUsable,
    OutputsReady,
    PollFailed,
    PollOutcome,
    ProviderFailed,
    StillRunning,
    TaskMissing,
)
from orchestrator.domain.retry import Rules, later
from orchestrator.domain.states import State, Trigger


def decide_poll(job: Job, outcome: PollOutcome, rules: Rules, now: datetime, rng: Random) -> Decision:
    """Return what follows for a job in `processing`."""
    match outcome:
        case StillRunning(word):
            age = now - (job.submitted_at or job.created_at)
            due = now + rules.schedule_of(job.kind).next_delay(age, rng)
            patch = JobPatch(attempt_count=0, missing_since=None, last_error=None, poll_count=job.poll_count + 1)
            return _again(job, Trigger.STILL_RUNNING, due, f"the provider says {word}", patch)
        case PollFailed():
            return _poll_failed(job, outcome, rules, now, rng)
        case TaskMissing():
            return _missing(job, outcome, rules, now, rng)
        case OutputsReady(outputs):
            patch = JobPatch(attempt_count=0, missing_since=None, last_error=None, poll_count=job.poll_count + 1)
            return Decision(
                job.state,
                Trigger.OUTPUTS_READY,
                State.ARCHIVING,
                now,
                "the provider is done",
                patch,
                {"output_count": len(outputs)},
                outputs=outputs,
                final_answer=FinalAnswer.SUCCESS,
            )
        case NothingUsable(message):
            return _nothing_usable(job, message, rules, now, rng)
        case ProviderFailed(code, message):
            return provider_failed(job, code, message, rules, now)


def is_nothing_new(job: Job, decision: Decision) -> bool:
    """Say whether a poll's decision changes nothing but the next time, which the row's holder may keep in memory.

    A row that carries trouble is written: the write is what clears it.
    """
    has_trouble = job.death_count or job.attempt_count or job.ask_count or job.missing_since or job.last_error
    return decision.trigger is Trigger.STILL_RUNNING and not has_trouble


def decide_poisoned(job: Job, now: datetime) -> Decision:
    """Return the move of a job whose step has killed its worker too often (fault B9): held once anything may have been
    paid, failed before.
    """
    reason = f"its {job.state} step ended {job.death_count} workers in a row"
    if job.state is State.QUEUED:
        return failed(job, Trigger.POISONED, now, code="internal_error", message=reason, cost=spent_micros(job))
    return Decision(job.state, Trigger.POISONED, State.NEEDS_REVIEW, None, reason, JobPatch(last_error=reason))


def _again(
    job: Job, trigger: Trigger, due: datetime, reason: str, patch: JobPatch, pause: Pause | None = None
) -> Decision:
    return Decision(job.state, trigger, State.PROCESSING, due, reason, patch, records_event=False, pause=pause)


def _poll_failed(job: Job, outcome: PollFailed, rules: Rules, now: datetime, rng: Random) -> Decision:
    attempt = job.attempt_count + 1
    delay = rules.poll_failed.delay(attempt, rng)
    due = later(now, delay, at_least=outcome.retry_after, until=outcome.until)
    pause = None
    if outcome.scope is not None:
        pause = Pause(outcome.scope, PauseLane.POLL, due, outcome.code, outcome.message)
    patch = JobPatch(
        attempt_count=attempt, last_error=f"{outcome.code}: {outcome.message}", poll_count=job.poll_count + 1
    )
    return _again(job, Trigger.POLL_FAILED, due, outcome.message, patch, pause)


def _missing(job: Job, outcome: TaskMissing, rules: Rules, now: datetime, rng: Random) -> Decision:
    """A missing id is believed only after days: right after submission it may not be visible yet (fault D2)."""
    since = job.missing_since or now
    if now - since >= rules.result_lost_after:
        return failed(
            job,
            Trigger.RESULT_LOST,
            now,
            code="result_lost",
            message=f"the provider has not known task {job.provider_task_id} since {since.isoformat()}",
            provider_code=outcome.code,
            cost=job.price.micros if job.price else None,
            final_answer=FinalAnswer.LOST,
        )
    attempt = job.attempt_count + 1
    patch = JobPatch(
        attempt_count=attempt,
        missing_since=since,
        last_error=f"{outcome.code}: {outcome.message}",
        poll_count=job.poll_count + 1,
    )
    return _again(job, Trigger.POLL_FAILED, now + rules.missing.delay(attempt, rng), outcome.message, patch)


def _nothing_usable(job: Job, message: str, rules: Rules, now: datetime, rng: Random) -> Decision:
    asks = job.ask_count + 1
    patch = JobPatch(ask_count=asks, missing_since=None, last_error=message, poll_count=job.poll_count + 1)
    if asks < rules.nothing_usable_asks:
        return _again(job, Trigger.POLL_FAILED, now + rules.poll_failed.delay(asks, rng), message, patch)
    return Decision(
        job.state,
        Trigger.NOTHING_USABLE,
        State.NEEDS_REVIEW,
        None,
        f"the provider says SUCCESS and gave nothing usable in {asks} answers",
        patch,
        final_answer=FinalAnswer.SUCCESS,
    )

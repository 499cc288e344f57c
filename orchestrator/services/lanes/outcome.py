"""Where a StepError becomes an outcome: the only place, for every lane."""

from __future__ import annotations

from orchestrator.domain.errors import Account, Gone, InputLost, Permanent, StepError, Throttled, Transient, Uncertain
from orchestrator.domain.job import Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    FailedAtSubmit,
    InputUnusable,
    NotSent,
    PauseScope,
    PollFailed,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    TaskMissing,
    ThrottledNow,
    Unknown,
)


def outcome_of_call_error(error: StepError) -> SubmitOutcome:
    """Return the outcome of a paid call that raised, or whose answer reads as this error."""
    match error:
        case InputLost():
            return InputUnusable(error.code, error.message)
        case Throttled():
            return ThrottledNow(error.code, error.message, error.retry_after, error.until)
        case Account():
            return AccountRefused(error.code, error.message)
        case Permanent():
            return Rejected(error.code, error.message)
        case Transient():
            return NotSent(error.code, error.message)
        case Uncertain():
            return Unknown(error.code, error.message)
    return Unknown(error.code, error.message)


def outcome_of_poll_error(error: StepError) -> PollFailed | TaskMissing:
    """Return the outcome of a question that raised: no class of error harms the job."""
    match error:
        case Gone():
            return TaskMissing(error.code, error.message)
        case Throttled():
            return PollFailed(error.code, error.message, error.retry_after, error.until, PauseScope.MODEL)
        case Account():
            return PollFailed(error.code, error.message, scope=PauseScope.CREDENTIAL)
    return PollFailed(error.code, error.message, error.retry_after, error.until)


def verdict_of(outcome: SubmitOutcome) -> Verdict:
    """Return how the submission ended."""
    match outcome:
        case TaskAccepted():
            return Verdict.ACCEPTED
        case AnswerComplete():
            return Verdict.ANSWERED
        case NotSent() | InputUnusable():
            return Verdict.NOT_SENT
        case ThrottledNow():
            return Verdict.THROTTLED
        case AccountRefused():
            return Verdict.REFUSED
        case Rejected():
            return Verdict.REJECTED
        case FailedAtSubmit():
            return Verdict.FAILED
        case Unknown():
            return Verdict.UNKNOWN

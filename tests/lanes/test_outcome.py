"""Every class of StepError becomes one outcome, for a paid call and for a poll (design sections 7 and 10)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from orchestrator.domain.errors import (
    Account,
    Gone,
    InputLost,
    NotListed,
    Permanent,
    StepError,
    Throttled,
    Transient,
    Uncertain,
)
from orchestrator.domain.job import SURE_REFUSALS, Verdict
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
from orchestrator.services.lanes.outcome import outcome_of_call_error, outcome_of_poll_error, verdict_of

AFTER = timedelta(seconds=9)
UNTIL = datetime(2026, 11, 24, tzinfo=UTC)

OF_A_CALL: dict[type[StepError], SubmitOutcome] = {
    StepError: Unknown("code", "why"),
    Transient: NotSent("code", "why"),
    Throttled: ThrottledNow("code", "why", AFTER, UNTIL),
    Permanent: Rejected("code", "why"),
    NotListed: Rejected("code", "why"),
    Gone: Rejected("code", "why"),
    InputLost: InputUnusable("code", "why"),
    Uncertain: Unknown("code", "why"),
    Account: AccountRefused("code", "why"),
}
OF_A_POLL: dict[type[StepError], PollFailed | TaskMissing] = {
    StepError: PollFailed("code", "why", AFTER, UNTIL),
    Transient: PollFailed("code", "why", AFTER, UNTIL),
    Throttled: PollFailed("code", "why", AFTER, UNTIL, PauseScope.MODEL),
    Permanent: PollFailed("code", "why", AFTER, UNTIL),
    NotListed: PollFailed("code", "why", AFTER, UNTIL),
    Gone: TaskMissing("code", "why"),
    InputLost: PollFailed("code", "why", AFTER, UNTIL),
    Uncertain: PollFailed("code", "why", AFTER, UNTIL),
    Account: PollFailed("code", "why", scope=PauseScope.CREDENTIAL),
}
VERDICTS: dict[SubmitOutcome, Verdict] = {
    TaskAccepted("task"): Verdict.ACCEPTED,
    AnswerComplete(()): Verdict.ANSWERED,
    NotSent("c", "m"): Verdict.NOT_SENT,
    InputUnusable("c", "m"): Verdict.NOT_SENT,
    ThrottledNow("c", "m"): Verdict.THROTTLED,
    AccountRefused("c", "m"): Verdict.REFUSED,
    Rejected("c", "m"): Verdict.REJECTED,
    FailedAtSubmit(None, "m"): Verdict.FAILED,
    Unknown("c", "m"): Verdict.UNKNOWN,
}


def classes_of(error: type[StepError]) -> Iterator[type[StepError]]:
    yield error
    for child in error.__subclasses__():
        yield from classes_of(child)


def test_every_class_is_listed() -> None:
    """A new class of the tree has to be entered here; what an adapter derives from one is treated as that one."""
    tree = {error for error in classes_of(StepError) if error.__module__ == StepError.__module__}
    assert tree == set(OF_A_CALL) == set(OF_A_POLL)
    assert {type(outcome) for outcome in VERDICTS} == set(get_args(SubmitOutcome))


@pytest.mark.parametrize(("error", "outcome"), OF_A_CALL.items())
def test_what_a_paid_call_raised(error: type[StepError], outcome: SubmitOutcome) -> None:
    """Promise 3: only what surely did not happen is tried again; a class that nobody knows is unknown."""
    assert outcome_of_call_error(error("code", "why", AFTER, UNTIL)) == outcome


@pytest.mark.parametrize(("error", "outcome"), OF_A_POLL.items())
def test_what_a_poll_raised(error: type[StepError], outcome: PollFailed | TaskMissing) -> None:
    """D4: no class of error harms the job."""
    assert outcome_of_poll_error(error("code", "why", AFTER, UNTIL)) == outcome


@pytest.mark.parametrize(("outcome", "verdict"), VERDICTS.items())
def test_the_verdict_of_an_outcome(outcome: SubmitOutcome, verdict: Verdict) -> None:
    """The ledger's word for it."""
    assert verdict_of(outcome) is verdict


def test_a_slot_is_freed_by_sure_refusals_only() -> None:
    """Design section 7: an unknown, a FAIL or a task keeps its slot until more is known."""
    freed = {verdict for outcome, verdict in VERDICTS.items() if verdict in SURE_REFUSALS}
    assert freed == {Verdict.NOT_SENT, Verdict.THROTTLED, Verdict.REFUSED, Verdict.REJECTED}

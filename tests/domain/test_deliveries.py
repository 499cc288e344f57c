"""When a delivery is tried again, when it ends, when its endpoint is disabled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.deliveries import (
    DISABLE_AFTER,
    LONGEST_RETRY_AFTER,
    SCHEDULE,
    SECRET_UNUSABLE,
    UNSIGNED_WAIT,
    Delivered,
    DeliveryDecision,
    Disable,
    Exhausted,
    Held,
    Retry,
    decide_delivery,
    read_retry_after,
    rest_after,
    wait_before,
)
from orchestrator.domain.errors import RequestError
from orchestrator.domain.ports import Sent
from orchestrator.domain.subscriptions import EVENT_TYPES, is_subscribed, parse_subscription

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def sent(status: int | None, *, code: str | None = None, retry_after: timedelta | None = None) -> Sent:
    return Sent(status, code, "", "", retry_after, SECOND)


def decide(attempt: int, result: Sent, failing_since: datetime | None = None) -> DeliveryDecision:
    return decide_delivery(attempt, result, now=NOW, rng=Random(1), failing_since=failing_since)


def test_the_schedule_spans_at_least_75_hours() -> None:
    """Promise 8, and the waits of the surfaces in their order."""
    assert sum(SCHEDULE, timedelta(0)) >= timedelta(hours=75)
    assert [wait.total_seconds() for wait in SCHEDULE] == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]


@given(st.integers(1, len(SCHEDULE)), st.integers())
def test_jitter_is_only_added(attempt: int, seed: int) -> None:
    wait = wait_before(attempt, rng=Random(seed))
    assert SCHEDULE[attempt - 1] <= wait <= SCHEDULE[attempt - 1] * 1.1


@pytest.mark.parametrize("attempt", [1, len(SCHEDULE)])
def test_what_could_not_be_signed_is_no_failure_of_the_receivers(attempt: int) -> None:
    """F14: a key of ours that was lost uses up no schedule and disables nobody, after however many days."""
    unsigned = sent(None, code=SECRET_UNUSABLE)
    assert decide(attempt, unsigned, NOW - 2 * DISABLE_AFTER) == Held(NOW + UNSIGNED_WAIT)


@pytest.mark.parametrize(("failed_for", "rest"), [(None, 1), (0, 1), (1.5, 1.5), (4, 4), (5, 5), (86400, 5)])
def test_who_takes_nothing_rests_as_long_as_it_has_failed(failed_for: float | None, rest: float) -> None:
    """F2: within bounds, so that one that is back is found back soon."""
    since = None if failed_for is None else NOW - failed_for * SECOND
    assert rest_after(since, now=NOW) == rest * SECOND


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert decide(1, sent(status), NOW - DISABLE_AFTER) == Delivered()


@pytest.mark.parametrize("status", [None, 199, 300, 301, 302, 307, 308, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again_until_the_schedule_ends(status: int | None) -> None:
    """F5: a redirect is a failure, also when the sender had nothing to object to."""
    first = decide(1, sent(status))
    assert isinstance(first, Retry)
    assert NOW + SCHEDULE[1] <= first.due_at <= NOW + SCHEDULE[1] * 1.1
    assert decide(len(SCHEDULE), sent(status, code="bad")) == Exhausted()


def test_a_2xx_that_was_cut_is_not_delivered() -> None:
    """F8: the answer's head came, its end did not."""
    assert isinstance(decide(1, sent(200, code="connection_broken")), Retry)


def test_410_disables_at_once() -> None:
    assert decide(1, sent(410, code="http_410")) == Exhausted(Disable.GONE)


def test_five_days_of_nothing_but_failures_disable() -> None:
    """And no delivery loses attempts to it: the last one of a schedule disables, no earlier one."""
    last = len(SCHEDULE)
    assert decide(last, sent(500, code="http_500"), NOW - DISABLE_AFTER + SECOND) == Exhausted()
    assert isinstance(decide(last - 1, sent(500, code="http_500"), NOW - 2 * DISABLE_AFTER), Retry)
    assert decide(last, sent(500, code="http_500"), NOW - DISABLE_AFTER) == Exhausted(Disable.FAILING)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("120", timedelta(seconds=120)),
        ("Tue, 24 Nov 2026 12:02:00 GMT", timedelta(seconds=120)),
        ("Tue, 24 Nov 2026 11:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("0", None),
        ("-5", None),
        ("1e9", None),
        ("1000000000", LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("\u0661\u0662", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_within_bounds(text: str | None, wish: timedelta | None) -> None:
    """F7: seconds, date, past, negative, huge, junk."""
    assert read_retry_after(text, now=NOW) == wish


@given(st.timedeltas())
def test_retry_after_is_a_bounded_lower_limit(wish: timedelta) -> None:
    """F7: never sooner than the schedule, never beyond the cap and its jitter."""
    decision = decide(2, sent(503, code="http_503", retry_after=wish))
    assert isinstance(decision, Retry)
    assert decision.due_at - NOW >= max(SCHEDULE[2], min(wish, LONGEST_RETRY_AFTER))
    assert decision.due_at - NOW <= LONGEST_RETRY_AFTER * 1.1


def test_subscriptions_are_names_and_families() -> None:
    patterns = parse_subscription([" job.* ", "batch.finished", "job.*"])
    assert patterns == ("job.*", "batch.finished")
    assert [name for name in EVENT_TYPES if is_subscribed(patterns, name)] == list(EVENT_TYPES[:6])
    assert not is_subscribed(["job.failed"], "job.succeeded")


@pytest.mark.parametrize(
    ("patterns", "hint"),
    [(["job.suceeded"], "did you mean job.succeeded?"), (["*"], "those are"), ([], "job.*"), (["jobs.*"], "job.*")],
)
def test_a_misspelt_type_is_refused_with_the_nearest(patterns: list[str], hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_subscription(patterns)
    assert hint in (caught.value.hint or "")

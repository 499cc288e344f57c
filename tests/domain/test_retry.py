"""Waiting: backoffs and poll schedules as properties, whatever the numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.retry import Backoff, PollSchedule, Rules, later

SECOND = timedelta(seconds=1)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

seeds = st.integers(min_value=0, max_value=2**32)
attempts = st.integers(min_value=-5, max_value=100_000)
spans = st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=365))
backoffs = st.builds(Backoff, base=spans, cap=spans)
schedules = st.builds(
    lambda first, bounds, share, jitter: PollSchedule(first, min(bounds), max(bounds), share, jitter),
    spans,
    st.tuples(spans, spans),
    st.floats(0.0, 1.0),
    st.floats(0.0, 0.5),
)


@given(backoffs, attempts, seeds)
def test_a_backoff_stays_in_its_bounds(backoff: Backoff, attempt: int, seed: int) -> None:
    """Half to all of base doubled per failure, never above the cap, never an overflow."""
    delay = backoff.delay(attempt, Random(seed))
    lowest = min(backoff.base, backoff.cap) / 2
    assert lowest - timedelta(microseconds=1) <= delay <= backoff.cap


@given(backoffs, st.integers(min_value=1, max_value=60), seeds)
def test_a_backoff_never_shrinks_with_further_failures(backoff: Backoff, attempt: int, seed: int) -> None:
    """The same draw gives a longer wait, or the cap's."""
    assert backoff.delay(attempt, Random(seed)) <= backoff.delay(attempt + 1, Random(seed))


@given(backoffs, attempts, seeds)
def test_the_same_seed_waits_the_same(backoff: Backoff, attempt: int, seed: int) -> None:
    """Decisions are pure: randomness is handed in."""
    assert backoff.delay(attempt, Random(seed)) == backoff.delay(attempt, Random(seed))


def test_a_backoff_spreads_what_was_refused_together() -> None:
    """G6: of 1,000 refused at once no tenth of the span gets more than twice its share."""
    rng, backoff = Random(7), Backoff(base=60 * SECOND, cap=600 * SECOND)
    tenths = [0] * 10
    for _ in range(1000):
        delay = backoff.delay(1, rng)
        tenths[min(int((delay / (60 * SECOND) - 0.5) * 20), 9)] += 1
    assert max(tenths) <= 200


def test_a_first_failure_waits_about_the_base() -> None:
    """Attempt 1 waits about base, each further one doubles."""
    backoff = Backoff(base=2 * SECOND, cap=60 * SECOND)
    tops = [max(backoff.delay(attempt, Random(seed)) for seed in range(200)) for attempt in (1, 2, 3, 6, 50)]
    for top, wanted in zip(tops, (2, 4, 8, 60, 60), strict=True):
        assert wanted * 0.95 * SECOND <= top <= wanted * SECOND


@given(schedules, st.timedeltas(min_value=-timedelta(days=1), max_value=timedelta(days=10_000)), seeds)
def test_a_poll_waits_within_its_bounds(schedule: PollSchedule, age: timedelta, seed: int) -> None:
    """A share of the task's age within the bounds, give or take the jitter; a clock that stepped back harms nothing."""
    delay = schedule.next_delay(age, Random(seed))
    slack = timedelta(microseconds=2)
    assert (
        schedule.shortest * (1 - schedule.jitter) - slack <= delay <= schedule.longest * (1 + schedule.jitter) + slack
    )


@given(schedules, spans, spans, seeds)
def test_an_older_task_is_not_asked_about_more_often(
    schedule: PollSchedule, younger: timedelta, more: timedelta, seed: int
) -> None:
    """D1, D9: questions become rarer with age."""
    earlier = schedule.next_delay(younger, Random(seed))
    assert earlier <= schedule.next_delay(younger + more, Random(seed))


@given(schedules, seeds)
def test_the_first_question_comes_about_when_the_kind_says(schedule: PollSchedule, seed: int) -> None:
    """The kind's first poll, spread by the jitter."""
    slack = timedelta(microseconds=2)
    first = schedule.first_delay(Random(seed))
    assert schedule.first * (1 - schedule.jitter) - slack <= first <= schedule.first * (1 + schedule.jitter) + slack


@given(spans, st.none() | spans, st.none() | st.timedeltas(-timedelta(days=9), timedelta(days=9)))
def test_later_keeps_every_limit(delay: timedelta, at_least: timedelta | None, until: timedelta | None) -> None:
    """Our own wait, the other side's and its absolute time: the last of the three."""
    moment = later(NOW, delay, at_least=at_least, until=None if until is None else NOW + until)
    limits = [limit for limit in (delay, at_least, until) if limit is not None]
    assert moment == NOW + max(limits)


def test_unlisted_kinds_and_codes_have_a_rule() -> None:
    """An adopted task of an immediate kind is polled; overload has its own backoff."""
    rules = Rules(overload_codes=frozenset({"busy"}))
    assert rules.schedule_of("nothing").longest >= rules.schedule_of("nothing").shortest > timedelta(0)
    assert rules.throttle_backoff("busy").base > rules.throttle_backoff("other").base

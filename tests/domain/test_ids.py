"""Ids: prefixed, unique, sorting by the time they were made (design section 9)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.ids import JOB, make_id

moments = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone follows


@given(moments, st.integers(min_value=1, max_value=10**9), st.integers(), st.integers())
def test_ids_of_later_milliseconds_sort_later(now: datetime, gap: int, seed: int, other: int) -> None:
    """Whatever the random part."""
    first = make_id(JOB, now=now, rng=Random(seed))
    assert first < make_id(JOB, now=now + timedelta(milliseconds=gap), rng=Random(other))


@given(moments, st.integers())
def test_an_id_is_a_uuid_of_version_7(now: datetime, seed: int) -> None:
    """The time is the one given, to the millisecond."""
    prefix, _, digits = make_id(JOB, now=now, rng=Random(seed)).partition("_")
    value = UUID(hex=digits)
    assert (prefix, value.version, value.variant) == (JOB, 7, "specified in RFC 4122")
    assert abs((value.int >> 80) - now.timestamp() * 1000) <= 1


def test_ids_of_one_millisecond_are_unique() -> None:
    """A whole file is taken in within a few milliseconds."""
    rng, now = Random(1), datetime(2026, 11, 23, tzinfo=UTC)
    assert len({make_id(JOB, now=now, rng=rng) for _ in range(50_000)}) == 50_000


def test_the_same_seed_makes_the_same_id() -> None:
    """Randomness and time are handed in."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert make_id(JOB, now=now, rng=Random(3)) == make_id(JOB, now=now, rng=Random(3))

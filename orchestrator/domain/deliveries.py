"""When a delivery is tried again, when it ends, and when its endpoint is disabled (surfaces section 4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from random import Random

from orchestrator.domain.ports.send import Sent

SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""The wait before each attempt, counted from the one before. The sum exceeds the 75 hours of design promise 8."""
JITTER = 0.1
"""Added only: nothing is tried before its time, and the span never shrinks."""
LONGEST_RETRY_AFTER = timedelta(hours=24)
"""The schedule's own longest wait; a longer wish is a mistake or an attack."""
DISABLE_AFTER = timedelta(days=5)
GONE = 410
SHORTEST_REST, LONGEST_REST = timedelta(seconds=1), timedelta(seconds=5)
"""Between two turns of an endpoint that takes nothing: soon enough to find it back, seldom enough to cost others nothing."""
SECRET_UNUSABLE = "secret_unusable"  # noqa: S105 - the code of a failure
UNSIGNED_WAIT = timedelta(minutes=30)
"""Until the key is back nothing else changes: short enough to be late by little, long enough to fill no log."""


class Disable(StrEnum):
    """Why an endpoint takes no more events."""

    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True)
class Delivered:
    """The receiver answered 2xx: the endpoint's failing_since is cleared."""


@dataclass(frozen=True)
class Retry:
    """Due again."""

    due_at: datetime


@dataclass(frozen=True)
class Held:
    """Nothing could be signed, which is no fault of the receiver's: due again at the same place in the schedule."""

    due_at: datetime


@dataclass(frozen=True)
class Exhausted:
    """No further attempt is made by itself. `disable` set: the endpoint is disabled, its queued deliveries cancelled."""

    disable: Disable | None = None


DeliveryDecision = Delivered | Retry | Held | Exhausted


def decide_delivery(
    attempt: int, sent: Sent, *, now: datetime, rng: Random, failing_since: datetime | None
) -> DeliveryDecision:
    """Return what follows attempt number `attempt` (from 1). `failing_since`: the endpoint's first failure since its
    last success, None when this is the first. Days in which nothing was tried say nothing about a receiver: only a
    delivery that has used up its schedule disables.
    """
    if is_delivered(sent):
        return Delivered()
    if sent.code == SECRET_UNUSABLE:
        return Held(now + UNSIGNED_WAIT)
    if sent.status == GONE:
        return Exhausted(Disable.GONE)
    if attempt < len(SCHEDULE):
        return Retry(now + wait_before(attempt + 1, rng=rng, at_least=sent.retry_after))
    has_failed_long = failing_since is not None and now - failing_since >= DISABLE_AFTER
    return Exhausted(Disable.FAILING if has_failed_long else None)


def is_delivered(sent: Sent) -> bool:
    """Return True for 2xx whose answer was read: a redirect, or an answer cut short, is a failure (F5, F8)."""
    return sent.code is None and sent.status is not None and 200 <= sent.status < 300


def wait_before(attempt: int, *, rng: Random, at_least: timedelta | None = None) -> timedelta:
    """Return the wait before attempt number `attempt`, not below the receiver's bounded wish; jitter is only added."""
    wish = min(max(at_least or timedelta(0), timedelta(0)), LONGEST_RETRY_AFTER)
    return max(SCHEDULE[attempt - 1], wish) * rng.uniform(1, 1 + JITTER)


def rest_after(failing_since: datetime | None, *, now: datetime) -> timedelta:
    """Return how long an endpoint rests whose turn brought no success: as long as it has failed, within bounds."""
    has_failed = timedelta(0) if failing_since is None else now - failing_since
    return min(max(has_failed, SHORTEST_REST), LONGEST_REST)


def read_retry_after(text: str | None, *, now: datetime) -> timedelta | None:
    """Return a Retry-After header's wish, at most LONGEST_RETRY_AFTER; None when absent, past or unreadable (F7)."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return _bounded(timedelta(seconds=int(text[:9])))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return _bounded(until - now) if until.tzinfo is not None else None


def _bounded(wish: timedelta) -> timedelta | None:
    return min(wish, LONGEST_RETRY_AFTER) if wish > timedelta(0) else None

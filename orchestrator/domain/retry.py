"""When to try again: backoff and poll schedules as values (design section 6, zai-api.md 3.3 and 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

SECOND = timedelta(seconds=1)
LONGEST_RESUBMIT_WAIT = timedelta(minutes=10)  # where no kind's is known: longer than any kind's of ours


@dataclass(frozen=True)
class Backoff:
    """Exponential with jitter: attempt 1 waits about `base`, each further one doubles, never above `cap`.

    The delay lies in [half, all] of that figure, so that clients refused together do not return together.
    """

    base: timedelta
    cap: timedelta

    def delay(self, attempt: int, rng: Random) -> timedelta:
        """Return the wait before try number `attempt` + 1; `attempt` counts failures so far, from 1."""
        doublings = min(max(attempt, 1) - 1, 64)
        is_below_cap = 2**doublings < self.cap / self.base  # a quotient: base * 2**45 is more than a timedelta holds
        full = self.base * 2**doublings if is_below_cap else self.cap
        return full * rng.uniform(0.5, 1.0)


@dataclass(frozen=True)
class PollSchedule:
    """How often to ask about a running task: `first` after submission, then a share of its age within the bounds.

    On average a slot stands empty for half that share of a task's time before the end of the task is seen.
    """

    first: timedelta
    shortest: timedelta
    longest: timedelta
    age_share: float = 0.05
    jitter: float = 0.1

    def first_delay(self, rng: Random) -> timedelta:
        """Return the wait between submission and the first question."""
        return self.first * rng.uniform(1 - self.jitter, 1 + self.jitter)

    def next_delay(self, age: timedelta, rng: Random) -> timedelta:
        """Return the wait before the next question about a task of this age."""
        wanted = min(max(age * self.age_share, self.shortest), self.longest)
        return wanted * rng.uniform(1 - self.jitter, 1 + self.jitter)


@dataclass(frozen=True)
class Rules:
    """Every number that decide() needs, in one value, and which of the provider's codes mean what. Built in wiring."""

    schedules: Mapping[str, PollSchedule] = field(default_factory=dict)
    not_sent: Backoff = Backoff(base=2 * SECOND, cap=120 * SECOND)
    throttled: Backoff = Backoff(base=2 * SECOND, cap=60 * SECOND)
    overloaded: Backoff = Backoff(base=8 * SECOND, cap=240 * SECOND)  # zai-api.md 13: overload lasts minutes
    overload_codes: frozenset[str] = frozenset()
    content_codes: frozenset[str] = frozenset()
    account_pause: timedelta = timedelta(minutes=5)
    poll_failed: Backoff = Backoff(base=5 * SECOND, cap=300 * SECOND)
    missing: Backoff = Backoff(base=5 * SECOND, cap=timedelta(hours=1))
    archive: Backoff = Backoff(base=2 * SECOND, cap=600 * SECOND)
    ask_delays: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=30),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
    )
    nothing_usable_asks: int = 3
    suspect_tries_per_link: int = 3
    optional_tries: int = 5
    result_lost_after: timedelta = timedelta(days=3)
    deaths_allowed: int = 5
    resubmit_waits: Mapping[str, timedelta] = field(default_factory=dict)
    landed_codes: frozenset[str] = frozenset()

    def schedule_of(self, kind: str) -> PollSchedule:
        """Return the kind's schedule; kinds without one (immediate) are asked at leisure after an adoption."""
        return self.schedules.get(kind, PollSchedule(first=5 * SECOND, shortest=5 * SECOND, longest=30 * SECOND))

    def resubmit_wait_of(self, kind: str) -> timedelta:
        """Return how long after its intent a paid call may still be under way somewhere: lease + call deadline."""
        return self.resubmit_waits.get(kind, max(self.resubmit_waits.values(), default=LONGEST_RESUBMIT_WAIT))

    def throttle_backoff(self, code: str) -> Backoff:
        """Overload lasts longer than a rate refusal."""
        return self.overloaded if code in self.overload_codes else self.throttled

    def failure_code(self, provider_code: str | None, otherwise: str) -> str:
        """Return content_policy for the provider's codes of that meaning, else `otherwise`."""
        return "content_policy" if provider_code in self.content_codes else otherwise


def later(
    now: datetime, delay: timedelta, *, at_least: timedelta | None = None, until: datetime | None = None
) -> datetime:
    """Return now + delay, not before the other side's own limits (`at_least` from now, `until` absolute)."""
    moment = now + max(delay, at_least or timedelta(0))
    return max(moment, until) if until is not None else moment

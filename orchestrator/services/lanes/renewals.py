"""When held leases are to be renewed: each so long after it was taken or last renewed, a bounded number at a time."""

from __future__ import annotations

from collections import deque

RENEWED_AT_ONCE = 500  # rows a statement: the knee of PostgreSQL's bulk updates; results wait no longer than for one


class Renewals:
    """A queue of what is held, by the time of its next renewal. Keys that are no longer held drop out in passing."""

    def __init__(self, every_seconds: float | None) -> None:
        self._every = every_seconds
        self._queue: deque[tuple[float, int]] = deque()

    def add(self, key: int, now: float) -> None:
        """Renew `key` one interval from now; never, when the lane renews nothing."""
        if self._every is not None:
            self._queue.append((now + self._every, key))

    def take_due(self, now: float) -> list[int]:
        """Return the keys whose time has come, the longest waiting first, and forget them."""
        due: list[int] = []
        while self._queue and self._queue[0][0] <= now and len(due) < RENEWED_AT_ONCE:
            due.append(self._queue.popleft()[1])
        return due

    def seconds_left(self, now: float) -> float | None:
        """Return how long until the next one is due; None when nothing waits."""
        return max(self._queue[0][0] - now, 0.0) if self._queue else None

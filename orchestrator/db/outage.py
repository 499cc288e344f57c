"""When this process last could not reach the database: a lease that lapsed then tells nothing about its holder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import Clock


@dataclass(frozen=True)
class Outage:
    """How long ago the newest outage began and ended. It began at the last time that the database was reached."""

    began: timedelta
    ended: timedelta


class OutageWatch:
    """Watches one statement that is tried all the time; one lane's thread at a time, or the last word wins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reached_at = clock.monotonic()
        self._began_at: float | None = None
        self._ended_at: float | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note whether the block reaches the database."""
        try:
            yield
        except Transient:
            if self._began_at is None or self._ended_at is not None:
                self._began_at, self._ended_at = self._reached_at, None
            raise
        self._reached_at = self._clock.monotonic()
        if self._began_at is not None and self._ended_at is None:
            self._ended_at = self._reached_at

    def find(self) -> Outage | None:
        """Return the newest outage as seen from now, one that still lasts included; None when there was none."""
        if self._began_at is None:
            return None
        now = self._clock.monotonic()
        ended_at = now if self._ended_at is None else self._ended_at
        return Outage(timedelta(seconds=now - self._began_at), timedelta(seconds=now - ended_at))

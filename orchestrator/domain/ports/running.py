"""What lanes are called, and what tells the time and wakes them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol


class LaneName(StrEnum):
    """The lanes; also the names of their queues."""

    SUBMIT = "submit"
    POLL = "poll"
    ARCHIVE = "archive"
    DELIVER = "deliver"
    SWEEP = "sweep"


class Clock(Protocol):
    """The only asker of the time."""

    def now(self) -> datetime:
        """Return aware UTC."""

    def monotonic(self) -> float:
        """Return seconds that never step back."""

    def boottime(self) -> float:
        """Return seconds since boot, suspended time included where the system can tell."""


class Wakeup(Protocol):
    """Tells a lane that work may be due. Best effort; nothing depends on it."""

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""

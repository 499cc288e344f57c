"""The system's clocks behind the clock port: the only code that asks the time, and the only sleeper's yardstick."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")


class SystemClock:
    """Wall, monotonic and boot-time clocks of this machine."""

    def now(self) -> datetime:
        """Return aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds since boot, suspended time included on Linux; elsewhere the monotonic clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic()

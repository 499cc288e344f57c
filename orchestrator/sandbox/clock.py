"""The provider's clock: real time plus what tests have added to it. The only module that reads the time."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


class Clock:
    """Unix seconds that can be moved forward; those who wait on it wake when it moves."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        self._moved = asyncio.Event()

    def now(self) -> float:
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Moves the clock forward and wakes every waiter, who looks at the new time. Call it on the event loop."""
        self.offset += seconds
        self.wake()

    def wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def wait_until(self, moment: float) -> None:
        """Returns at the moment, or at once when the clock has been moved past it."""
        while (left := moment - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left):
                    await moved.wait()
            except TimeoutError:
                continue


def rfc3339(moment: float) -> str:
    """2026-02-28T15:29:32.123Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def beijing_stamp(moment: float) -> str:
    """The first 14 characters of a task id: yyyyMMddHHmmss in Beijing (zai-api.md section 1.6)."""
    return datetime.fromtimestamp(moment, BEIJING).strftime("%Y%m%d%H%M%S")

"""How much all downloads of a process may take from the line together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

BURST_SECONDS = 0.25
"""How much of an unused second may be made up for: enough that the cap is reached, too little to be felt as a burst."""


class Bandwidth:
    """A token bucket: `bytes_per_second` for everybody who takes from it, in the order in which they come; None: no cap."""

    def __init__(
        self,
        bytes_per_second: int | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._paid_until = float("-inf")

    async def take(self, byte_count: int, *, before_waiting: Callable[[float], None]) -> float:
        """Wait until so many bytes fit in; return the seconds waited, which are no fault of the server's.

        `before_waiting` is told them before they begin.
        """
        if self._rate is None:
            return 0.0
        now = self._monotonic()
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + byte_count / self._rate
        wait = max(self._paid_until - now, 0.0)
        if wait:
            before_waiting(wait)
            await self._sleep(wait)
        return wait

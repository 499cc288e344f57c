"""Ends a process whose event loop stands still: its leases lapse and others go on, which nobody could make it do.

It counts its own looks, not seconds: a process that was stopped and continued (or a suspended machine) has missed no
look, and what it had in flight is still worth keeping.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from orchestrator.services.lanes.loop import LoopThread

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOOKS_ALLOWED = 45
"""In a row without an answer. Nothing that blocks may run on the loop; a busy machine may delay it by seconds."""
EXIT_STALLED = 1  # surfaces section 1: a bug


class Watchdog(threading.Thread):
    """Asks the loop for a sign of life, look after look."""

    def __init__(
        self,
        ask: Callable[[Callable[[], None]], object],
        *,
        end: Callable[[], None],
        looks_allowed: int = LOOKS_ALLOWED,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`ask` has the loop call back soon; `end` ends the process; `wait` waits and returns True once closed."""
        super().__init__(name="watchdog", daemon=True)
        self._ask = ask
        self._end = end
        self._allowed = looks_allowed
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._missed = 0

    def run(self) -> None:
        """Look until closed, or until the loop has been silent for too long."""
        while not self._wait(LOOK_SECONDS):
            self._missed += 1
            if self._missed > self._allowed:
                self._end()
                return
            self._ask(self._hear)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _hear(self) -> None:
        self._missed = 0


def watch_loop(loop: LoopThread) -> Watchdog:
    """Return a running watchdog of this loop that ends the process."""
    watchdog = Watchdog(loop.call_soon, end=_end_process)
    watchdog.start()
    return watchdog


def _end_process() -> None:
    """Leave at once: an orderly end would wait for the loop."""
    log.critical("loop_stalled", extra={"looks": LOOKS_ALLOWED})
    os._exit(EXIT_STALLED)

"""Wake-ups that go to other processes: from a thread of their own, few, and nobody waits for them (design section 5).

A burst of transitions makes one message at once and then at most four a second for each lane. What cannot be sent is
dropped: every worker looks by itself once a tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from orchestrator.domain.errors import StepError
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.services.lanes.host import LaneHost

log = logging.getLogger(__name__)

GAP_SECONDS = 0.25  # between two messages for one lane: four a second are enough for any queue to be looked at
CLOSE_SECONDS = 3.0  # a message under way has its own time-out, about a second

Send = Callable[[LaneName], None]
"""Hands one wake-up to the broker, within about a second. Raises Transient when the broker is away."""


class Coalescer:
    """Which wake-ups may go now: the first of a burst at once, the rest as one when the gap is over."""

    def __init__(self, gap_seconds: float = GAP_SECONDS) -> None:
        self._gap = gap_seconds
        self._noted: set[LaneName] = set()
        self._free_at: dict[LaneName, float] = {}

    def note(self, lane: LaneName) -> None:
        """Somebody has work for this lane."""
        self._noted.add(lane)

    def take(self, now: float) -> list[LaneName]:
        """Return the lanes to be woken at `now` (monotonic seconds) and forget their notes."""
        ready = [lane for lane in LaneName if lane in self._noted and self._free_at.get(lane, now) <= now]
        self._noted.difference_update(ready)
        self._free_at |= dict.fromkeys(ready, now + self._gap)
        return ready

    def wait_seconds(self, now: float) -> float | None:
        """Return how long until the next note may go; None when there is none."""
        waits = [self._free_at.get(lane, now) - now for lane in self._noted]
        return max(min(waits), 0.0) if waits else None


class WakeupSender(threading.Thread):
    """Sends wake-ups for as long as the process lives. `wake` may be called by any thread."""

    def __init__(self, send: Send, *, clock: Clock) -> None:
        super().__init__(name="wake-ups", daemon=True)
        self._send = send
        self._clock = clock
        self._coalescer = Coalescer()
        self._queue: SimpleQueue[LaneName | None] = SimpleQueue()
        self._is_away = False

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""
        self._queue.put(lane)

    def run(self) -> None:
        """Send until closed."""
        while True:
            try:
                lane = self._queue.get(timeout=self._coalescer.wait_seconds(self._clock.monotonic()))
            except Empty:
                self._send_ready()
                continue
            if lane is None:
                return
            self._coalescer.note(lane)
            self._send_ready()

    def close(self) -> None:
        """Send nothing more; wait for a message that is under way."""
        self._queue.put(None)
        self.join(CLOSE_SECONDS)

    def _send_ready(self) -> None:
        for lane in self._coalescer.take(self._clock.monotonic()):
            try:
                self._send(lane)
            except StepError as error:
                self._note_outage(str(error))
            except Exception as error:  # noqa: BLE001 - whatever a client library raises, the thread must go on
                self._note_outage(f"{type(error).__name__}: {error}")
            else:
                self._note_return()

    def _note_outage(self, error: str) -> None:
        if not self._is_away:
            log.warning("broker_away", extra={"error": error})
        self._is_away = True

    def _note_return(self) -> None:
        if self._is_away:
            log.warning("broker_back")
        self._is_away = False


class FleetWakeup:
    """The wake-up port of a worker: its own running drain by a note, anybody else's through the broker."""

    def __init__(self, sender: WakeupSender) -> None:
        self.sender = sender
        self.host: LaneHost | None = None
        """Set once the lanes have been made: their context holds this wake-up."""

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""
        if self.host is None or not self.host.wake_running(lane):
            self.sender.wake(lane)

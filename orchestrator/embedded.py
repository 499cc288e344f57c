"""The lanes in threads of one process, without a broker: what `orchestrator run` and `up` use. Same drains as workers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

from orchestrator.domain.errors import StepError
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.services.lanes.archive import ArchiveLane
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Drain, Lane, Mailbox, Stop
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import SweepLane

log = logging.getLogger(__name__)

TICK_SPREAD = 0.2  # +- share of the tick, so that processes do not look in step


class MailboxWakeup:
    """The wake-up port inside one process: a note in the lane's mailbox."""

    def __init__(self) -> None:
        self.mailboxes: Mapping[LaneName, Mailbox] = {name: Mailbox() for name in LaneName}

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""
        self.mailboxes[lane].wake()


class LaneThread(threading.Thread):
    """Drains one lane for as long as nobody stops it; between drains it waits for a wake-up or the next tick."""

    def __init__(
        self, lane: Lane[Any, Any], *, loop: LoopThread, clock: Clock, mailbox: Mailbox, stop: Stop, tick_seconds: float
    ) -> None:
        super().__init__(name=f"lane-{lane.name}", daemon=True)
        self._lane = lane
        self._loop = loop
        self._clock = clock
        self._mailbox = mailbox
        self._lanes_stop = stop  # Thread has a _stop of its own
        self._tick_seconds = tick_seconds
        self._rng = Random()  # noqa: S311 - spreads ticks, guards nothing
        self.crash: BaseException | None = None

    def run(self) -> None:
        """Drain, wait, drain again; a bug ends the thread and is kept for the owner to see."""
        try:
            while not self._lanes_stop.is_requested:
                self._drain()
                if not self._lanes_stop.is_requested:
                    self._mailbox.wait(self._tick_seconds * self._rng.uniform(1 - TICK_SPREAD, 1 + TICK_SPREAD))
        except BaseException as error:
            self.crash = error
            log.exception("lane_crashed", extra={"lane": self._lane.name})

    def _drain(self) -> None:
        drain = Drain(self._lane, loop=self._loop, clock=self._clock, mailbox=self._mailbox, stop=self._lanes_stop)
        try:
            drain.run()
        except StepError as error:
            log.warning("drain_ended", extra={"lane": self._lane.name, "error": str(error)})


class EmbeddedLanes:
    """All lanes of one process, running. Made by `running_lanes`."""

    def __init__(self, threads: list[LaneThread], stop: Stop) -> None:
        self._threads = threads
        self._stop = stop

    def check(self) -> None:
        """Raise what killed a lane, if anything did."""
        for thread in self._threads:
            if thread.crash is not None:
                raise thread.crash

    def request_stop(self) -> None:
        """Claim nothing more; paid calls in flight finish."""
        self._stop.request()

    def abort(self) -> None:
        """Give up paid calls in flight too."""
        self._stop.abort()

    @property
    def is_ended(self) -> bool:
        """True when every lane thread has returned."""
        return not any(thread.is_alive() for thread in self._threads)


@contextmanager
def running_lanes(context: LaneContext, wakeup: MailboxWakeup, *, tick_seconds: float) -> Iterator[EmbeddedLanes]:
    """Run the lanes until the block ends, then stop them in order: lanes first, the event loop last."""
    stop = Stop()
    loop = LoopThread()
    lanes: list[Lane[Any, Any]] = [SubmitLane(context), PollLane(context), ArchiveLane(context), SweepLane(context)]
    threads = []
    for lane in lanes:
        mailbox = wakeup.mailboxes[lane.name]
        stop.watch(mailbox)
        threads.append(
            LaneThread(lane, loop=loop, clock=context.clock, mailbox=mailbox, stop=stop, tick_seconds=tick_seconds)
        )
    for thread in threads:
        thread.start()
    try:
        yield EmbeddedLanes(threads, stop)
    finally:
        stop.request()
        for thread in threads:
            thread.join()
        loop.submit(context.provider.close()).result()
        loop.close()

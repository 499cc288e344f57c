"""The lanes in threads of one process, without a broker: what `orchestrator run` and `up` use. Same drains as workers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random

from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.context import Delivering, LaneContext
from orchestrator.services.lanes.deliver import DeliverLane
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost, Mailboxes, make_lanes
from orchestrator.services.lanes.loop import LoopThread

log = logging.getLogger(__name__)

TICK_SPREAD = 0.2  # +- share of the tick, so that processes do not look in step


class LaneThread(threading.Thread):
    """Drains one lane for as long as nobody stops it; between drains it waits for a wake-up or the next tick."""

    def __init__(self, name: LaneName, host: LaneHost, *, tick_seconds: float) -> None:
        super().__init__(name=f"lane-{name}", daemon=True)
        self._lane = name
        self._host = host
        self._tick_seconds = tick_seconds
        self._rng = Random()  # noqa: S311 - spreads ticks, guards nothing
        self.crash: BaseException | None = None

    def run(self) -> None:
        """Drain, wait, drain again; a bug ends the thread and is kept for the owner to see."""
        try:
            while not self._host.is_stopping:
                self._host.drain(self._lane)
                if not self._host.is_stopping:
                    tick = self._tick_seconds * self._rng.uniform(1 - TICK_SPREAD, 1 + TICK_SPREAD)
                    self._host.wait_for_note(self._lane, tick)
        except BaseException as error:
            self.crash = error
            log.exception("lane_crashed", extra={"lane": self._lane})


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
def running_lanes(context: LaneContext, mailboxes: Mailboxes, *, tick_seconds: float) -> Iterator[EmbeddedLanes]:
    """Run the lanes until the block ends, then stop them in order: lanes first, the event loop last."""
    stop = Stop()
    loop = LoopThread()
    host = LaneHost(make_lanes(context), loop=loop, clock=context.clock, mailboxes=mailboxes, stop=stop)
    threads = [LaneThread(name, host, tick_seconds=tick_seconds) for name in host.served]
    for thread in threads:
        thread.start()
    try:
        yield EmbeddedLanes(threads, stop)
    finally:
        stop.request()
        for thread in threads:
            thread.join()
        loop.submit(context.close()).result()
        loop.close()


def deliver_now(tools: Delivering, *, limit: timedelta) -> int:
    """Make the deliveries that are due, for at most `limit`; return how many of all are left for another time.

    For a process that ends, or runs no lanes: whoever comes next goes on.
    """
    stop, loop, mailboxes = Stop(), LoopThread(), Mailboxes()
    host = LaneHost([DeliverLane(tools)], loop=loop, clock=tools.clock, mailboxes=mailboxes, stop=stop)
    timer = threading.Timer(limit.total_seconds(), stop.request)
    timer.start()
    try:
        host.drain(LaneName.DELIVER)
    finally:
        timer.cancel()
        loop.submit(tools.send.close()).result()
        loop.close()
    return tools.deliveries.count_pending()


def deliver_one(tools: Delivering, delivery_id: str) -> bool:
    """Make one due delivery now, and no other; return False while another process has a turn of its endpoint."""
    loop, lane = LoopThread(), DeliverLane(tools)
    try:
        works = lane.claim_one(delivery_id)
        try:
            for work in works:
                loop.submit(lane.perform(work)).result()
        finally:
            lane.apply(works)  # also of an interrupted one: its endpoint is free again
    finally:
        loop.submit(tools.send.close()).result()
        loop.close()
    return bool(works)

"""The lanes that one process serves: at most one drain of each at a time, on one event loop. Who calls them differs -
threads of the embedded runner, or tasks that a broker delivers - the lanes do not.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.domain.errors import StepError
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.services.lanes.archive import ArchiveLane
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.deliver import DeliverLane
from orchestrator.services.lanes.drain import Drain, Lane, Mailbox, Stop
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import SweepLane

log = logging.getLogger(__name__)


class Mailboxes:
    """What the lanes of a process are woken through. Made first: a lane's context holds what wakes the others."""

    def __init__(self) -> None:
        self._boxes: Mapping[LaneName, Mailbox] = {name: Mailbox() for name in LaneName}

    def __getitem__(self, lane: LaneName) -> Mailbox:
        return self._boxes[lane]

    def wake(self, lane: LaneName) -> None:
        """The wake-up port of a process that works alone. Never blocks, never raises."""
        self._boxes[lane].wake()


class LaneHost:
    """Runs drains of the lanes in `names`, one of each at a time, until a stop is asked for."""

    def __init__(
        self,
        lanes: Collection[Lane[Any, Any]],
        *,
        loop: LoopThread,
        clock: Clock,
        mailboxes: Mailboxes,
        stop: Stop,
    ) -> None:
        self._lanes = {lane.name: lane for lane in lanes}
        self._busy = {lane.name: threading.Lock() for lane in lanes}
        self._loop = loop
        self._clock = clock
        self._mailboxes = mailboxes
        self._stop = stop
        self.crash: BaseException | None = None
        """The bug that ended a drain. What it held is for another process: this one stops, so that its journal is read."""
        for name in self._lanes:
            stop.watch(mailboxes[name])

    @property
    def served(self) -> tuple[LaneName, ...]:
        """The lanes that this process serves, in their usual order."""
        return tuple(name for name in LaneName if name in self._lanes)

    @property
    def is_stopping(self) -> bool:
        """True once a stop was asked for."""
        return self._stop.is_requested

    def is_draining(self, name: LaneName) -> bool:
        """True while a drain of this lane runs here."""
        return name in self._busy and self._busy[name].locked()

    def wake_running(self, name: LaneName) -> bool:
        """Wake the drain of this lane that runs here; False when none does."""
        if not self.is_draining(name):
            return False
        self._mailboxes[name].wake()
        return self.is_draining(name)  # one that was just ending may not have seen the note

    def wait_for_note(self, name: LaneName, seconds: float) -> None:
        """Wait so long, or until somebody wakes the lane."""
        self._mailboxes[name].wait(seconds)

    def drain(self, name: LaneName) -> None:
        """Drain the lane until nothing is due. Where it drains already, wake that drain and return at once.

        A lane that this process does not serve is left alone: another process does.
        """
        if name not in self._lanes:
            return
        while not self._stop.is_requested:
            if not self._busy[name].acquire(blocking=False):
                self._mailboxes[name].wake()
                return
            try:
                self._drain_once(name)
            except BaseException as error:
                self.crash = self.crash or error
                self._stop.request()
                raise
            finally:
                self._busy[name].release()
            if not self._mailboxes[name].is_woken:  # a note that came as the drain was ending
                return

    def _drain_once(self, name: LaneName) -> None:
        mailbox = self._mailboxes[name]
        mailbox.wait(0)  # notes from before this look say nothing new
        drain = Drain(self._lanes[name], loop=self._loop, clock=self._clock, mailbox=mailbox, stop=self._stop)
        try:
            drain.run()
        except StepError as error:
            log.warning("drain_ended", extra={"lane": name, "error": str(error)})


def make_lanes(context: LaneContext, names: Collection[LaneName] = tuple(LaneName)) -> list[Lane[Any, Any]]:
    """Return the lanes of `names`."""
    lanes: list[Lane[Any, Any]] = [
        SubmitLane(context),
        PollLane(context),
        ArchiveLane(context),
        DeliverLane(context.delivering),
        SweepLane(context),
    ]
    return [lane for lane in lanes if lane.name in names]

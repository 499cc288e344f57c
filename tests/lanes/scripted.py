"""A lane that does as it is told: the only thing faked here is the Lane seam; loop, mailbox and stop are real.

Nothing sleeps: hooks run on the drain's own thread (or on the loop, in `perform`) and bring about what comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.drain import Drain, Mailbox, Stop
from orchestrator.services.lanes.loop import LoopThread
from tests.fixtures.clock import FakeClock

DATABASE_AWAY = Transient("database_away", "connection refused")


def nothing() -> None:
    """Bring nothing about."""


class ScriptedLane:
    """Claims its `due` into `window` places; work in `slow` goes on until `finish` is called for it."""

    name = LaneName.POLL

    def __init__(self, due: Sequence[str] = (), *, window: int = 10, renew_every_seconds: float | None = 20.0) -> None:
        self.due = list(due)
        self.window = window
        self.renew_every_seconds = renew_every_seconds
        self.looks_when_finished = True
        self.finishes_when_stopped = renew_every_seconds is None  # as the paid lane
        self.slow: dict[str, Future[None]] = {}
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.next_due_in: timedelta | None = None
        self.clock = FakeClock()
        self.mailbox, self.stop = Mailbox(), Stop()
        self.loop: LoopThread | None = None
        self.on_claim: Callable[[], None] = nothing
        self.on_look: Callable[[], None] = nothing
        self.on_apply: Callable[[], None] = nothing
        self.on_perform: dict[str, Callable[[], None]] = {}
        self.on_renew: Callable[[], Collection[str]] = lambda: ()
        self.on_release: Callable[[], None] = nothing
        self.claimed: list[str] = []
        self.claim_count = self.look_count = self.renew_count = 0
        self.written: list[str] = []
        self.released: list[str] = []
        self.cancelled: list[str] = []
        self.renewing: list[str] = []

    def hold(self, *works: str) -> None:
        """Make these pieces of work slow."""
        self.slow |= {work: Future() for work in works}

    def finish(self, work: str) -> None:
        """Let a slow piece of work end."""
        self.slow[work].set_result(None)

    def let_loop_settle(self) -> None:
        """Return once the loop has done all that was ready: what was let go has ended."""
        assert self.loop is not None
        for _ in range(10):  # a future's way through its chain takes a few rounds
            self.loop.submit(asyncio.sleep(0)).result()

    def claim(self, held: Collection[str]) -> Sequence[str]:
        self.claim_count += 1
        self.on_claim()
        taken = self.due[: max(self.window - len(held), 0)]
        del self.due[: len(taken)]
        self.claimed += taken
        return taken

    async def perform(self, work: str) -> str:
        self.on_perform.get(work, nothing)()
        if work in self.broken:
            raise ValueError(work)
        try:
            if work in self.slow:
                await asyncio.shield(asyncio.wrap_future(self.slow[work]))
        except asyncio.CancelledError:
            self.cancelled.append(work)
            raise
        return work

    def apply(self, results: Sequence[str]) -> None:
        self.on_apply()
        if self.refused & set(results):
            raise Permanent("database_refused", "a constraint")
        self.written += results

    def renew(self, held: Collection[str]) -> Collection[str]:
        self.renew_count += 1
        self.renewing = list(held)
        lost = self.on_renew()
        return [work for work in held if work in lost]

    def release(self, held: Collection[str]) -> None:
        self.on_release()
        self.released += held

    def find_next_due(self) -> datetime | None:
        self.look_count += 1
        self.on_look()
        return None if self.next_due_in is None else self.clock.now() + self.next_due_in

    def drain(self) -> None:
        """Run one drain of this lane to its end, and let the loop unwind what was cancelled."""
        loop = self.loop = LoopThread()
        self.stop.watch(self.mailbox)
        try:
            Drain(self, loop=loop, clock=self.clock, mailbox=self.mailbox, stop=self.stop).run()
        finally:
            loop.close()

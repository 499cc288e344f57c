"""One simulated process: the real lanes, driven claim by claim and row by row, that can die wherever a real one can."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from orchestrator import crashpoints
from orchestrator.domain.outcomes import Unknown
from orchestrator.services.lanes.archive import ArchiveLane
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Lane
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import SweepLane
from tests.simulation.provider import Line


class Died(BaseException):
    """The process has ended at a crash point: nothing of ours may catch this and go on."""


class Inline(ThreadPoolExecutor):
    """Does at once, on the caller's thread, what is handed to it: two changes of threads take longer than the work."""

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:  # noqa: ANN401 - the base's
        """Return what is done already; a death at a crash point travels in it too, as from a thread."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given, **named))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            future.set_exception(error)
        return future


class Fuse:
    """Stands in for the real fuse: at an armed point the simulated process dies, not the one that simulates."""

    def __init__(self) -> None:
        self.point: crashpoints.CrashPoint | None = None

    def burn(self) -> None:
        """Die."""
        self.point = None
        raise Died


@dataclass
class Running:
    """A lane of a process with what is in its hands: claimed, under way, and done but not written."""

    lane: Lane[Any, Any]
    claimed: list[Any] = field(default_factory=list)
    under_way: list[tuple[Any, asyncio.Task[Any]]] = field(default_factory=list)
    done: list[Any] = field(default_factory=list)

    @property
    def held(self) -> list[Any]:
        """What a claim must know of."""
        return [*self.claimed, *(work for work, _ in self.under_way)]


class Process:
    """The lanes of one process on a loop that only runs while a step of it does."""

    def __init__(self, context: LaneContext, line: Line) -> None:
        self.context = context
        self.line = line
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(Inline(1))
        self.submit = Running(SubmitLane(context))
        self.poll = Running(PollLane(context))
        self.archive = Running(ArchiveLane(context))
        self._sweep = SweepLane(context)

    @property
    def lanes(self) -> tuple[Running, Running, Running]:
        """The lanes that hold rows."""
        return self.submit, self.poll, self.archive

    def claim(self, running: Running) -> None:
        """Claim for the free places of a lane."""
        running.claimed += running.lane.claim(running.held)

    def perform(self, running: Running, index: int) -> None:
        """Perform one claimed row; a paid call goes as far as the provider and waits there."""
        work = running.claimed.pop(index)
        task = self._loop.create_task(running.lane.perform(work))
        if running is not self.submit:
            running.done.append(self._loop.run_until_complete(task))
            return
        self._run_to_gate(work, task)

    def _run_to_gate(self, work: Any, task: asyncio.Task[Any]) -> None:  # noqa: ANN401 - the lane's own
        gate = self.line.gate_of(work.claimed.submission.id)

        async def wait() -> None:
            seen = asyncio.ensure_future(gate.seen.wait())
            await asyncio.wait({task, seen}, return_when=asyncio.FIRST_COMPLETED)
            seen.cancel()

        self._loop.run_until_complete(wait())
        if task.done():
            self.submit.done.append(task.result())
        else:
            self.submit.under_way.append((work, task))

    def go_on(self, index: int) -> None:
        """Let one paid call under way have its answer, and keep it."""
        work, task = self.submit.under_way.pop(index)
        self.line.gate_of(work.claimed.submission.id).go_on.set()
        result = self._loop.run_until_complete(task)
        if result.evidence.body is not None and not isinstance(result.outcome, Unknown):
            self.line.kept.add(work.claimed.submission.id)
        self.submit.done.append(result)

    def apply(self, running: Running) -> None:
        """Write everything that is done."""
        results, running.done = running.done, []
        running.lane.apply(results)

    def renew(self, running: Running) -> None:
        """Renew what is held; what is not ours any more is dropped."""
        if running.lane.renew_every_seconds is None or not running.claimed:
            return
        lost = {id(work) for work in running.lane.renew(running.claimed)}
        running.claimed = [work for work in running.claimed if id(work) not in lost]

    def release(self, running: Running) -> None:
        """Give back what is claimed and not begun, as a stop does."""
        works, running.claimed = running.claimed, []
        if running.lane.renew_every_seconds is not None and works:
            running.lane.release(works)

    def sweep(self) -> None:
        """Run every maintenance task that is due."""
        self._sweep.claim([])

    def die(self) -> None:
        """Leave as kill -9 does: everything in memory is gone, the lock falls, the journal's file stays."""
        stray = asyncio.all_tasks(self._loop)
        for task in stray:
            task.cancel()
        self._loop.run_until_complete(asyncio.wait(stray) if stray else asyncio.sleep(0))
        self._loop.close()
        journal: Any = self.context.journal
        journal._stop_reading()  # the locks of what it was taking over fall with its own
        os.close(journal._fd)
        journal._fd = -1

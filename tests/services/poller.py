"""A poll lane whose provider and alarms do as they are told: rows are held, and time passes when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from orchestrator.domain.errors import StepError
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import StillRunning
from orchestrator.domain.ports import PollAnswer, PollQuestion, Provider
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.held import PollWork
from orchestrator.services.lanes.poll import PollLane, PollResult
from tests.fixtures.clock import FakeClock
from tests.services.bench import Bench

RUNNING = StillRunning("PROCESSING")
PATIENCE_SECONDS = 60  # a test that waits longer for the loop has found a bug


class Changes:
    """What the loop does, for a test to wait on."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def tell(self, change: Callable[[], None]) -> None:
        """Make a change and tell whoever waits."""
        with self._condition:
            change()
            self._condition.notify_all()

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Return once it is so."""
        with self._condition:
            assert self._condition.wait_for(is_so, PATIENCE_SECONDS)


@dataclass(eq=False)
class SetAlarm:
    """One alarm; it rings when the test lets it."""

    due: float
    ring: Callable[[], None]
    is_off: bool = False

    def cancel(self) -> None:
        self.is_off = True


class Alarms:
    """Alarms of rows that wait, by the fake clock."""

    def __init__(self, clock: FakeClock, changes: Changes) -> None:
        self._clock, self._changes = clock, changes
        self._set: list[SetAlarm] = []

    def __call__(self, seconds: float, ring: Callable[[], None]) -> SetAlarm:
        alarm = SetAlarm(self._clock.monotonic() + seconds, ring)
        self._changes.tell(lambda: self._set.append(alarm))
        return alarm

    def waiting(self) -> list[SetAlarm]:
        """Return those that have neither rung nor been cancelled."""
        return [alarm for alarm in self._set if not alarm.is_off]

    def wait_for(self, count: int) -> None:
        """Return once so many rows wait for their next question."""
        self._changes.wait(lambda: len(self.waiting()) == count)

    def ring_due(self) -> None:
        """Ring all whose time has come."""
        for alarm in self.waiting():
            if alarm.due <= self._clock.monotonic():
                alarm.ring()


class Script:
    """The provider port: answers by task id, `RUNNING` when nothing is said; holds back what is `held`."""

    def __init__(self, real: Provider, changes: Changes) -> None:
        self.kinds = real.kinds
        self.asked: list[str] = []
        self.says: dict[str, PollAnswer | StepError] = {}
        self.held: dict[str, Any] = {}
        self._changes = changes

    async def poll(self, question: PollQuestion) -> PollAnswer:
        self._changes.tell(lambda: self.asked.append(question.task_id))
        if question.task_id in self.held:
            await self.held[question.task_id].wait()
        answer = self.says.get(question.task_id, RUNNING)
        if isinstance(answer, StepError):
            raise answer
        return answer


class Poller:
    """A process's poll lane on a bench."""

    def __init__(self, bench: Bench, context: LaneContext, **limits: object) -> None:
        changes = Changes()
        self.bench = bench
        self.changes = changes
        self.script = Script(context.provider, changes)
        self.alarms = Alarms(bench.clock, changes)
        changed = replace(context.limits, **limits)  # type: ignore[arg-type]
        self.context = replace(context, provider=cast(Provider, self.script), limits=changed)
        self.lane = PollLane(self.context, set_alarm=self.alarms)

    def claim(self, held: Collection[PollWork] = ()) -> list[PollWork]:
        """Claim, in the order of ids."""
        return sorted(self.lane.claim(list(held)), key=lambda work: work.job.id)

    def start(self, works: Sequence[PollWork]) -> list[Future[PollResult]]:
        """Begin to hold rows."""
        return [self.bench.loop.submit(self.lane.perform(work)) for work in works]

    def hold(self, works: Sequence[PollWork]) -> list[Future[PollResult]]:
        """Begin to hold rows, and return once each waits for its second question."""
        waiting = len(self.alarms.waiting())
        futures = self.start(works)
        self.alarms.wait_for(waiting + len(works))
        return futures

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody, and ring what is due."""
        self.bench.clock.advance(timedelta(seconds=seconds))
        self.on_loop(self.alarms.ring_due)

    def on_loop(self, act: Callable[[], None]) -> None:
        """Do something on the event loop."""

        async def do() -> None:
            act()

        self.bench.loop.submit(do()).result()

    def wait_for_questions(self, count: int) -> None:
        """Return once so many questions were asked in all."""
        self.changes.wait(lambda: len(self.script.asked) == count)

    def row(self, work: PollWork) -> Job:
        """Return a job as it is stored."""
        return self.bench.app.history.get_job(work.job.id)

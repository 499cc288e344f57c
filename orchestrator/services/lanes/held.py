"""Rows that the poll lane holds between questions: when each is asked again, and which of them a pause calls off.

All of it happens on the event loop but for what the lane's thread reads and sets of a row, one assignment at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from orchestrator.domain.decide import Decision, Pause
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import PauseScope
from orchestrator.domain.ports import HeldPoll
from orchestrator.services.lanes.context import DrainTime

Scope = tuple[str, str | None]
"""A credential, or one model of it: what a pause is on."""


class Alarm(Protocol):
    """What was set to ring once."""

    def cancel(self) -> None:
        """It shall not ring."""


SetAlarm = Callable[[float, Callable[[], None]], Alarm]
"""Called on the loop with seconds and what to call then, on the loop too."""


def set_loop_alarm(seconds: float, ring: Callable[[], None]) -> Alarm:
    """Set an alarm on the running loop's own clock."""
    return asyncio.get_running_loop().call_later(seconds, ring)


@dataclass(eq=False, slots=True)
class PollWork:
    """One leased job in `processing`. `decision` is what its newest answer came to, while that need not be written.

    `pauses_seen` counts the pauses of this lane's own that the claim could know of.
    """

    job: Job
    time: DrainTime
    is_probe: bool = False
    pauses_seen: int = 0
    answer_count: int = 0
    answered_at: datetime | None = None
    decision: Decision | None = None
    waiter: asyncio.Future[bool] | None = None

    @property
    def is_unanswered(self) -> bool:
        """True until it has had a good answer since its claim: only then may its step be what kills workers."""
        return self.answer_count == 0

    @property
    def counted(self) -> Job:
        """The job with the questions that were asked since its claim."""
        return replace(self.job, poll_count=self.job.poll_count + self.answer_count)

    @property
    def last_running_at(self) -> datetime | None:
        """When its task was last known to run: at its last answer, at first when it was taken; None when another process
        or an earlier claim has asked since.
        """
        if self.answered_at is not None:
            return self.answered_at
        is_new = self.job.poll_count == 0 and self.job.submission_count == 1
        return self.job.submitted_at if is_new else None

    def keep(self, decision: Decision, *, now: datetime) -> None:
        """Remember an answer that changes nothing but the next time."""
        self.answer_count += 1
        self.answered_at = now
        self.decision = decision

    def find_unwritten(self) -> tuple[Job, Decision] | None:
        """Return what must be written when the row is given back; None when it has not answered yet."""
        if self.decision is None:
            return None
        job = self.counted
        return job, replace(self.decision, patch={**self.decision.patch, "poll_count": job.poll_count})

    def describe(self) -> HeldPoll:
        """Return what a renewal is told."""
        token = self.job.lease_token or ""
        if self.decision is None:
            return HeldPoll(self.job.id, token)
        return HeldPoll(self.job.id, token, self.decision.due_at, self.job.poll_count + self.answer_count)


class HeldPolls:
    """The rows in this lane's hands. A pause is noted the moment an answer asks for it; until it is in the database,
    `written` is told, and a row that was claimed before that does not ask again.
    """

    def __init__(self, set_alarm: SetAlarm) -> None:
        self._set_alarm = set_alarm
        self._works: set[PollWork] = set()
        self._noted: dict[Scope, int] = {}
        self._noted_count = 0
        self.written_count = 0

    @contextmanager
    def holding(self, work: PollWork) -> Iterator[None]:
        """Hold a row for as long as the block runs."""
        self._works.add(work)
        try:
            yield
        finally:
            self._works.discard(work)

    def is_called_off(self, work: PollWork) -> bool:
        """Say whether a pause is on this row that its claim could not know of."""
        if not self._noted:
            return False
        job = work.job
        newest = max(self._noted.get((job.credential, None), 0), self._noted.get((job.credential, job.model), 0))
        return newest > work.pauses_seen

    def note_pause(self, pause: Pause, job: Job) -> int:
        """Call off every row of the pause's scope; return the number to call `written` with."""
        scope = (job.credential, job.model if pause.scope is PauseScope.MODEL else None)
        is_known = self._noted.get(scope, 0) > self.written_count
        self._noted_count += 1
        self._noted[scope] = self._noted_count
        if not is_known:  # else nobody of the scope waits: each found itself called off before it could
            for work in self._works:
                if work.waiter is not None and self.is_called_off(work):
                    _ring(work.waiter, is_time=False)
        return self._noted_count

    def note_written(self, number: int) -> None:
        """The pauses up to this number are in the database: claims from now on know of them."""
        self.written_count = max(self.written_count, number)

    async def wait(self, work: PollWork, seconds: float) -> bool:
        """Return True when it is time to ask, False when the row was called off."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        work.waiter = waiter
        alarm = self._set_alarm(seconds, lambda: _ring(waiter, is_time=True))
        try:
            return await waiter
        finally:
            alarm.cancel()
            work.waiter = None


def _ring(waiter: asyncio.Future[bool], *, is_time: bool) -> None:
    if not waiter.done():
        waiter.set_result(is_time)

"""Questions that arrive while one is under way are asked together, in one thread, as soon as it has ended.

Each is asked after it has arrived, so an answer is never older than its question: this is no cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool

Q = TypeVar("Q")
A = TypeVar("A")

MOST_AT_ONCE = 100  # questions in one group: as many as the database takes in one statement
PATIENCE_SECONDS = 1.0
"""A group that takes longer (a connection that went silent, a lock) goes on by itself, and the next one begins."""

QUIET_TURNS = 2
"""Turns of the event loop in which nobody comes: what has arrived is read in the first and asks in the second."""


class Together(Generic[Q, A]):
    """Asks for many callers at once. `ask` runs in a thread and returns one answer, or what is to be raised, a question."""

    def __init__(
        self, ask: Callable[[Sequence[Q]], Sequence[A | Exception]], *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._ask = ask
        self._patience_seconds = patience_seconds
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line[Q, A]] = WeakKeyDictionary()

    async def __call__(self, question: Q) -> A:
        """Return the answer to one question; raises what `ask` raised, or gave for this question."""
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault(loop, _Line(self._ask, self._patience_seconds))
        asked: _Asked[Q, A] = _Asked(question, loop.create_future())
        line.join(asked)
        return await asked.answer


@dataclass(frozen=True)
class _Asked(Generic[Q, A]):
    """One question, and where its answer goes."""

    question: Q
    answer: asyncio.Future[A]


@dataclass
class _Line(Generic[Q, A]):
    """Who waits in one event loop, and the tasks that serve them."""

    ask: Callable[[Sequence[Q]], Sequence[A | Exception]]
    patience_seconds: float
    waiting: list[_Asked[Q, A]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    is_served: bool = False

    def join(self, asked: _Asked[Q, A]) -> None:
        """Wait for the next group; begin one when nothing is under way."""
        self.waiting.append(asked)
        if not self.is_served:
            self.is_served = True
            self._start(self._serve())

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self.tasks.discard)
        return task

    async def _serve(self) -> None:
        try:
            while self.waiting:
                await self._gather()
                group, self.waiting = self.waiting[:MOST_AT_ONCE], self.waiting[MOST_AT_ONCE:]
                await asyncio.wait({self._start(self._answer(group))}, timeout=self.patience_seconds)
        finally:
            self.is_served = False

    async def _gather(self) -> None:
        """Let whoever has arrived already come in too: a group of one and then one of all others is twice the work."""
        count, quiet = 0, 0
        while quiet < QUIET_TURNS and len(self.waiting) < MOST_AT_ONCE:
            quiet = quiet + 1 if len(self.waiting) == count else 0
            count = len(self.waiting)
            await asyncio.sleep(0)

    async def _answer(self, group: Sequence[_Asked[Q, A]]) -> None:
        answers: Sequence[A | Exception]
        try:
            answers = await run_in_threadpool(self.ask, [asked.question for asked in group])
        except Exception as error:  # noqa: BLE001 - every one of them raises it
            answers = [error] * len(group)
        for asked, answer in zip(group, answers, strict=True):
            if asked.answer.done():  # its caller has gone
                continue
            if isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)

"""Questions that arrive while one is under way are asked together, in one thread, as soon as it has ended.

Each is asked after it has arrived, so an answer is never older than its question: this is no cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool

Q = TypeVar("Q")
A = TypeVar("A")

MOST_AT_ONCE = 100  # questions in one group: as many as the database takes in one statement
PATIENCE_SECONDS = 1.0
"""A group that takes longer (a connection that went silent, a lock) goes on by itself, and the next one begins."""
MOST_GROUPS = 4
"""Under way at once. Behind so many that hang, people wait in the line, which they can leave: what a thread has, or will
have, stays until a database that froze comes back.
"""

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
        try:
            return await asked.answer
        finally:
            line.leave(asked)


@dataclass(frozen=True, eq=False)
class _Asked(Generic[Q, A]):
    """One question, and where its answer goes."""

    question: Q
    answer: asyncio.Future[A]


@dataclass
class _Line(Generic[Q, A]):
    """Who waits in one event loop, and the tasks that serve them."""

    ask: Callable[[Sequence[Q]], Sequence[A | Exception]]
    patience_seconds: float
    waiting: dict[_Asked[Q, A], None] = field(default_factory=dict)
    groups: set[asyncio.Task[None]] = field(default_factory=set)
    serving: asyncio.Task[None] | None = None

    def join(self, asked: _Asked[Q, A]) -> None:
        """Wait for the next group; begin one when nothing is under way."""
        self.waiting[asked] = None
        if self.serving is None or self.serving.done():
            self.serving = _start(self._serve())

    def leave(self, asked: _Asked[Q, A]) -> None:
        """Whoever has gone is not asked for any more, unless that is under way: nobody would hear what came of it."""
        self.waiting.pop(asked, None)

    async def _serve(self) -> None:
        while self.waiting:
            await self._gather()
            while len(self.groups) >= MOST_GROUPS:
                await asyncio.wait(self.groups, return_when=asyncio.FIRST_COMPLETED)
            group = list(islice(self.waiting, MOST_AT_ONCE))
            for asked in group:
                self.leave(asked)
            task = _start(self._answer(group))
            self.groups.add(task)
            task.add_done_callback(self.groups.discard)
            await asyncio.wait({task}, timeout=self.patience_seconds)

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
            group, answers = await run_in_threadpool(self._ask_for, group)
        except Exception as error:  # noqa: BLE001 - every one of them raises it
            answers = [_again(error) for _ in group]
        for asked, answer in zip(group, answers, strict=True):
            if asked.answer.done():  # its caller has gone
                continue
            if isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)

    def _ask_for(self, group: Sequence[_Asked[Q, A]]) -> tuple[Sequence[_Asked[Q, A]], Sequence[A | Exception]]:
        """Ask for those who have not gone while their group waited for a thread."""
        there = [asked for asked in group if not asked.answer.done()]
        return there, self.ask([asked.question for asked in there]) if there else []


def _start(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """In a context of its own: what the caller who happened to come first has noted in theirs is not the others'."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def _again(error: Exception) -> Exception:
    """Return another exception that says the same: one that several tasks raise would collect the frames of them all."""
    same = type(error).__new__(type(error), *error.args)
    same.__dict__.update(error.__dict__)
    same.__cause__, same.__suppress_context__ = error.__cause__, error.__suppress_context__
    return same.with_traceback(error.__traceback__)

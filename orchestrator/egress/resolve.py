"""Look names up with the system's resolver, in threads of their own: it takes many seconds to give a dead name up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

PLACES = 128
"""Look-ups under way at once of names that have answered, and as many of others. Far more than a window of deliveries
or downloads, since one that hangs keeps its thread: nothing can cancel it. A thread that waits costs some kilobytes."""
PATIENCE = timedelta(seconds=8)
"""How long an answer is waited for. A resolver whose first name server is dead asks the next one after 5 s; what is left
of an endpoint's 15 s is enough to connect."""
REMEMBERED = 10_000
LookUp = Callable[[str, int], Sequence[str]]


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, in the order to try them. Blocks. Raises OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


Key = tuple[str, int]


@dataclass(frozen=True)
class _Question:
    """A name that is being looked up. `answer` may come before `task` ends: when patience is over."""

    answer: asyncio.Future[Sequence[str]]
    task: asyncio.Task[None]


class SharedResolver:
    """Implements guard.Resolve so that names without an answer do not hold the others back.

    Who asks while a name is being looked up shares that answer, and no address is remembered after it. A name that is
    without an answer for PATIENCE is refused, at once for as long as its thread hangs. Names that answered the last time
    have places of their own: however many strange names hang, none waits for them. Belongs to the loop that first asks.
    """

    def __init__(self, look_up: LookUp = look_up, *, patience: timedelta = PATIENCE, places: int = PLACES) -> None:
        self._look_up = look_up
        self._patience = patience.total_seconds()
        self._thread_count = 2 * places
        self._places = {True: asyncio.Semaphore(places), False: asyncio.Semaphore(places)}
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: dict[Key, _Question] = {}
        self._answering: dict[Key, None] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        question = self._under_way.get((host, port)) or self._ask((host, port))
        return await asyncio.shield(question.answer)  # one caller's deadline is not the others'

    def close(self) -> None:
        """Ask nothing more; who still waits is told."""
        for question in self._under_way.values():
            question.task.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, key: Key) -> _Question:
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        question = _Question(answer, asyncio.create_task(self._answer(key, answer)))
        self._under_way[key] = question
        question.task.add_done_callback(lambda _: self._forget(key, answer))
        return question

    async def _answer(self, key: Key, answer: asyncio.Future[Sequence[str]]) -> None:
        async with self._places[key in self._answering]:
            thread = asyncio.get_running_loop().run_in_executor(self._threads(), self._look_up, *key)
            try:
                await asyncio.wait([thread], timeout=self._patience)
                self._note(key, is_answering=thread.done())
                if not thread.done():
                    answer.set_exception(OSError(f"no answer within {self._patience:g} s"))
                    await asyncio.wait([thread])  # its place is taken until it ends
                _hand_over(thread, answer)
            finally:
                thread.cancel()  # of a loop that ends: nothing reports to it any more

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._thread_count, thread_name_prefix="resolving")
        return self._pool

    def _note(self, key: Key, *, is_answering: bool) -> None:
        self._answering.pop(key, None)
        if is_answering:
            self._answering[key] = None
        if len(self._answering) > REMEMBERED:
            del self._answering[next(iter(self._answering))]

    def _forget(self, key: Key, answer: asyncio.Future[Sequence[str]]) -> None:
        del self._under_way[key]
        if not answer.done():  # closed
            answer.cancel()
        elif not answer.cancelled():
            answer.exception()  # looked at: nobody may be left to hear it


def _hand_over(thread: asyncio.Future[Sequence[str]], answer: asyncio.Future[Sequence[str]]) -> None:
    trouble = None if thread.cancelled() else thread.exception()
    if answer.done() or thread.cancelled():
        return
    if trouble is None:
        answer.set_result(thread.result())
    else:
        answer.set_exception(trouble)

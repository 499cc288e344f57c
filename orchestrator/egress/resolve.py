"""Look names up with the system's resolver, in threads of their own: it takes many seconds to give a dead name up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

THREADS = 32
"""Names that may be without an answer at once before others wait. They share none with the loop's own pool, which writes
files."""
LookUp = Callable[[str, int], Sequence[str]]


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, in the order to try them. Blocks. Raises OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class SharedResolver:
    """Implements guard.Resolve for many callers of few names: whoever asks while a name is being looked up shares that
    answer, so that a dead name holds one thread however many events wait for it. Nothing is remembered after it.
    Belongs to the event loop that first asks.
    """

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        key = (host, port)
        answer = self._under_way.get(key)
        if answer is None:
            answer = self._under_way[key] = self._ask(host, port)
            answer.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(answer)  # one caller's deadline is not the others'

    def close(self) -> None:
        """Ask nothing more; who still waits is told."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="resolving")
        return asyncio.get_running_loop().run_in_executor(self._pool, self._look_up, host, port)

    def _forget(self, key: tuple[str, int], answer: asyncio.Future[Sequence[str]]) -> None:
        del self._under_way[key]
        if not answer.cancelled():
            answer.exception()  # looked at: nobody may be left to hear it

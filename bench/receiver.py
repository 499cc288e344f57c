"""The least receiver of webhooks, in a process of its own: 200 to every POST once its body has come."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from bench.measure import pin

END = b"\r\n\r\n"
LENGTH = b"content-length:"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Taking(asyncio.Protocol):
    """Verifies nothing: it should cost as little as can be beside the sender."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(END)) >= 0:
            head = self._pending[:end].lower()
            whole = end + len(END) + int(head.partition(LENGTH)[2].partition(b"\r\n")[0] or 0)
            if len(self._pending) < whole:
                return
            self._pending = self._pending[whole:]
            self._transport.write(ANSWER)
            if b"connection: close" in head:
                self._transport.close()


async def _serve(port: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Taking, "127.0.0.1", 0, backlog=2048)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(port: Connection, core: int) -> None:
    pin(core)
    asyncio.run(_serve(port))


@contextmanager
def running_receiver(core: int) -> Iterator[int]:
    """Run it on a core; give its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, core), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()

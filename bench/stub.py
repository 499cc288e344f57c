"""The least server that answers a poll, in a process of its own: the answer of a running task to whatever is asked."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from bench.measure import pin

BODY = (
    b'{"model":"cogvideox-3","request_id":"sub_0123456789abcdef0123456789abcdef",'
    b'"task_status":"PROCESSING","id":"2026112220000000aabbccddeeff0011"}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
END = b"\r\n\r\n"


class _Answering(asyncio.Protocol):
    """Answers every request head as soon as it is complete; a GET has no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        heads = self._pending.count(END)
        if heads:
            self._pending = self._pending.rpartition(END)[2]
            self._transport.write(ANSWER * heads)


async def _serve(port: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0, backlog=2048)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(port: Connection, core: int) -> None:
    pin(core)
    asyncio.run(_serve(port))


@contextmanager
def running_stub(core: int) -> Iterator[str]:
    """Run the server on a core; give its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, core), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()

"""The least HTTP server, in a process of its own: one answer to whatever is asked, once the request's body has come."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

from bench.measure import pin

RUNNING_TASK = (
    b'{"model":"cogvideox-3","request_id":"sub_0123456789abcdef0123456789abcdef",'
    b'"task_status":"PROCESSING","id":"2026112220000000aabbccddeeff0011"}'
)
POLL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(RUNNING_TASK),
    RUNNING_TASK,
)
OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Answering(asyncio.Protocol):
    """Looks at nothing but where a request ends: it should cost as little as can be beside the client."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(END)) >= 0:
            head = self._pending[:end].lower()
            whole = end + len(END) + int(find_field(head, LENGTH) or b"0")
            if len(self._pending) < whole:
                return
            self._pending = self._pending[whole:]
            self.take(head)
            self._transport.write(self._answer)
            if b"connection: close" in head:
                self._transport.close()

    def take(self, head: bytes) -> None:
        """Hear of a request whose body has come; `head` is in lower case."""


def find_field(head: bytes, name: bytes) -> bytes:
    """Return the value of a field whose name, with its colon, is in lower case; empty when it is not there."""
    return head.partition(name)[2].partition(b"\r\n")[0].strip()


async def _serve(port: Connection, answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(partial(Answering, answer), "127.0.0.1", 0, backlog=2048)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(port: Connection, core: int, answer: bytes) -> None:
    pin(core)
    asyncio.run(_serve(port, answer))


@contextmanager
def running_stub(core: int, answer: bytes = POLL_ANSWER) -> Iterator[str]:
    """Run the server on a core; give its host and port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, core, answer), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()

"""A server that sends exactly the bytes a test wrote down, in the test's own event loop, and counts its visitors."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

QUIET = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError)
"""How a connection may end from the server's point of view; the test judges the client's."""
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
Play = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """Where it listens, what it was sent (heads and bodies apart), how often somebody connected."""

    port: int = 0
    connection_count: int = 0
    requests: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def url(self, path: str = "/a.mp4") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.asynccontextmanager
async def serving(
    play: Play, *, tls: ssl.SSLContext | None = None, requests_per_connection: int = 1
) -> AsyncIterator[RawServer]:
    """Answer each request by `play` once it has been read; close the connection after the last one it may have."""
    state = RawServer()
    plays: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connection_count += 1
        current = asyncio.current_task()
        assert current is not None
        plays.add(current)
        with contextlib.suppress(*QUIET):
            for _ in range(requests_per_connection):
                state.requests.append(await reader.readuntil(b"\r\n\r\n"))
                length = LENGTH.search(state.requests[-1])
                state.bodies.append(await reader.readexactly(int(length[1])) if length else b"")
                await play(writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield state
        finally:
            for each in plays:  # from Python 3.12 on a server waits for its connections, the silent ones included
                each.cancel()


def saying(*pieces: bytes) -> Play:
    """Send these pieces, then close in order."""

    async def play(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return play


def saying_then_reset(*pieces: bytes) -> Play:
    """Send these pieces, then reset the connection."""

    async def play(writer: asyncio.StreamWriter) -> None:
        await saying(*pieces)(writer)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return play


def saying_then_silence(*pieces: bytes) -> Play:
    """Send these pieces, then keep the connection open without another byte."""

    async def play(writer: asyncio.StreamWriter) -> None:
        await saying(*pieces)(writer)
        await asyncio.Event().wait()

    return play


def saying_for_ever(head: bytes, piece: bytes) -> Play:
    """Send `piece` again and again until the other side has had enough."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()

    return play


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine on a loop of its own."""
    asyncio.run(work)

"""Raw loopback peers that misbehave on purpose, and a provider that talks to them. No sleeps: each peer acts on what
it has read, and deadlines are short where running out of time is the point.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from orchestrator.domain.outcomes import CallEvidence
from orchestrator.domain.ports import PaidRequest
from orchestrator.http import PollClient, paid_client, poll_client
from orchestrator.zai.client import ZaiProvider
from orchestrator.zai.encode import ReadInput
from orchestrator.zai.route import ZaiKind

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = "key-id.canary-secret"
REQUEST_ID = "sub_0123456789abcdef0123456789abcdef"
TASK_ANSWER = b'{"id":"2026112220000000aabbccddeeff0011","request_id":"r","model":"m","task_status":"PROCESSING"}'


class FixedClock:
    """It is always noon."""

    def now(self) -> datetime:
        """Noon."""
        return NOW

    def monotonic(self) -> float:
        """Zero."""
        return 0.0

    def boottime(self) -> float:
        """Zero."""
        return 0.0


@dataclass
class Talk:
    """One connection, seen from the peer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes]

    async def read_request(self) -> None:
        """Read one whole request and keep it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        sizes = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        self.requests.append(head + await self.reader.readexactly(sum(sizes)))

    async def write(self, data: bytes) -> None:
        """Write and see it leave."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Act = Callable[[Talk], Awaitable[None]]


class Peer:
    """A listening socket that does `act` with each connection and counts connections and whole requests."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base address for a client."""
        return f"http://127.0.0.1:{self.port}/api/paas/v4"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk until the act is over, then close."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._act(Talk(reader, writer, self.requests))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side went away, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End the conversations that hang."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(body: bytes, *, status: int = 200, headers: str = "") -> Act:
    """A peer that reads the request and answers it."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return raw(head.encode() + body)


def raw(data: bytes, *, then_reset: bool = False) -> Act:
    """A peer that reads the request, writes these bytes, then closes or resets."""

    async def act(talk: Talk) -> None:
        await talk.read_request()
        await talk.write(data)
        if then_reset:
            talk.reset()

    return act


async def hang(talk: Talk) -> None:
    """Read nothing, say nothing."""
    await asyncio.Event().wait()


async def read_and_hang(talk: Talk) -> None:
    """Read the request, say nothing."""
    await talk.read_request()
    await asyncio.Event().wait()


@asynccontextmanager
async def peer(act: Act, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A listening peer on a free loopback port."""
    one = Peer(act)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        await one.stop()
        server.close()
        await server.wait_closed()


async def no_input(archive_url: str, key: str) -> bytes:
    """An archive that is never asked."""
    raise AssertionError("no input was named")


def make_provider(
    base_url: str,
    *,
    paid: httpx.AsyncClient | None = None,
    poll: PollClient | None = None,
    deadline: timedelta = timedelta(seconds=20),
    read_input: ReadInput = no_input,
    kinds: Mapping[str, ZaiKind] | None = None,
    input_deadline: timedelta = timedelta(seconds=20),
) -> ZaiProvider:
    """A provider with real clients; one deadline for calls and polls."""
    return ZaiProvider(
        base_url=base_url,
        api_key=KEY,
        paid=paid or paid_client(),
        poll=poll or poll_client(),
        clock=FixedClock(),
        read_input=read_input,
        kinds=kinds,
        call_deadlines=dict.fromkeys(("image", "video", "transcription"), deadline),
        poll_deadline=deadline,
        input_deadline=input_deadline,
    )


def video_request(**body: object) -> PaidRequest:
    """A paid request for a video."""
    return PaidRequest(
        REQUEST_ID, "video", "cogvideox-3", {"model": "cogvideox-3", "prompt": "a red kite", **body}, "file:///archive"
    )


class FirstByte:
    """Counts how often the client said that it was about to send."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.count = 0
        self._refusal = refusal

    def __call__(self) -> None:
        self.count += 1
        if self._refusal is not None:
            raise self._refusal


async def call(provider: ZaiProvider, request: PaidRequest | None = None) -> CallEvidence:
    """Make the paid call and close the provider."""
    try:
        return await provider.call(request or video_request(), before_first_byte=FirstByte())
    finally:
        await provider.close()

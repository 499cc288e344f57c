"""One HTTP call as the handlers see it: its parts, the ways to answer it, and the ways to break it. Breaking needs the
transport, which `server` puts into the ASGI scope.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.clock import Clock
from orchestrator.sandbox.errors import Refusal

T = TypeVar("T")
JSON_TYPE = "application/json; charset=UTF-8"
TRANSPORT = "sandbox.transport"
CHUNK = 256 * 1024
# Two vidu frames of 50 MB in base64 and some room (section 3.2); more is refused before it is read.
MOST_BODY_BYTES = 160 * 1024 * 1024


class Gone(Exception):
    """The other side has left or was cut off: nothing more is to be sent."""


@dataclass
class Call:
    """A request with its connection. `path` has repeated and trailing slashes removed; `api_path` is what follows
    the API base in it, or empty.
    """

    scope: Scope
    receive: Receive
    send: Send
    path: str
    api_path: str

    def __post_init__(self) -> None:
        self.request = Request(self.scope, self.receive)
        self.method: str = self.scope["method"]
        self.transport: asyncio.Transport = self.scope[TRANSPORT]

    async def json(self, body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> bool:
        """Answers JSON; True when all of it was handed to a transport that was open."""
        return await self.answer(json.dumps(body, ensure_ascii=False).encode(), JSON_TYPE, status, headers)

    async def answer(
        self, body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> bool:
        """Answers a body of known length; the result is as for `json`."""
        length = {} if headers and "content-length" in headers else {"content-length": str(len(body))}
        await self.start(status, {"content-type": content_type, **length, **(headers or {})})
        whole = memoryview(b"" if self.method == "HEAD" else body)
        for begin in range(0, len(whole) - CHUNK, CHUNK):
            await self.more(bytes(whole[begin : begin + CHUNK]))
        last = len(whole) and (len(whole) - 1) // CHUNK * CHUNK
        handed = not self.transport.is_closing()
        await self.send({"type": "http.response.body", "body": bytes(whole[last:]), "more_body": False})
        return handed

    async def refuse(self, refusal: Refusal, *, retry_after: float | None = None) -> None:
        """Answers the refusal. Retry-After is not the provider's habit: only a rule or an option adds it (9.5)."""
        wait = refusal.retry_after if refusal.retry_after is not None else retry_after
        headers = {"retry-after": f"{wait:g}"} if wait is not None and refusal.status == 429 else {}
        await self.json(refusal.body(), status=refusal.status, headers=headers)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends the head of an answer."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def more(self, body: bytes) -> None:
        """Sends a piece of the body as soon as the other side takes it; Gone when nobody is there."""
        if self.transport.is_closing():
            raise Gone
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> bool:
        """Ends a body sent with `more`."""
        handed = not self.transport.is_closing()
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})
        return handed

    async def read_json(self) -> dict[str, Any]:
        """The body as an object with its nulls left out (section 3.2: null means absent)."""
        try:
            document = json.loads(await self.read_body())
        except (ValueError, RecursionError) as error:
            raise Refusal("1210", "The body is not valid JSON.") from error
        if not isinstance(document, dict):
            raise Refusal("1210", "The body must be a JSON object.")
        return {name: value for name, value in document.items() if value is not None}

    async def read_body(self) -> bytes:
        """The whole body, within MOST_BODY_BYTES."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > MOST_BODY_BYTES:
                raise Refusal("1210", "The body is too large.", status=435)
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body piece by piece; Gone when it ends early."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def cut(self) -> None:
        """Closes the connection (FIN) after what was sent so far; always ends in Gone."""
        self.transport.close()
        await self._until_left()
        raise Gone

    async def reset(self) -> None:
        """Closes the connection with RST, dropping what was not yet sent; always ends in Gone."""
        raw: socket.socket = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self._until_left()
        raise Gone

    async def write_raw(self, data: bytes) -> None:
        """Puts bytes on the wire past the HTTP layer, for answers no HTTP layer would write, and closes."""
        self.transport.write(data)
        await self.cut()

    async def hang(self, clock: Clock, seconds: float | None) -> None:
        """Says nothing for so many seconds of the sandbox clock, or for ever; Gone when the caller leaves first."""
        if seconds is None:
            await self._until_left()
            raise Gone
        await self.unless_left(clock.wait_until(clock.now() + seconds))

    async def unless_left(self, work: Awaitable[T]) -> T:
        """Waits for the work while the caller stays; Gone (and the work cancelled) when they leave first."""
        leaving, doing = asyncio.ensure_future(self._until_left()), asyncio.ensure_future(work)
        try:
            await asyncio.wait((leaving, doing), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Gone
        finally:
            await _dropped(leaving)
            await _dropped(doing)

    async def _until_left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def _dropped(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))

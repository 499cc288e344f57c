"""What every request passes before and after its route: an id, caps on headers, body and patience, safe headers."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.errors import CODES, error_object

MAX_HEADERS = 100
MAX_BODY_BYTES = 8 << 20
"""Of JSON: prompts, and small pictures inline; what is larger is uploaded as a file."""
MAX_UPLOAD_BYTES = 201 << 20
"""Of a job file or an input: 200 MB (surfaces section 3) and what multipart adds."""
UPLOADS = ("/v1/files", "/v1/batches")
ANSWER_SECONDS = 100.0
"""Longer than anything that a route may wait for. A database that froze takes questions and answers none: its server keeps
the connection alive, so nothing else would end the wait.
"""
NO_ANSWER = (
    "the database or the archive does not answer; what was asked may be done all the same, so look before you repeat it, or"
    " repeat it with the same Idempotency-Key"
)
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Gate:
    """An ASGI layer around the whole application."""

    def __init__(self, app: ASGIApp, *, patience_seconds: float = 30.0, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._app = app
        self._patience = patience_seconds
        self._answer_seconds = answer_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = f"req_{secrets.token_hex(12)}"
        sender = _Sender(send, scope["request_id"])
        if refused := _refuse(scope):
            await sender.refuse(*refused)
            return
        body = _Body(receive, limit=_limit_of(scope), patience_seconds=self._patience)
        try:
            async with asyncio.timeout(self._answer_seconds) as deadline:
                body.on_part = lambda: _set(deadline, self._answer_seconds)
                sender.on_start = lambda: _set(deadline, None)
                await self._app(scope, body.receive, sender.send)
        except TimeoutError:
            if sender.has_begun:
                raise
            await sender.refuse(503, NO_ANSWER)


def _nothing() -> None:
    """Nobody waits."""


@dataclass
class _Body:
    """Counts what comes in, and does not wait for ever for the next part of it."""

    source: Receive
    limit: int
    patience_seconds: float
    count: int = 0
    is_whole: bool = False
    on_part: Callable[[], None] = _nothing

    async def receive(self) -> Message:
        if self.is_whole:  # what comes now is only the news that the caller has gone
            return await self.source()
        try:
            async with asyncio.timeout(self.patience_seconds):
                message = await self.source()
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        if message["type"] == "http.request":
            self.count += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
            self.on_part()
        if self.count > self.limit:
            raise HTTPException(413, f"the body has more than {self.limit:,} bytes")
        return message


@dataclass
class _Sender:
    """Puts the request's id and the safe headers on every answer."""

    sink: Send
    request_id: str
    has_begun: bool = False
    on_start: Callable[[], None] = _nothing

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.on_start()
            given = {name.lower() for name, _ in message["headers"]}
            safe = [(name, value) for name, value in SAFE_HEADERS if name not in given]
            message["headers"] = [*message["headers"], *safe, (b"x-request-id", self.request_id.encode())]
        await self.sink(message)

    async def refuse(self, status: int, words: str) -> None:
        """Answer without reading any further; the connection ends with it."""
        body = json.dumps(error_object(CODES[status], words, status=status, request_id=self.request_id)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _set(deadline: asyncio.Timeout, seconds: float | None) -> None:
    if not deadline.expired():
        deadline.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def _limit_of(scope: Scope) -> int:
    return MAX_UPLOAD_BYTES if scope["path"] in UPLOADS else MAX_BODY_BYTES


def _refuse(scope: Scope) -> tuple[int, str] | None:
    headers = scope["headers"]
    if "\0" in scope["path"]:  # PostgreSQL has no such text: it would refuse to look for it
        return 404, "nothing has an address with a NUL in it"
    if len(headers) > MAX_HEADERS:
        return 431, f"more than {MAX_HEADERS} headers"
    lengths = [value for name, value in headers if name == b"content-length"]
    limit = _limit_of(scope)
    if any(not value.isdigit() or int(value) > limit for value in lengths):
        return 413, f"the body has more than {limit:,} bytes"
    return None

"""Attempts through the real sender and the real guard, against servers on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.ports import Sending, Sent
from orchestrator.egress import GuardedPost
from orchestrator.webhooks import WebhookSender, encode_secret
from tests.egress.server import RawServer, head

SECRET = encode_secret(bytes(range(32)))
BODY = '{"type":"job.succeeded","data":{"prompt":"\u2028 \U0001f99c </script>"}}'.encode()
OK = head("Content-Length: 2") + b"ok"


async def to_loopback(host: str, port: int) -> Sequence[str]:
    """Every name is this machine."""
    return ["127.0.0.1"]


@contextlib.asynccontextmanager
async def sender_to(
    server: RawServer, *, host: str = "127.0.0.1", deadline: timedelta = timedelta(seconds=15), ca: Path | None = None
) -> AsyncIterator[WebhookSender]:
    """Give a sender that may reach this server under this name, and nothing else that is internal."""
    post = GuardedPost(allow=[f"{host}:{server.port}"], resolve=to_loopback, ca_bundle=ca)
    sender = WebhookSender(post, version="1.2.3", deadline=deadline)
    try:
        yield sender
    finally:
        await sender.close()


def sending(url: str, *, at: datetime | None = None, body: bytes = BODY) -> Sending:
    return Sending(url, "evt_1", at or datetime.now(UTC), body, (SECRET,))


async def attempt(server: RawServer, *, deadline: timedelta = timedelta(seconds=15)) -> Sent:
    """Send once to the server."""
    async with sender_to(server, deadline=deadline) as sender:
        return await sender.send(sending(server.url("/hook")))

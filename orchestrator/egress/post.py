"""Post to a URL that a stranger chose: guarded, no redirect, no decoding, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import aiohttp

from orchestrator.domain.errors import Permanent, StepError, Transient
from orchestrator.domain.media import suspects
from orchestrator.domain.ports import Posted
from orchestrator.egress.guard import EgressGuard, Resolve
from orchestrator.egress.kept import KeptClient
from orchestrator.egress.reasons import describe_refusal, describe_tls
from orchestrator.egress.resolve import SharedResolver
from orchestrator.http import WrongPeer


class GuardedPost:
    """Implements ports.Post. `allow` is the operator's EGRESS_ALLOW. Raises ConfigError for an entry that is none."""

    def __init__(
        self, *, allow: Iterable[str] = (), resolve: Resolve | None = None, ca_bundle: Path | None = None
    ) -> None:
        self._names = SharedResolver()
        self._guard = EgressGuard(allow, resolve=resolve or self._names)
        self._client = KeptClient(self._guard, ca_bundle=ca_bundle)

    def check(self, url: str) -> None:
        """Raise Permanent(`egress_refused`) for a URL that is refused by its spelling or its port."""
        self._guard.check(url)

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, max_bytes: int, deadline: timedelta
    ) -> Posted:
        """Post once. Raises Permanent(`egress_refused`) or Transient when no answer came."""
        reading = _Reading(max_bytes)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._client.post(url, headers=headers, body=body, read=reading.read)
        except aiohttp.ClientError as error:  # before TimeoutError: some of them are both
            return reading.end(classify(error))
        except TimeoutError:
            return reading.end(Transient("webhook_deadline", f"not done within {deadline.total_seconds():g} s"))
        return reading.end(None)

    async def close(self) -> None:
        """Close the connections that are kept; on the loop that posted."""
        self._names.close()
        await self._client.close()


class _Reading:
    """What has come of an answer so far."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answer: aiohttp.ClientResponse | None = None
        self._body = bytearray()

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        """Take the body until its end or the cap; at the cap the connection is closed, not drained."""
        self._answer = answer
        content = answer.content
        while not content.at_eof():
            chunk = content.read_nowait() if content.is_eof() else await content.readany()  # most came with their heads
            self._body += chunk[: self._max_bytes - len(self._body)]
            if len(self._body) >= self._max_bytes:
                answer.close()
                return

    def end(self, trouble: StepError | None) -> Posted:
        """Return what came, with what kept the rest away. Raises `trouble` when nothing came at all."""
        answer = self._answer
        if answer is None:
            raise trouble or Transient("bad_answer", "no answer came")
        return Posted(
            status=answer.status,
            retry_after=answer.headers.get("Retry-After"),
            date=answer.headers.get("Date"),
            body=bytes(self._body),
            trouble=trouble,
        )


def classify(error: aiohttp.ClientError) -> StepError:
    """Return an exception of the HTTP client in our words; none holds the URL, which may hold a password."""
    if isinstance(error, WrongPeer | aiohttp.InvalidURL):
        return Permanent(suspects.EGRESS_REFUSED, "the connection leads elsewhere than to the address that was checked")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return Transient("tls_failed", describe_tls(error))
    if isinstance(error, aiohttp.ClientConnectorError):
        return Transient("connect_failed", describe_refusal(error))
    code, words = next(((code, words) for kind, code, words in CODES if isinstance(error, kind)), BROKEN)
    return Transient(code, words)


BROKEN = ("connection_broken", "the connection broke")
CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout", "the connection is not taken"),
    (aiohttp.ServerTimeoutError, "read_timeout", "no answer came"),
    (aiohttp.ServerDisconnectedError, "connection_broken", "the connection was closed before an answer came"),
    (aiohttp.ClientPayloadError, "connection_broken", "the connection ended in the middle of the answer"),
    (aiohttp.ClientResponseError, "bad_answer", "the answer is not proper HTTP"),
)

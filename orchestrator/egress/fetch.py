"""Fetch a result link into the spool: a guarded GET, no decoding, bounded in bytes and in time.

A redirect is followed by hand, MOST_HOPS times at most, and each hop passes the guard like the link itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from orchestrator.domain.errors import Permanent, StepError, Transient
from orchestrator.domain.media import suspects
from orchestrator.domain.ports import Fetched
from orchestrator.egress.answers import check_answer, read_onward
from orchestrator.egress.guard import EgressGuard, Resolve
from orchestrator.egress.pinned import PinnedClient
from orchestrator.egress.sink import SpoolSink
from orchestrator.http import WrongPeer

MOST_HOPS = 3  # the provider's links are direct (zai-api.md 4.7); a store or a CDN behind them may move once or twice


@dataclass(frozen=True)
class Pace:
    """The slowest download worth its slot: `min_bytes` in every `window` (E11)."""

    window: timedelta = timedelta(seconds=30)
    min_bytes: int = 64 * 1024


class GuardedFetch:
    """Implements ports.Fetch. Holds no connection between two fetches: there is nothing to close.

    `allow` is the operator's EGRESS_ALLOW: hosts, host:port, networks. Raises ConfigError for an entry that is none.
    """

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        resolve: Resolve | None = None,
        ca_bundle: Path | None = None,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = EgressGuard(allow, resolve=resolve)
        self._client = PinnedClient(self._guard, ca_bundle=ca_bundle)
        self._pace = pace or Pace()
        self._monotonic = monotonic

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        """Write the body of `url` whole to `into`, or leave nothing there.

        Raises Gone (403, 404, 410), Permanent (the guard, too many redirects, another status, the wrong kind of answer, over
        `max_bytes`) or Transient. Codes for which `domain.media.is_suspect` is true call for another link.
        """
        target = self._guard.check(url)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                return await self._fetch(target.url, into, max_bytes, hops_left=MOST_HOPS)
        except aiohttp.ClientError as error:  # before TimeoutError: some of them are both
            raise classify(error) from error
        except TimeoutError as error:
            raise Transient("fetch_deadline", f"not done within {deadline.total_seconds():g} s") from error

    async def _fetch(self, url: str, into: Path, max_bytes: int, *, hops_left: int) -> Fetched:
        async with self._client.open("GET", url) as answer:
            onward = read_onward(answer.status, answer.headers.get("Location"), url)
            if onward is None:
                return await self._keep(answer, into, max_bytes)
        if hops_left == 0:
            raise Permanent(suspects.REDIRECTED, f"the link leads on more than {MOST_HOPS} times")
        return await self._fetch(onward, into, max_bytes, hops_left=hops_left - 1)

    async def _keep(self, answer: aiohttp.ClientResponse, into: Path, max_bytes: int) -> Fetched:
        declared = check_answer(answer, max_bytes=max_bytes)
        async with SpoolSink(into) as sink:
            await self._copy(answer, sink, max_bytes)
            if sink.byte_count == 0:
                raise Permanent(suspects.EMPTY_BODY, "the answer has no content")
            if declared is not None and sink.byte_count != declared:
                raise Transient("short_body", f"{sink.byte_count} of {declared} bytes came")
            return Fetched(sink.byte_count, await sink.finish(), answer.headers.get("Content-Type"))

    async def _copy(self, answer: aiohttp.ClientResponse, sink: SpoolSink, max_bytes: int) -> None:
        window = self._pace.window.total_seconds()
        ends_at, floor = self._monotonic() + window, self._pace.min_bytes
        async for chunk in answer.content.iter_any():
            if sink.byte_count + len(chunk) > max_bytes:
                raise Permanent(suspects.TOO_LARGE, f"more than {max_bytes} bytes")
            await sink.write(chunk)
            if self._monotonic() >= ends_at:
                if sink.byte_count < floor:
                    raise Transient("too_slow", f"{sink.byte_count} bytes so far")
                ends_at, floor = self._monotonic() + window, sink.byte_count + self._pace.min_bytes


def classify(error: aiohttp.ClientError) -> StepError:
    """Return what happens next after an exception of the HTTP client. All but one are Transient: nothing was paid for.

    The message never holds the URL: it may be signed.
    """
    if isinstance(error, aiohttp.InvalidURL):
        return Permanent(suspects.EGRESS_REFUSED, "the link cannot be read")
    if isinstance(error, WrongPeer):
        return Permanent(suspects.EGRESS_REFUSED, "the connection leads elsewhere than to the address that was checked")
    code = next((name for kind, name in CODES if isinstance(error, kind)), "connection_broken")
    return Transient(code, type(error).__name__)


CODES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ServerTimeoutError, "read_timeout"),
    (aiohttp.ClientConnectorError, "connect_failed"),
    (aiohttp.ServerDisconnectedError, "bad_answer"),  # closed in order, with nothing or too little said
    (aiohttp.ClientResponseError, "bad_answer"),
    (aiohttp.ClientPayloadError, "bad_answer"),  # too little came, whether the connection was closed or reset
)

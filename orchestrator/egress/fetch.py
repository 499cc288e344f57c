"""Fetch a result link into the spool: a guarded GET, no decoding, bounded in bytes and in time.

A redirect is followed by hand, MOST_HOPS times at most, and each hop passes the guard like the link itself. A body that is cut
is gone on with where the server proves that the bytes are the same (`resume`), MOST_CUTS times at most.
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
from orchestrator.egress.bandwidth import Bandwidth
from orchestrator.egress.guard import EgressGuard, Resolve
from orchestrator.egress.pinned import NO_HEADERS, PinnedClient
from orchestrator.egress.reasons import describe_refusal, describe_tls
from orchestrator.egress.resume import RESTARTED, Mark, find_mark
from orchestrator.egress.sink import SpoolSink
from orchestrator.egress.target import parse_target
from orchestrator.http import FETCH_CONNECT_SECONDS, FETCH_IDLE_SECONDS, WrongPeer

MOST_HOPS = 3  # the provider's links are direct (zai-api.md 4.7); a store or a CDN behind them may move once or twice

MOST_CUTS = 20  # of one download: each has to bring bytes, and the deadline holds for all of them together


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
        bandwidth: Bandwidth | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = EgressGuard(allow, resolve=resolve)
        self._client = PinnedClient(self._guard, ca_bundle=ca_bundle)
        self._pace = pace or Pace()
        self._bandwidth = bandwidth or Bandwidth()
        self._monotonic = monotonic

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        """Write the body of `url` whole to `into`, or leave nothing there.

        Raises Gone (403, 404, 410), Permanent (the guard, too many redirects, another status, the wrong kind of answer, over
        `max_bytes`) or Transient. Codes for which `domain.media.is_suspect` is true call for another link. Time spent waiting
        for the bandwidth is not counted against the deadline.
        """
        target = self._guard.check(url)
        try:
            async with asyncio.timeout(deadline.total_seconds()) as limit, SpoolSink(into) as sink:
                download = Download(sink, max_bytes, limit, target.host)
                await self._bring(target.url, download)
                return Fetched(sink.byte_count, await sink.finish(), download.content_type)
        except TimeoutError as error:
            raise Transient("fetch_deadline", f"not done within {deadline.total_seconds():g} s") from error

    async def _bring(self, url: str, download: Download) -> None:
        try:
            await self._insist(url, download)
        except aiohttp.ClientError as error:
            raise classify(error, host=download.host) from error

    async def _insist(self, url: str, download: Download) -> None:
        """Ask, and ask for the rest after each cut as long as asking brings some of it."""
        for cuts_left in reversed(range(MOST_CUTS + 1)):
            had = download.sink.byte_count
            try:
                return await self._ask(url, download, hops_left=MOST_HOPS)
            except aiohttp.ClientPayloadError:
                if cuts_left == 0 or download.mark is None or download.sink.byte_count <= had:
                    raise
        return None

    async def _ask(self, url: str, download: Download, *, hops_left: int) -> None:
        headers = download.mark.headers_from(download.sink.byte_count) if download.mark is not None else NO_HEADERS
        download.host = parse_target(url).host
        async with self._client.open("GET", url, headers=headers) as answer:
            onward = read_onward(answer.status, answer.headers.get("Location"), url)
            if onward is None and await self._take(answer, download):
                return None
        if onward is None:
            return await self._ask(url, download, hops_left=hops_left)
        if hops_left == 0:
            raise Permanent(suspects.REDIRECTED, f"the link leads on more than {MOST_HOPS} times")
        return await self._ask(onward, download, hops_left=hops_left - 1)

    async def _take(self, answer: aiohttp.ClientResponse, download: Download) -> bool:
        """Take the whole, or the rest of what has begun; False when the whole has to be asked for."""
        if download.mark is not None and download.mark.is_continued_by(answer, download.sink.byte_count):
            await self._keep(answer, download, download.mark.total)
            return True
        if download.mark is not None and answer.status in RESTARTED:
            await download.restart()
            return False
        declared = check_answer(answer, max_bytes=download.max_bytes)
        await download.restart()
        download.mark, download.content_type = find_mark(answer, declared), answer.headers.get("Content-Type")
        await self._keep(answer, download, declared)
        return True

    async def _keep(self, answer: aiohttp.ClientResponse, download: Download, declared: int | None) -> None:
        sink = download.sink
        await self._copy(answer, download)
        if sink.byte_count == 0:
            raise Permanent(suspects.EMPTY_BODY, "the answer has no content")
        if declared is not None and sink.byte_count != declared:
            raise Transient("short_body", f"{sink.byte_count} of {declared} bytes came")

    async def _copy(self, answer: aiohttp.ClientResponse, download: Download) -> None:
        sink, window = download.sink, self._pace.window.total_seconds()
        ends_at, floor = self._monotonic() + window, sink.byte_count + self._pace.min_bytes
        async for chunk in answer.content.iter_any():
            if sink.byte_count + len(chunk) > download.max_bytes:
                raise Permanent(suspects.TOO_LARGE, f"more than {download.max_bytes} bytes")
            await sink.write(chunk)
            ends_at += await download.wait_for(self._bandwidth, len(chunk))
            if self._monotonic() >= ends_at:
                if sink.byte_count < floor:
                    raise Transient("too_slow", f"{sink.byte_count} bytes so far")
                ends_at, floor = self._monotonic() + window, sink.byte_count + self._pace.min_bytes


@dataclass
class Download:
    """A download so far. `host`: who was asked last; `mark`: what it can be gone on with after a cut."""

    sink: SpoolSink
    max_bytes: int
    limit: asyncio.Timeout
    host: str
    mark: Mark | None = None
    content_type: str | None = None

    async def restart(self) -> None:
        """Forget what came: two answers are never mixed."""
        self.mark = None
        if self.sink.byte_count:
            await self.sink.restart()

    async def wait_for(self, bandwidth: Bandwidth, byte_count: int) -> float:
        """Wait for the bandwidth; the deadline, which is for what the server does, moves by as much."""
        return await bandwidth.take(byte_count, before_waiting=self._put_off)

    def _put_off(self, seconds: float) -> None:
        ends_at = self.limit.when()
        if ends_at is not None:
            self.limit.reschedule(ends_at + seconds)


def classify(error: aiohttp.ClientError, *, host: str) -> StepError:
    """Return what happens next after an exception of the HTTP client. All but one are Transient: nothing was paid for.

    The message says what happened, with which host. It never holds the URL, which may be signed.
    """
    if isinstance(error, aiohttp.InvalidURL):
        return Permanent(suspects.EGRESS_REFUSED, "the link cannot be read")
    if isinstance(error, WrongPeer):
        return Permanent(suspects.EGRESS_REFUSED, "the connection leads elsewhere than to the address that was checked")
    code, words = _explain(error)
    return Transient(code, f"{host}: {words}")


def _explain(error: aiohttp.ClientError) -> tuple[str, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "connect_failed", describe_tls(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect_failed", describe_refusal(error)
    return next(((code, words) for kind, code, words in CODES if isinstance(error, kind)), BROKEN)


BROKEN = ("connection_broken", "the connection broke")
CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout", f"no connection within {FETCH_CONNECT_SECONDS:g} s"),
    (aiohttp.ServerTimeoutError, "read_timeout", f"no byte came for {FETCH_IDLE_SECONDS:g} s"),
    (aiohttp.ServerDisconnectedError, "bad_answer", "the connection was closed before an answer came"),
    (aiohttp.ClientResponseError, "bad_answer", "the answer is not proper HTTP"),
    (aiohttp.ClientPayloadError, "bad_answer", "the connection ended in the middle of the file"),
)

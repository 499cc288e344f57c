"""The one place that makes HTTP clients, for adapters and wiring (design section 7). Settings come in as arguments.

Every client ignores the environment (no HTTP_PROXY, no .netrc), follows no redirect and repeats nothing by itself.
Making the first one raises the level of the loggers of both client libraries to WARNING: at INFO httpx prints whole
URLs, signed ones included, and at DEBUG headers. Which library does what: docs/decisions/0005.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import httpx
import urllib3
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from orchestrator.domain.errors import ConfigError

USER_AGENT = "media-orchestrator"
POLL_CONNECTIONS = 100
"""Bound on questions under way at once; bench/clients.py: more of them cost more for each poll and answer no more."""
POLL_IDLE_SECONDS = 15.0
"""How long an unused connection is kept; shorter than the patience of common servers, so that they rarely close first."""
POLL_CONNECT_SECONDS = 10.0
FETCH_IDLE_SECONDS = 30.0
"""A download that gives no byte for so long is dead; its total deadline is the caller's."""
FETCH_CONNECT_SECONDS = 10.0
STORE_BLOCK_BYTES = 1 << 17
"""Read from a file and sent at once. Each block has the connect time-out to leave in."""
POST_CONNECT_SECONDS = 5.0
"""For each address: two of them leave room for an answer within the deadline of a webhook."""
POST_KEEP_SECONDS = 2.0
"""How long an unused connection to an endpoint is kept; shorter than the patience of common servers."""
POST_BUFFER_BYTES = 16 * 1024
"""What an answer may run ahead of its reader: twice this, and what the system hands over at once."""
FETCH_BUFFER_BYTES = 1 << 20
"""What a download may run ahead of the disk; a quarter of it took a fifth longer, pausing and going on."""


def paid_client(*, proxy: str | None = None, ca_bundle: Path | None = None) -> httpx.AsyncClient:
    """Return the client of the paid call: stock transport, a fresh connection per request, no time-outs of its own.

    The total deadline is the caller's `asyncio.timeout` around connect, send and body.
    """
    _quiet_loggers()
    context = tls_context(ca_bundle)
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            http2=False,
            retries=0,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            proxy=_proxy(proxy, context),
        ),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None),
        headers={"User-Agent": USER_AGENT},
    )


def poll_client(
    *, proxy: str | None = None, ca_bundle: Path | None = None, max_connections: int = POLL_CONNECTIONS
) -> PollClient:
    """Return the client that asks about tasks: kept connections, bounded in number. Deadlines are the caller's.

    Raises ConfigError for a proxy that aiohttp cannot use.
    """
    _quiet_loggers()
    if proxy is not None:
        check_proxy(proxy)
    return PollClient(tls_context(ca_bundle), proxy=proxy, max_connections=max_connections)


class AnswerTooLong(ValueError):
    """The answer does not end within the bytes that the caller allows."""


class PollClient:
    """Many small questions over few connections. aiohttp's session belongs to the loop that first asks through it."""

    def __init__(self, context: ssl.SSLContext, *, proxy: str | None, max_connections: int) -> None:
        self._context = context
        self._proxy = proxy
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, *, headers: Mapping[str, str], cap_bytes: int) -> tuple[int, bytes]:
        """Ask once; return HTTP status and body as it came (never decompressed).

        Raises AnswerTooLong and whatever aiohttp raises; `orchestrator.zai` turns it into errors of ours.
        """
        session = self._session or self._open()
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            body = bytearray()
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > cap_bytes:
                    raise AnswerTooLong(f"more than {cap_bytes} bytes")
            return response.status, bytes(body)

    async def close(self) -> None:
        """Close what is open; a client that never asked has nothing open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._context,
            limit=self._max_connections,
            keepalive_timeout=POLL_IDLE_SECONDS,
            resolver=aiohttp.ThreadedResolver(),  # the system's: the default changes with what else is installed
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=POLL_CONNECT_SECONDS),
            auto_decompress=False,
            trust_env=False,
            proxy=self._proxy,
        )
        session._retry_connection = False  # noqa: SLF001 - it repeats a GET by itself otherwise, and has no switch
        self._session = session
        return session


def foreign_session(*, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """Return a session for foreign URLs that already name a checked address (the egress guard's place).

    It resolves no name, keeps no connection and no cookie, asks for identity encoding and decodes nothing. Nothing is
    sent before the peer's address was compared with the URL's. Redirects are the caller's to refuse or to follow, one
    checked hop at a time. To be made and closed on the event loop.
    """
    connector = _foreign_connector(tls, is_kept=False)
    return _foreign_session(connector, FETCH_CONNECT_SECONDS, FETCH_IDLE_SECONDS, FETCH_BUFFER_BYTES)


def post_session(*, tls: ssl.SSLContext, is_kept: bool) -> aiohttp.ClientSession:
    """Return a session as `foreign_session` for small requests, with small buffers; the total deadline is the caller's.

    One that keeps its connections belongs to one host name: TLS has checked them for no other. Whether a request went
    over a kept one, `REUSED` tells the task that made it.
    """
    connector = _foreign_connector(tls, is_kept=is_kept)
    return _foreign_session(connector, POST_CONNECT_SECONDS, None, POST_BUFFER_BYTES)


def _foreign_connector(tls: ssl.SSLContext, *, is_kept: bool) -> aiohttp.TCPConnector:
    resolver = _NoResolver()
    if is_kept:
        return _MarkingConnector(ssl=tls, limit=0, keepalive_timeout=POST_KEEP_SECONDS, resolver=resolver)
    return _MarkingConnector(ssl=tls, limit=0, force_close=True, resolver=resolver)


def _foreign_session(
    connector: aiohttp.TCPConnector, connect_seconds: float, idle_seconds: float | None, buffer_bytes: int
) -> aiohttp.ClientSession:
    _quiet_loggers()
    session = aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, connect=None, sock_read=idle_seconds),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        read_bufsize=buffer_bytes,
        request_class=_PeerCheckedRequest,
    )
    session._retry_connection = False  # noqa: SLF001 - it repeats a GET by itself otherwise, and has no switch
    return session


class WrongPeer(aiohttp.ClientConnectionError):
    """The connection leads elsewhere than to the checked address; nothing was sent over it."""


REUSED: ContextVar[bool] = ContextVar("REUSED", default=False)
"""Whether this task's last request to a stranger went over a connection that an earlier one had left open, and which
may have been dead by then.
"""


class _PeerCheckedRequest(aiohttp.ClientRequest):
    """Looks where the connection leads, between connecting and sending."""

    is_first = False
    """Whether the connection was made for this request."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        transport = conn.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        if peer is None or not _is_same_address(peer[0], self.url.host or ""):
            raise WrongPeer("the connection leads to another address than the checked one")
        REUSED.set(not self.is_first)
        return await super().send(conn)


class _MarkingConnector(aiohttp.TCPConnector):
    """Tells a request that its connection is a fresh one."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the library's name
    ) -> ResponseHandler:
        if isinstance(req, _PeerCheckedRequest):
            req.is_first = True
        return await super()._create_connection(req, traces, timeout)


def _is_same_address(peer: str, checked: str) -> bool:
    return peer == checked or ip_address(peer.partition("%")[0]) == ip_address(checked)


class _NoResolver(AbstractResolver):
    """Refuses to look a name up: it has been looked up, and every address of it was checked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(f"a name where a checked address belongs: {host}")

    async def close(self) -> None:
        """Nothing is held."""


def store_pool(
    *,
    max_connections: int,
    connect_seconds: float,
    read_seconds: float,
    is_tls: bool,
    proxy: str | None = None,
    ca_bundle: Path | None = None,
) -> urllib3.PoolManager:
    """Return kept connections for threads that move the archive's bytes; it opens none by itself."""
    timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
    is_tls = is_tls or (proxy or "").lower().startswith("https:")
    context = _make_tls_context(ca_bundle) if is_tls else None  # not the shared one: urllib3 sets something in it
    if proxy is not None:
        return urllib3.ProxyManager(
            proxy, maxsize=max_connections, timeout=timeout, ssl_context=context, blocksize=STORE_BLOCK_BYTES
        )
    return urllib3.PoolManager(
        maxsize=max_connections, timeout=timeout, ssl_context=context, blocksize=STORE_BLOCK_BYTES
    )


def check_proxy(url: str) -> None:
    """Raise ConfigError for a proxy that not every client can use: http:// and https:// it must be, with a host."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError("ORCHESTRATOR_HTTP_PROXY", "not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError("ORCHESTRATOR_HTTP_PROXY", "must begin with http:// or https:// and name a host")


def connect_within(deadline: timedelta) -> httpx.Timeout:
    """Return the time-outs of one request under a total deadline: only the two steps of connecting have their own.

    Cancelled in a TLS handshake, the stock transport leaves its socket open; so it must give up by itself before the
    total deadline cancels it: 45% for TCP and 45% for TLS.
    """
    return httpx.Timeout(None, connect=deadline.total_seconds() * 0.45)


@cache
def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return the context that clients share: the given authorities, else the built-in ones."""
    return _make_tls_context(ca_bundle)


def _make_tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    if ca_bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.create_default_context(cafile=str(ca_bundle))


def _proxy(url: str | None, context: ssl.SSLContext) -> httpx.Proxy | None:
    if url is None:
        return None
    check_proxy(url)
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


def _quiet_loggers() -> None:
    for name in ("httpx", "httpcore", "aiohttp"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)

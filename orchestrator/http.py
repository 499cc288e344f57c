"""The one place that makes HTTP clients, for adapters and wiring (design section 7). Settings come in as arguments.

Every client ignores the environment (no HTTP_PROXY, no .netrc), follows no redirect and repeats nothing by itself.
Making the first one raises the level of the loggers `httpx` and `httpcore` to WARNING: at INFO they print whole URLs,
signed ones included, and at DEBUG headers.
"""

from __future__ import annotations

import logging
import socket
import ssl
from datetime import timedelta
from functools import cache
from pathlib import Path

import aiohttp
import httpx
import urllib3
from aiohttp.abc import AbstractResolver, ResolveResult

USER_AGENT = "media-orchestrator"
POLL_CONNECTIONS = 20
"""The stock pool scans itself on each request and slows down as it grows: few, busy connections ask more per second."""
FETCH_IDLE_SECONDS = 30.0
"""A download that gives no byte for so long is dead; its total deadline is the caller's."""
FETCH_CONNECT_SECONDS = 10.0
STORE_BLOCK_BYTES = 1 << 17
"""Read from a file and sent at once. Each block has the connect time-out to leave in."""
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
) -> httpx.AsyncClient:
    """Return the client that asks about tasks: kept connections, bounded in number. Deadlines are the caller's."""
    _quiet_loggers()
    context = tls_context(ca_bundle)
    limits = httpx.Limits(
        max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=30.0
    )
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, http2=False, retries=0, limits=limits, proxy=_proxy(proxy, context)
        ),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None),
        headers={"User-Agent": USER_AGENT},
    )


def foreign_session(*, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """Return a session for foreign URLs that already name a checked address (the egress guard's place).

    It resolves no name, keeps no connection and no cookie, asks for identity encoding and decodes nothing. Redirects
    are the caller's to refuse or to follow, one checked hop at a time. To be made and closed on the event loop.
    """
    _quiet_loggers()
    connector = aiohttp.TCPConnector(ssl=tls, limit=0, force_close=True, resolver=_NoResolver())
    session = aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=FETCH_CONNECT_SECONDS, connect=None, sock_read=FETCH_IDLE_SECONDS
        ),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        read_bufsize=FETCH_BUFFER_BYTES,
    )
    session._retry_connection = False  # noqa: SLF001 - it repeats a GET by itself otherwise, and has no switch
    return session


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
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


def _quiet_loggers() -> None:
    for name in ("httpx", "httpcore", "aiohttp"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)

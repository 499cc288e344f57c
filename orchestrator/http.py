"""The one place that makes HTTP clients, for adapters and wiring (design section 7). Settings come in as arguments.

Every client ignores the environment (no HTTP_PROXY, no .netrc), follows no redirect and repeats nothing by itself.
Making the first one raises the level of the loggers `httpx` and `httpcore` to WARNING: at INFO they print whole URLs,
signed ones included, and at DEBUG headers.
"""

from __future__ import annotations

import logging
import ssl
from datetime import timedelta
from functools import cache
from pathlib import Path

import httpcore
import httpx

USER_AGENT = "media-orchestrator"
POLL_CONNECTIONS = 20
"""The stock pool scans itself on each request and slows down as it grows: few, busy connections ask more per second."""
FETCH_IDLE_SECONDS = 30.0
"""A download that gives no byte for so long is dead; its total deadline is the caller's."""
FETCH_CONNECT_SECONDS = 10.0


def paid_client(*, proxy: str | None = None, ca_bundle: Path | None = None) -> httpx.AsyncClient:
    """Return the client of the paid call: stock transport, a fresh connection per request, no time-outs of its own.

    The total deadline is the caller's `asyncio.timeout` around connect, send and body.
    """
    _quiet_loggers()
    context = _tls_context(ca_bundle)
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
    context = _tls_context(ca_bundle)
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


def fetch_client(
    *,
    proxy: str | None = None,
    ca_bundle: Path | None = None,
    network_backend: httpcore.AsyncNetworkBackend | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client for foreign URLs. Redirects are the caller's to follow, one checked hop at a time.

    `network_backend` opens the sockets (the egress guard's place); `transport` replaces the transport altogether. The
    client asks for identity encoding; read with `aiter_raw()`, so that nothing is ever decompressed.
    """
    _quiet_loggers()
    if transport is None:
        transport = _FetchTransport(_tls_context(ca_bundle), proxy=proxy, network_backend=network_backend)
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(FETCH_IDLE_SECONDS, connect=FETCH_CONNECT_SECONDS, pool=None),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
    )


class _FetchTransport(httpx.AsyncHTTPTransport):
    """The stock transport over a network backend of ours; a fresh, checked connection per request."""

    def __init__(
        self, context: ssl.SSLContext, *, proxy: str | None, network_backend: httpcore.AsyncNetworkBackend | None
    ) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        super().__init__(
            verify=context, trust_env=False, http2=False, retries=0, limits=limits, proxy=_proxy(proxy, context)
        )
        if network_backend is None:
            return
        if proxy is not None:
            raise ValueError("a network backend opens its own connections: it cannot be combined with a proxy")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=0,
            http1=True,
            http2=False,
            retries=0,
            network_backend=network_backend,
        )


def connect_within(deadline: timedelta) -> httpx.Timeout:
    """Return the time-outs of one request under a total deadline: only the two steps of connecting have their own.

    Cancelled in a TLS handshake, the stock transport leaves its socket open; so it must give up by itself before the
    total deadline cancels it: 45% for TCP and 45% for TLS.
    """
    return httpx.Timeout(None, connect=deadline.total_seconds() * 0.45)


@cache
def _tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    if ca_bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.create_default_context(cafile=str(ca_bundle))


def _proxy(url: str | None, context: ssl.SSLContext) -> httpx.Proxy | None:
    if url is None:
        return None
    return httpx.Proxy(url, ssl_context=context if url.lower().startswith("https:") else None)


def _quiet_loggers() -> None:
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)

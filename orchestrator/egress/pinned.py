"""An HTTP transport that connects only where the guard has looked: the checked address, under the link's own name."""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from orchestrator.egress.addresses import Address
from orchestrator.egress.guard import EgressGuard
from orchestrator.http import fetch_client

REPEATABLE = frozenset({"GET", "HEAD"})
"""Only these try a name's further addresses: no exception proves that nothing of the first request was taken."""


class PinnedTransport(httpx.AsyncHTTPTransport):
    """Asks the guard about every request, then puts the checked address into the URL; Host header and TLS server
    name stay the link's. A connection serves one request, so that none made for one name is used for another.
    """

    def __init__(self, guard: EgressGuard, *, ca_bundle: Path | None = None) -> None:
        context = (
            httpx.create_ssl_context(trust_env=False)
            if ca_bundle is None
            else ssl.create_default_context(cafile=str(ca_bundle))
        )
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        super().__init__(verify=context, trust_env=False, http2=False, retries=0, limits=limits)
        self._guard = guard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises the guard's StepErrors as they are; what the connection does stays httpx's."""
        admitted = await self._guard.admit(str(request.url))
        count = len(admitted.addresses) if request.method in REPEATABLE else 1
        for address in admitted.addresses[: count - 1]:
            try:
                return await super().handle_async_request(_pin(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await super().handle_async_request(_pin(request, admitted.addresses[count - 1]))


def _pin(request: httpx.Request, address: Address) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def guarded_client(guard: EgressGuard, *, ca_bundle: Path | None = None) -> httpx.AsyncClient:
    """Return a client whose every request passes the guard. It keeps no cookies and follows no redirect."""
    client = fetch_client(transport=PinnedTransport(guard, ca_bundle=ca_bundle))
    client.cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return client

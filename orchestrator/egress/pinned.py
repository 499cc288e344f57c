"""The one way to a foreign URL: connect only where the guard has looked, under the link's own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from orchestrator.egress.addresses import Address
from orchestrator.egress.guard import EgressGuard
from orchestrator.egress.target import Target
from orchestrator.http import FETCH_BUFFER_BYTES, foreign_session, tls_context


class PinnedClient:
    """Asks the guard about every request, then puts the checked address into the URL; Host header and TLS server
    name stay the link's. A connection serves one request, so that none made for one name is used for another.

    A name's further addresses are tried when no connection to the first comes about. Whatever goes this way may be
    taken twice: a download costs nothing, and a webhook has the same id each time. The paid call does not go this way.
    """

    def __init__(
        self, guard: EgressGuard, *, ca_bundle: Path | None = None, buffer_bytes: int = FETCH_BUFFER_BYTES
    ) -> None:
        self._guard = guard
        self._tls = tls_context(ca_bundle)
        self._buffer_bytes = buffer_bytes

    @asynccontextmanager
    async def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer's head; its body is still to be read. No cookie is kept, no redirect followed.

        Raises the guard's StepErrors as they are; what the connection does stays aiohttp's.
        """
        admitted = await self._guard.admit(url)
        request = _Request(method, admitted.target, dict(headers or {}), body)
        async with foreign_session(tls=self._tls, buffer_bytes=self._buffer_bytes) as session:
            answer = await _ask(session, request, admitted.addresses)
            async with answer:
                yield answer


@dataclass(frozen=True)
class _Request:
    method: str
    target: Target
    headers: dict[str, str]
    body: bytes | None


async def _ask(
    session: aiohttp.ClientSession, request: _Request, addresses: tuple[Address, ...]
) -> aiohttp.ClientResponse:
    for address in addresses[:-1]:
        try:
            return await _ask_at(session, request, address)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            continue
    return await _ask_at(session, request, addresses[-1])


async def _ask_at(session: aiohttp.ClientSession, request: _Request, address: Address) -> aiohttp.ClientResponse:
    target = request.target
    pinned = URL(target.at(str(address)), encoded=True)
    headers = {**request.headers, "Host": target.authority}
    return await session.request(
        request.method,
        pinned,
        headers=headers,
        data=request.body,
        server_hostname=target.host,
        allow_redirects=False,
    )

"""The one way to a foreign URL: connect only where the guard has looked, under the link's own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import aiohttp
from yarl import URL

from orchestrator.egress.addresses import Address
from orchestrator.egress.guard import Admitted, EgressGuard
from orchestrator.egress.target import REMEMBERED, Target
from orchestrator.http import foreign_session, tls_context

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class PinnedClient:
    """Asks the guard about every request, then puts the checked address into the URL; Host header and TLS server
    name stay the link's. A connection serves one request, so that none made for one name is used for another.
    """

    def __init__(self, guard: EgressGuard, *, ca_bundle: Path | None = None) -> None:
        self._guard = guard
        self._tls = tls_context(ca_bundle)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer's head; its body is still to be read. No cookie is kept, no redirect followed.

        Raises the guard's StepErrors as they are; what the connection does stays aiohttp's.
        """
        admitted = await self._guard.admit(url)
        async with foreign_session(tls=self._tls) as session:
            answer = await ask(session, Request(method, admitted, headers))
            async with answer:
                yield answer


@dataclass(frozen=True)
class Request:
    """What is asked, and where the guard has allowed it."""

    method: str
    admitted: Admitted
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


async def ask(session: aiohttp.ClientSession, request: Request) -> aiohttp.ClientResponse:
    """Return the answer of the first of the name's addresses that takes a connection.

    Whatever goes this way may be taken twice: a download costs nothing, and a webhook has the same id each time. The
    paid call does not go this way.
    """
    addresses = request.admitted.addresses
    for address in addresses[:-1]:
        try:
            return await _ask_at(session, request, address)
        except NO_CONNECTION:
            continue
    return await _ask_at(session, request, addresses[-1])


async def _ask_at(session: aiohttp.ClientSession, request: Request, address: Address) -> aiohttp.ClientResponse:
    target = request.admitted.target
    headers = {**request.headers, "Host": target.authority}
    return await session.request(
        request.method,
        _pin(target, address),
        headers=headers,
        data=request.body,
        server_hostname=target.host,
        allow_redirects=False,
    )


@lru_cache(maxsize=REMEMBERED)
def _pin(target: Target, address: Address) -> URL:
    return URL(target.at(str(address)), encoded=True)

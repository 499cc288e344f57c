"""The one way to a foreign URL: connect only where the guard has looked, under the link's own name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from orchestrator.egress.addresses import Address
from orchestrator.egress.guard import EgressGuard
from orchestrator.egress.target import Target
from orchestrator.http import foreign_session, tls_context

REPEATABLE = frozenset({"GET", "HEAD"})
"""Only these try a name's further addresses: no exception proves that nothing of the first request was taken."""


class PinnedClient:
    """Asks the guard about every request, then puts the checked address into the URL; Host header and TLS server
    name stay the link's. A connection serves one request, so that none made for one name is used for another.
    """

    def __init__(self, guard: EgressGuard, *, ca_bundle: Path | None = None) -> None:
        self._guard = guard
        self._tls = tls_context(ca_bundle)

    @asynccontextmanager
    async def open(self, method: str, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer's head; its body is still to be read. No cookie is kept, no redirect followed.

        Raises the guard's StepErrors as they are; what the connection does stays aiohttp's.
        """
        admitted = await self._guard.admit(url)
        async with foreign_session(tls=self._tls) as session:
            answer = await _ask(session, method, admitted.target, admitted.addresses)
            async with answer:
                yield answer


async def _ask(
    session: aiohttp.ClientSession, method: str, target: Target, addresses: tuple[Address, ...]
) -> aiohttp.ClientResponse:
    count = len(addresses) if method in REPEATABLE else 1
    for address in addresses[: count - 1]:
        try:
            return await _ask_at(session, method, target, address)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            continue
    return await _ask_at(session, method, target, addresses[count - 1])


async def _ask_at(
    session: aiohttp.ClientSession, method: str, target: Target, address: Address
) -> aiohttp.ClientResponse:
    pinned = URL(target.at(str(address)), encoded=True)
    return await session.request(
        method, pinned, headers={"Host": target.authority}, server_hostname=target.host, allow_redirects=False
    )

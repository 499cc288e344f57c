"""Many small requests to the same hosts: pinned as ever, over connections that are kept for a moment."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from orchestrator.egress.guard import Admitted, EgressGuard
from orchestrator.egress.pinned import NO_CONNECTION, Request, ask
from orchestrator.http import Trip, post_session, tls_context

MOST_ORIGINS = 32
"""Hosts whose connections are kept; each has as many as requests to it run at once, so this bounds open files."""
CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class KeptClient:
    """Asks the guard about every request, as PinnedClient; a kept connection is used again only for the same scheme,
    host name, port and checked addresses. Belongs to the event loop that first asks through it.
    """

    def __init__(self, guard: EgressGuard, *, ca_bundle: Path | None = None) -> None:
        self._guard = guard
        self._tls = tls_context(ca_bundle)
        self._kept = _Sessions(self._tls)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer's head. A kept connection that turns out dead is no failure of the other side: the request
        is made once more over a fresh one. Raises as PinnedClient.
        """
        request = Request(method, await self._guard.admit(url), headers, body)
        async with self._kept.borrow(request.admitted) as session:
            answer = await _ask_unless_dead(session, request)
            if answer is not None:
                async with answer:
                    yield answer
                return
        async with post_session(tls=self._tls, is_kept=False) as fresh, await ask(fresh, request) as answer:
            yield answer

    async def close(self) -> None:
        """Close what is kept."""
        await self._kept.close()


async def _ask_unless_dead(session: aiohttp.ClientSession, request: Request) -> aiohttp.ClientResponse | None:
    trip = Trip()
    try:
        return await ask(session, request, trip)
    except NO_CONNECTION:  # before CUT: some of them are both
        raise
    except CUT:
        if not trip.is_reused:
            raise
        return None


@dataclass
class _Kept:
    session: aiohttp.ClientSession
    user_count: int = 0


class _Sessions:
    """A session for each origin, the least recently used closed first, never one in use."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()

    @asynccontextmanager
    async def borrow(self, admitted: Admitted) -> AsyncIterator[aiohttp.ClientSession]:
        key = (admitted.target.scheme, admitted.target.authority, admitted.addresses)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(post_session(tls=self._tls, is_kept=True))
        self._kept.move_to_end(key)
        kept.user_count += 1
        try:
            yield kept.session
        finally:
            kept.user_count -= 1
            await self._shrink()

    async def _shrink(self) -> None:
        surplus = len(self._kept) - MOST_ORIGINS
        idle = [key for key, kept in self._kept.items() if kept.user_count == 0] if surplus > 0 else []
        for each in [self._kept.pop(key) for key in idle[:surplus]]:
            await each.session.close()

    async def close(self) -> None:
        kept, self._kept = self._kept, OrderedDict()
        for each in kept.values():
            await each.session.close()

"""Many small requests to the same hosts: pinned as ever, over connections that are kept for a moment."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp

from orchestrator.egress.guard import Admitted, EgressGuard
from orchestrator.egress.pinned import NO_CONNECTION, Request, ask
from orchestrator.http import REUSED, post_session, tls_context

MOST_ORIGINS = 32
"""Hosts whose connections are kept; each has as many as requests to it run at once, so this bounds open files."""
CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
Read = Callable[[aiohttp.ClientResponse], Awaitable[None]]
"""Takes an answer whose head has come; when it returns, the connection is given back."""


class KeptClient:
    """Asks the guard about every request, as PinnedClient; a kept connection is used again only for the same scheme,
    host name, port and checked addresses. Belongs to the event loop that first asks through it.
    """

    def __init__(self, guard: EgressGuard, *, ca_bundle: Path | None = None) -> None:
        self._guard = guard
        self._tls = tls_context(ca_bundle)
        self._kept = _Sessions(self._tls)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, read: Read) -> None:
        """Post, and have the answer read. A kept connection that turns out dead is no failure of the other side: the
        request is made once more over a fresh one. Raises as PinnedClient.
        """
        request = Request("POST", await self._guard.admit(url), headers, body)
        try:
            with self._kept.borrow(request.admitted) as session:
                answer = await _ask_unless_dead(session, request)
                if answer is not None:
                    async with answer:
                        await read(answer)
                    return
        finally:
            if self._kept.is_full:
                await self._kept.shrink()
        async with post_session(tls=self._tls, is_kept=False) as fresh, await ask(fresh, request) as answer:
            await read(answer)

    async def close(self) -> None:
        """Close what is kept."""
        await self._kept.close()


async def _ask_unless_dead(session: aiohttp.ClientSession, request: Request) -> aiohttp.ClientResponse | None:
    REUSED.set(False)
    try:
        return await ask(session, request)
    except NO_CONNECTION:  # before CUT: some of them are both
        raise
    except CUT:
        if not REUSED.get():
            raise
        return None


class _Kept:
    """A session, and how many use it; entered for as long as it is used."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.user_count = 0

    def __enter__(self) -> aiohttp.ClientSession:
        self.user_count += 1
        return self.session

    def __exit__(self, *error: object) -> None:
        self.user_count -= 1


class _Sessions:
    """A session for each origin, the least recently used closed first, never one in use."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()

    def borrow(self, admitted: Admitted) -> _Kept:
        key = (admitted.target.scheme, admitted.target.authority, admitted.addresses)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(post_session(tls=self._tls, is_kept=True))
        self._kept.move_to_end(key)
        return kept

    @property
    def is_full(self) -> bool:
        return len(self._kept) > MOST_ORIGINS

    async def shrink(self) -> None:
        surplus = len(self._kept) - MOST_ORIGINS
        idle = [key for key, kept in self._kept.items() if kept.user_count == 0]
        for each in [self._kept.pop(key) for key in idle[:surplus]]:
            await each.session.close()

    async def close(self) -> None:
        kept, self._kept = self._kept, OrderedDict()
        for each in kept.values():
            await each.session.close()

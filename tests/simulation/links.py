"""Links in memory, at the fetch port: a small picture, a dead link, or trouble on the way."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random

from orchestrator.domain.errors import Gone, Transient
from orchestrator.domain.ports import Fetched
from tests.media.samples import _picture
from tests.simulation.provider import MemoryProvider


@cache
def picture() -> bytes:
    """Return the one picture that every task makes."""
    return _picture("PNG")


class MemoryFetch:
    """Fetches from the provider in memory."""

    def __init__(self, account: MemoryProvider, rng: Random) -> None:
        self._account = account
        self._rng = rng

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        if self._account.is_link_dead(url):
            raise Gone("http_404", "the link is dead")
        data = picture()
        if not self._account.is_calm and self._rng.random() < 0.1:
            raise Transient("connection_cut", "cut half-way")
        into.write_bytes(data)  # noqa: ASYNC240 - a loop of one task
        return Fetched(len(data), hashlib.sha256(data).hexdigest(), "image/png")

"""One look at the overview for all who have the page open: read at most once in a few seconds per owner."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from orchestrator.domain.overview import Overview, OverviewSource
from orchestrator.domain.ports import Clock

CACHED_SECONDS = 3.0
MOST_OWNERS = 200  # looks kept; beyond that the oldest goes


@dataclass
class OverviewCache:
    """Keeps the last look per owner; whoever comes while one is taken waits for it."""

    source: OverviewSource
    clock: Clock
    is_slot_held_until_final: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: dict[str | None, tuple[float, Overview]] = field(default_factory=dict)

    def read(self, owner: str | None) -> Overview:
        """Raises Transient when the database is away."""
        with self._lock:
            now = self.clock.monotonic()
            seen_at, seen = self._seen.get(owner, (0.0, None))
            if seen is not None and now - seen_at < CACHED_SECONDS:
                return seen
            fresh = self.source.read_overview(owner=owner, is_slot_held_until_final=self.is_slot_held_until_final)
            self._seen.pop(owner, None)
            self._seen[owner] = (now, fresh)
            if len(self._seen) > MOST_OWNERS:
                del self._seen[next(iter(self._seen))]
            return fresh

    def forget(self) -> None:
        """Look anew for whoever comes next."""
        with self._lock:
            self._seen.clear()


async def get_overview(request: Request) -> OverviewCache:
    """Return the console's own."""
    cache: OverviewCache = request.app.state.overview
    return cache


Looking = Annotated[OverviewCache, Depends(get_overview)]

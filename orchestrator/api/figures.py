"""Figures over the whole job table, read at most once in a few seconds however often they are asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from orchestrator.domain.figures import Figures, FiguresSource
from orchestrator.domain.ports import Clock

CACHED_SECONDS = 5.0


@dataclass
class FiguresCache:
    """One look for all who ask within CACHED_SECONDS; they wait for it together."""

    source: FiguresSource
    clock: Clock
    is_slot_held_until_final: bool
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: Figures | None = None
    _seen_at: float = 0.0

    def read(self) -> Figures:
        """Raises Transient when the database is away."""
        with self._lock:
            now = self.clock.monotonic()
            if self._seen is None or now - self._seen_at >= CACHED_SECONDS:
                self._seen = self.source.read(is_slot_held_until_final=self.is_slot_held_until_final)
                self._seen_at = now
            return self._seen


async def get_figures(request: Request) -> FiguresCache:
    """Return the application's own."""
    cache: FiguresCache = request.app.state.figures
    return cache


CachedFigures = Annotated[FiguresCache, Depends(get_figures)]

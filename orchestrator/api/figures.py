"""Figures over every owner, read at most once in a few seconds however often they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Request

from orchestrator.domain.figures import Figures, FiguresSource, Totals
from orchestrator.domain.ports import Clock

T = TypeVar("T")

CACHED_SECONDS = 5.0
TOTALS_SHARE = 20
"""Adding up the history takes longer the longer it is: at most so often that it keeps a database busy for a 20th of the time."""


@dataclass
class Kept(Generic[T]):
    """What was read last; whoever comes while it is read waits for it."""

    read: Callable[[], T]
    clock: Clock
    share: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: T | None = None
    _good_until: float = 0.0

    def get(self) -> T:
        """Return it, read anew when it is too old."""
        with self._lock:
            begun = self.clock.monotonic()
            if self._seen is None or begun >= self._good_until:
                self._seen = self.read()
                ended = self.clock.monotonic()
                self._good_until = begun + max(CACHED_SECONDS, (ended - begun) * self.share)
            return self._seen

    def forget(self) -> None:
        """Read anew for whoever comes next."""
        with self._lock:
            self._seen = None


class FiguresCache:
    """One look for all who ask within CACHED_SECONDS; the totals for all who ask within 20 times what they took."""

    def __init__(self, source: FiguresSource, clock: Clock, *, is_slot_held_until_final: bool) -> None:
        self._live = Kept(lambda: source.read(is_slot_held_until_final=is_slot_held_until_final), clock)
        self._totals = Kept(source.read_totals, clock, TOTALS_SHARE)

    def read(self) -> Figures:
        """Raises Transient when the database is away."""
        return self._live.get()

    def read_totals(self) -> Totals:
        """Raises Transient when the database is away."""
        return self._totals.get()

    def forget(self) -> None:
        """Look anew for whoever comes next."""
        self._live.forget()
        self._totals.forget()


async def get_figures(request: Request) -> FiguresCache:
    """Return the application's own."""
    cache: FiguresCache = request.app.state.figures
    return cache


CachedFigures = Annotated[FiguresCache, Depends(get_figures)]

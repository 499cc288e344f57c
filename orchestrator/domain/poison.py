"""Which due rows one process may take beside what it holds: a job that kills its worker takes no neighbours along.

A row whose last `n` leases ended with their worker is a suspect. With one death it is taken in windows of at most ten;
with more it is alone in its lane of that process (design section 6; fault B9). Other lanes go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SUSPECT_WINDOW = 10
ALONE_FROM = 2


@dataclass(frozen=True)
class InFlight:
    """What a lane of one process is performing: how many rows, and the most deaths that any of them has seen."""

    count: int = 0
    worst: int = 0

    @classmethod
    def of(cls, deaths: Sequence[int]) -> InFlight:
        """Count rows by their deaths."""
        return cls(len(deaths), max(deaths, default=0))

    def __add__(self, other: InFlight) -> InFlight:
        return InFlight(self.count + other.count, max(self.worst, other.worst))


NOTHING_IN_FLIGHT = InFlight()


def count_takable(deaths: Sequence[int], held: InFlight) -> int:
    """Return how many of these due rows may be taken, from the front; `deaths` is theirs, the most first.

    0 although rows are due means: let the lane run empty (or below the window), then ask again.
    """
    taken = InFlight()
    for each in deaths:
        now = held + taken
        if each >= ALONE_FROM or now.worst >= ALONE_FROM:
            has_room = now.count == 0
        elif each or now.worst:
            has_room = now.count < SUSPECT_WINDOW
        else:
            has_room = True
        if not has_room:
            break
        taken += InFlight(1, each)
    return taken.count

"""Where this process's poll claims begin to look: below that lie versions of rows that no vacuum may remove.

Only a hint. A row that it hides - committed late, locked while others were taken, written by another clock - is found
by a look from the first row, every FULL_LOOK_SECONDS.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.db.pauses import Scope
from orchestrator.domain.ports import Clock

FULL_LOOK_SECONDS = 30.0  # half a lease: a hidden row waits no longer than one whose holder died
CLAIM_PATIENCE_SECONDS = (
    2 * FULL_LOOK_SECONDS
)  # the look-ahead looks fully; a claim only where none has, it holds locks
MARGIN = timedelta(seconds=0.5)  # between a time that a transaction writes ("due now") and its commit


@dataclass(frozen=True)
class Look:
    """What a claim has looked through: from `begin` (None: the first row) to `end`, all but the closed scopes.

    What was due there is leased now, or somebody held its lock.
    """

    begin: datetime | None
    end: datetime
    closed: AbstractSet[Scope] = frozenset()


class LowWater:
    """Remembers the newest look of one process. Threads may share it: a lost update costs a longer look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._newest: Look | None = None
        self._looked_fully_at = clock.monotonic()

    def find_begin(self, closed: AbstractSet[Scope], now: datetime, *, patience: float) -> datetime | None:
        """Return the due_at to begin at, None for the first row: after `patience` seconds without a full look,
        when a scope that was closed is not, and when the clock was set back.
        """
        newest = self._newest
        is_full_due = self._clock.monotonic() - self._looked_fully_at >= patience
        if newest is None or is_full_due or now < newest.end or not newest.closed <= closed:
            return None
        return newest.end - MARGIN

    def note_claim(self, look: Look) -> None:
        """Begin at this look's end from now on. Call it once the claim is committed."""
        self._newest = look
        if look.begin is None:
            self._looked_fully_at = self._clock.monotonic()

    def note_first(self, first: datetime | None) -> None:
        """A look from the first row found this to be the earliest due_at: begin there if it was hidden."""
        self._looked_fully_at = self._clock.monotonic()
        newest = self._newest
        if newest is not None and first is not None and first < newest.end:
            self._newest = Look(None, first, newest.closed)

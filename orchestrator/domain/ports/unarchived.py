"""What the provider has made and the archive has not: the race against the links' lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Job, Output


@dataclass(frozen=True)
class Unarchived:
    """An output that is not archived and not proven lost, and its job."""

    job: Job
    output: Output


class UnarchivedOutputs(Protocol):
    """Outputs that are still to be archived, or to be made. Raises Transient when the database cannot be reached."""

    def list_unarchived(
        self, *, now: datetime, before: datetime | None = None, after: Unarchived | None = None, limit: int = 500
    ) -> Sequence[Unarchived]:
        """Return a page of them behind `after`: links that die first come first, what has no link's end comes last.

        Of a job that has failed or was cancelled only what can still be fetched. `before`: whose links die until then.
        """

    def count_running(self) -> int:
        """Return how many jobs have a task at the provider that had not ended when it was last asked about."""

    def hurry(self) -> int:
        """Make due now what waits to be fetched or asked about and is in nobody's hands; return how many jobs."""

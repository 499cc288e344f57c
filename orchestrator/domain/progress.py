"""The port through which a running batch is watched, and the values it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Job


@dataclass(frozen=True)
class Spending:
    """Money of a batch in one currency, in micro-units. `unknown_count`: charges that nobody can know."""

    currency: str
    spent_micros: int
    unknown_count: int


@dataclass(frozen=True)
class Hold:
    """A pause that keeps a queued job waiting. `is_credential`: the whole account."""

    name: str
    until: datetime
    code: str | None
    message: str | None
    is_credential: bool


class Progress(Protocol):
    """Reads about one batch."""

    def list_ended(self, batch_id: str, *, since: datetime | None, after_id: str, limit: int) -> Sequence[Job]:
        """Return final members by (finished_at, id) from `since` on, behind `after_id` at that time; with outputs."""

    def list_held(self, batch_id: str) -> Sequence[Job]:
        """Return the members in needs_review, with their submissions."""

    def sum_spending(self, batch_id: str) -> Sequence[Spending]:
        """Add up what the members cost so far, per currency."""

    def find_holds(self, batch_id: str) -> Sequence[Hold | None]:
        """Return, for every model with queued members that wait for no other job, the pause that holds it the longest;
        None when none does.
        """

    def count_waiting(self, batch_id: str) -> int:
        """Return how many queued members wait for other jobs."""

    def find_hold(self, job_id: str) -> Hold | None:
        """Return the pause that holds a queued job, None when none does."""

    def list_archive_errors(self, batch_id: str) -> Sequence[str | None]:
        """Return last_error of the members in archiving."""

    def find_last_sweep(self) -> datetime | None:
        """Return when a sweep last began: a process that runs lanes was there then."""

"""What a restore from a backup asks of the job table (docs/decisions/0008)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Job
from orchestrator.domain.states import State

JOURNALS_SWEEP = "journals:"
"""What the names of the sweeps of journals begin with; the host's name follows."""


class Restores(Protocol):
    """The job table, as `db mark-restored` uses it."""

    def count_holdable(self) -> Mapping[State, int]:
        """Count the jobs that a hold would take, per state."""

    def hold(self, *, actor: str, reason: str) -> Mapping[State, int]:
        """Hold every job that could still be paid for, in one transaction, and call the submissions in flight unknown.
        Return how many there were, per state; those held by an earlier restore are left alone.
        """

    def count_in_doubt(self) -> int:
        """Count the jobs that a restore holds and no release queues: each waits for a person's word."""

    def list_held(self, *, after: str = "", limit: int = 500) -> Sequence[Job]:
        """Return jobs that a restore found queued and still holds, by id."""

    def release(self, job_ids: Collection[str], *, actor: str, reason: str) -> int:
        """Put such jobs back to queued, in one transaction; return how many still were held."""

    def find_known_jobs(self, job_ids: Collection[str]) -> frozenset[str]:
        """Return those of these ids that are jobs here."""

    def find_known_submissions(self, submission_ids: Collection[str]) -> frozenset[str]:
        """Return those of these ids that are submissions here."""

    def find_newest_event(self) -> datetime | None:
        """Return the time of the newest event: the backup is at least as old."""

    def list_journal_hosts(self) -> Sequence[str]:
        """Return the hosts whose journals have been swept in this database's time."""

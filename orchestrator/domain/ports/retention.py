"""What retention asks of the job table: rules, the jobs they are about, and the steps of an erasure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.access import AuditEntry
from orchestrator.domain.retention import Kept, Rule, Selector


@dataclass(frozen=True)
class Erasure:
    """Who takes a job's results away, and by which rule."""

    job_id: str
    actor: str
    reason: str


@dataclass(frozen=True)
class KeptSum:
    """What one archive holds of one kind, outputs alone."""

    archive_url: str
    kind: str
    job_count: int
    file_count: int
    byte_count: int


class Retention(Protocol):
    """The job table, as retention uses it."""

    def list_rules(self) -> Sequence[Rule]:
        """Return all rules by selector."""

    def set_rule(self, rule: Rule, entry: AuditEntry) -> None:
        """Store a rule in place of another of the same selector."""

    def remove_rule(self, selector: Selector, entry: AuditEntry) -> bool:
        """Remove a rule; False when there is none."""

    def agree(self, rules: Collection[Rule], entry: AuditEntry) -> int:
        """Note that somebody has agreed to what these rules delete, where they still say the same; return how many."""

    def list_kept(self, *, finished_before: datetime, after: tuple[datetime, str] | None, limit: int) -> Sequence[Kept]:
        """Return final jobs by (finished_at, id) whose results are kept and of which no event is still to be delivered."""

    def erase(self, erasures: Sequence[Erasure]) -> int:
        """Take away what the jobs were asked and answered, in one transaction with their events; jobs that are not
        final any more stay as they are. Return how many were erased. Their objects are `list_erased` until deleted.
        """

    def list_erased(self, *, limit: int) -> Sequence[Kept]:
        """Return erased jobs of which objects are still in the archive."""

    def mark_deleted(self, job_id: str) -> None:
        """Note that every object of an erased job is gone from the archive."""

    def list_emptied_batches(self, *, limit: int) -> Sequence[tuple[str, str]]:
        """Return (id, archive URL) of batches with nothing but erased jobs whose job file is still in the archive."""

    def sum_kept(self) -> Sequence[KeptSum]:
        """Return what is archived and not erased, by archive and kind."""

    def mark_emptied(self, batch_id: str) -> None:
        """Note that a batch's job file is gone from the archive."""

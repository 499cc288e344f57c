"""Reading batches and writing down how they ended: lists, families, results, and which files are still to be written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Batch, Job
from orchestrator.domain.ports.batches import JobCounts
from orchestrator.domain.states import State


@dataclass(frozen=True)
class LineJob:
    """One line of a batch and the job that answers it, with its submissions and outputs."""

    line_number: int
    job: Job


@dataclass(frozen=True)
class Costs:
    """Money of a batch in one currency, in micro-units. `unknown_count`: charges that nobody can know."""

    currency: str
    estimate_micros: int
    final_micros: int
    unknown_count: int


@dataclass(frozen=True)
class Shared:
    """Members that other batches have as well. `linked_count`: jobs that those made, and are charged for;
    `stoppable_count`: members of both that a cancel would still stop or flag.
    """

    linked_count: int
    stoppable_count: int


@dataclass(frozen=True)
class ErrorGroup:
    """Members that ended alike without success; `code` is the failure's, the provider's behind it, or None."""

    state: State
    code: str | None
    provider_code: str | None
    count: int
    example_ids: tuple[str, ...]


class BatchReports(Protocol):
    """Batches as they are shown. Every list is a keyset page; nothing grows with the size of the history."""

    def list_batches(self, *, limit: int, after: str | None = None, owner: str | None = None) -> Sequence[Batch]:
        """Return batches behind `after`, newest first; with `owner`, only theirs."""

    def count_states_of(self, batch_ids: Collection[str]) -> Mapping[str, JobCounts]:
        """Count the members of each batch per state."""

    def sum_costs_of(self, batch_ids: Collection[str]) -> Mapping[str, Sequence[Costs]]:
        """Add up what the members of each batch cost, per currency."""

    def count_unpriced(self, batch_id: str) -> int:
        """Count the members without a table price."""

    def list_archives(self, batch_ids: Collection[str]) -> Sequence[str]:
        """Return the URL of every archive that members of these batches have their files in."""

    def count_shared(self, batch_id: str) -> Shared:
        """Count the members that are jobs of other batches too."""

    def list_family(self, batch_id: str) -> Sequence[Batch]:
        """Return the batch that all of its family try again, and every batch that does; the oldest first."""

    def list_lines(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[LineJob]:
        """Return members behind a line, in input order."""

    def list_best(
        self, batch_id: str, family: Collection[str], *, after_line: int = 0, limit: int = 500
    ) -> Sequence[LineJob]:
        """Return for each line of a batch the job of its family that came furthest, in input order.

        Succeeded before what still moves, before held, failed, cancelled; of equals the newest.
        """

    def group_errors(self, batch_id: str) -> Sequence[ErrorGroup]:
        """Group the members that did not succeed by what they ended with; the most frequent first."""

    def list_files_due(self, *, after: str = "", limit: int = 20) -> Sequence[Batch]:
        """Return finished batches behind `after` whose files are not written yet, by id."""

    def mark_files_written(self, batch_id: str, *, finished_at: datetime) -> bool:
        """Note that the files of this finish are in the archive; False when the batch was opened again since."""

    def list_dependencies(self, job_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the jobs that each of these waits for."""

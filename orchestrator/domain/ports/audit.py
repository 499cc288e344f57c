"""What an audit reads: the job table whole, this host's journals, the provider's ledger where there is one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.audit import Charge, Violation
from orchestrator.domain.job import StoredFile
from orchestrator.domain.ports.journal import DeadJournal, JournalReader

Ledger = Callable[[], Sequence[Charge]]
"""Reads every task that the provider accepted. Raises Transient when it cannot be read."""


@dataclass(frozen=True)
class ArchivedJob:
    """A job with files in the archive: `folder` and `archive_url` say where, `files` are its archived outputs by id."""

    id: str
    archive_url: str
    created_at: datetime
    is_succeeded: bool
    files: Mapping[str, StoredFile]


@dataclass(frozen=True)
class Call:
    """A submission as the comparison with ledger and journals needs it. `is_unsettled`: unknown, and nobody has decided."""

    id: str
    job_id: str
    verdict: str | None
    task_id: str | None
    is_unsettled: bool
    has_answer: bool
    is_ours: bool


class Audit(Protocol):
    """The job table, read by short transactions in bounded memory. Raises Transient when it cannot be reached."""

    def find_violations(self, *, max_unknown_per_hour: int) -> Iterator[Violation]:
        """Yield every rule that the rows break, table by table."""

    def find_calls(self, submission_ids: Collection[str]) -> Mapping[str, Call]:
        """Return those of these submissions that are here."""

    def iter_calls(self) -> Iterator[Call]:
        """Yield every submission that was accepted, or is unknown and unsettled."""

    def count_agreed(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """Return how often each of these jobs may have been charged: once, and once more for each time that a person or
        the policy asked for another paid call.
        """

    def iter_archived(self) -> Iterator[ArchivedJob]:
        """Yield every job that has files in an archive, by id."""

    def find_archived(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Return the archived keys of these jobs; None for one that may be storing right now. Unknown jobs are absent."""

    def find_oldest_job(self) -> datetime | None:
        """Return when the first job was made."""

    def list_archive_urls(self) -> Sequence[str]:
        """Return every archive that jobs name."""

    def count_leases(self, process: str) -> int:
        """Count the jobs that a process holds or is sending."""

    def server_time(self) -> datetime | None:
        """Return the database server's time, None where the database is a file of this host."""


class Journals(Protocol):
    """The journals of this host, looked at without taking part."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (file or folder, what is wrong) for what others could have written."""

    def dead(self) -> Iterator[DeadJournal]:
        """Yield the journals whose processes are gone, each locked while it is looked at."""

    def living(self) -> Iterator[JournalReader]:
        """Yield the journals whose processes still write them."""

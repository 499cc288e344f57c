"""The local answer journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.outcomes import (
    CallEvidence,
)


@dataclass(frozen=True)
class JournalRecord:
    """The raw answer to one paid call, kept on local disk before the commit."""

    submission_id: str
    kind: str
    evidence: CallEvidence


class JournalReader(Protocol):
    """The journal of one process, to read."""

    @property
    def process(self) -> str:
        """The name that the process puts on its submissions."""

    def records(self) -> Iterator[JournalRecord]:
        """Yield its whole records in order; a torn last line is not one."""


class DeadJournal(JournalReader, Protocol):
    """The journal of a process that is gone."""

    def retire(self) -> None:
        """Remove it: everything in it is in the database."""


class Journal(Protocol):
    """The local answer journal of this process."""

    @property
    def process(self) -> str:
        """This process's name, unique on this host and over time."""

    def append(self, *records: JournalRecord) -> None:
        """Write records and sync them. Raises Transient when the disk refuses any; the others are kept all the same."""

    def settle(self, submission_id: str) -> None:
        """Take note that the database has what was written about this submission: nobody need replay it."""

    def dead(self) -> Sequence[DeadJournal]:
        """Return the journals of this host whose processes are gone, each locked by us while we hold it."""

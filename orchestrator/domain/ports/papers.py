"""What the papers of jobs are made of, and job tables made of papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.papers import Filed, Manifest
from orchestrator.domain.thumbnails import Thumbnail


@dataclass(frozen=True)
class Paper:
    """A manifest that was read, and where it lies."""

    key: str
    manifest: Manifest


@dataclass(frozen=True)
class Rebuilt:
    """What became of some papers. `refused`: why a job could not be made, by its manifest's key. `waiting`: parents, by
    (job, name), that are not here yet.
    """

    made: tuple[str, ...]
    known: tuple[str, ...]
    refused: Mapping[str, str]
    waiting: Mapping[tuple[str, str], str]


class Papers(Protocol):
    """Raises Transient when the database cannot be reached."""

    def load_filed(self, job_id: str) -> Filed:
        """Return all that papers say of one job, in one short read. Raises NotFound."""

    def note_refetched(self, job_id: str, output_ids: Sequence[str], *, actor: str, reason: str) -> None:
        """Write into a job's history that objects of its outputs were put into the archive again."""

    def set_thumbnail(self, output_id: str, thumbnail: Thumbnail, *, made_from_sha256: str) -> bool:
        """Say what lies beside an output. False when its bytes are not there any more, or are others."""

    def count_jobs(self) -> int:
        """Count the jobs that there are."""

    def rebuild(self, papers: Sequence[Paper], *, archive_url: str, actor: str) -> Rebuilt:
        """Insert finished jobs with all that belongs to them, in one transaction; jobs that are there stay as they are.

        Nothing becomes due and no event is announced. What one paper spoils is refused alone.
        """

    def link_parents(self, waiting: Mapping[tuple[str, str], str]) -> int:
        """Enter parents, by (job, name), that were made after those that depend on them; return how many are unknown."""

"""The port through which everything remembered is read, and the values it gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Job, JobEvent, Output, Price, Submission
from orchestrator.domain.query import Filter


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; the next one begins behind the last id."""

    jobs: tuple[Job, ...]
    has_more: bool


@dataclass(frozen=True)
class SubmissionRecord:
    """A submission with every piece of evidence there is. `raw_answer` is the provider's answer, capped."""

    submission: Submission
    credential: str
    model: str
    process: str
    body_sha256: str
    price: Price | None
    moment: str | None
    sent_at: datetime | None
    answered_at: datetime | None
    http_status: int | None
    raw_answer: str | None
    verdict_at: datetime | None
    assumed_life_until: datetime
    slot_released_at: datetime | None
    decided_by: str | None
    decided_why: str | None


class History(Protocol):
    """Reads only; every call sees what is committed. Long reads go page by page, never in one transaction."""

    def get_job(self, job_id: str) -> Job:
        """Return a job with its submissions and its outputs by index. Raises NotFound."""

    def get_output(self, output_id: str) -> tuple[Job, Output]:
        """Return an output and its job. Raises NotFound."""

    def list_jobs(self, wanted: Filter, *, limit: int = 20, after: str | None = None) -> JobPage:
        """Return jobs with their outputs, newest first, behind the id `after`. Raises QueryTooSlow, as all that lists does."""

    def iter_jobs(self, wanted: Filter) -> Iterator[Job]:
        """Yield every job that matches, with its outputs, newest first."""

    def iter_members(self, batch_id: str, *, states: Collection[str] = ()) -> Iterator[Job]:
        """Yield a batch's jobs in input order with submissions and outputs; with `states`, only those in one."""

    def list_events(self, job_id: str) -> Sequence[JobEvent]:
        """Return a job's history, oldest first."""

    def list_submissions(self, job_id: str) -> Sequence[SubmissionRecord]:
        """Return a job's submissions by number."""

    def count_jobs(self, wanted: Filter) -> dict[str, int]:
        """Count the jobs that match, per state."""

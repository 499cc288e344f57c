"""The papers of a job as values: what manifest.json says, field by field, in the order in which it is written.

Times are UTC, money is in millionths of the currency. A field that is not known is null. docs/archive.md shows a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import Job, Role

MANIFEST_VERSION = 2


@dataclass(frozen=True)
class CostPaper:
    """Table price, and what it cost as far as that is known."""

    currency: str
    estimate_micros: int
    final_micros: int | None
    price_version: str


@dataclass(frozen=True)
class InputPaper:
    """An input file. `archive` is set for what lies in another archive than the job's own."""

    param: str
    name: str
    bytes: int
    content_type: str
    sha256: str
    archive: str | None
    key: str


@dataclass(frozen=True)
class ParentPaper:
    """A job whose output this one used: by the name that the job file calls it, and its id."""

    name: str
    job_id: str | None


@dataclass(frozen=True)
class JobPaper:
    """What was asked for (`input` with the prompt and parameters, `body` as frozen for the provider) and how it went."""

    id: str
    kind: str
    model: str
    archive_class: str
    owner: str
    credential: str
    batch_id: str | None
    line_number: int | None
    custom_id: str | None
    tags: dict[str, str]
    priority: int
    input: dict[str, Any]
    body: dict[str, Any]
    body_sha256: str
    inputs: tuple[InputPaper, ...]
    parents: tuple[ParentPaper, ...]
    provider_task_id: str | None
    created_at: datetime
    not_before: datetime | None
    submitted_at: datetime | None
    cancel_requested_at: datetime | None
    submission_count: int
    poll_count: int
    cost: CostPaper | None


@dataclass(frozen=True)
class BatchPaper:
    """The batch that made the job."""

    id: str
    name: str
    owner: str
    identity_sha256: str
    environment: str
    generation: int
    line_count: int
    created_at: datetime
    parent_id: str | None


@dataclass(frozen=True)
class SubmissionPaper:
    """One try at the paid call; `id` is the request_id that was sent. The provider's raw answer is not kept here."""

    id: str
    number: int
    origin: str
    process: str
    credential: str
    model: str
    body_sha256: str
    price_micros: int | None
    price_currency: str | None
    price_version: str | None
    intent_at: datetime
    moment: str | None
    sent_at: datetime | None
    answered_at: datetime | None
    http_status: int | None
    verdict: str | None
    verdict_at: datetime | None
    provider_code: str | None
    message: str | None
    task_id: str | None
    final_answer: str | None
    final_at: datetime | None
    superseded_at: datetime | None
    slot_released_at: datetime | None
    assumed_life_until: datetime
    decided_by: str | None
    decided_why: str | None


@dataclass(frozen=True)
class ThumbnailPaper:
    """A small picture beside an output. `made_from_sha256`: of the bytes that it was made of."""

    key: str
    bytes: int
    sha256: str
    content_type: str
    width: int
    height: int
    made_from_sha256: str


@dataclass(frozen=True)
class OutputPaper:
    """One output. Not archived: an optional one that was lost, and the fields from `key` on are null."""

    id: str
    index: int
    role: Role
    is_archived: bool
    announced_at: datetime
    source_host: str | None
    source_expires_at: datetime | None
    is_expiry_assumed: bool
    key: str | None
    bytes: int | None
    sha256: str | None
    content_type: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None
    codec: str | None
    notes: tuple[str, ...]
    archived_at: datetime | None
    thumbnail: ThumbnailPaper | None = None


@dataclass(frozen=True)
class Manifest:
    """manifest.json whole."""

    manifest_version: int
    tool_version: str
    written_at: datetime
    job: JobPaper
    batch: BatchPaper | None
    submissions: tuple[SubmissionPaper, ...]
    outputs: tuple[OutputPaper, ...]


@dataclass(frozen=True)
class Filed:
    """All that the job table says of one job, as its papers are made of it. `hosts`: where archived outputs came from,
    by output id; `announced`: when the provider first named each output.
    """

    job: Job
    archive_class: str
    batch: BatchPaper | None
    submissions: tuple[SubmissionRecord, ...]
    parents: tuple[ParentPaper, ...]
    hosts: dict[str, str]
    announced: dict[str, datetime]

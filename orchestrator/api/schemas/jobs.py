"""Jobs, their outputs, events and inputs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orchestrator.api import samples
from orchestrator.api.schemas.base import Ask, Page, Reason, Words, like

_REQUEST: Any = samples.REQUEST


class JobRequest(Ask):
    """A job: the same as a line of a job file. `body` is what the provider documents; files in it are ids of uploads."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_REQUEST]})

    kind: Annotated[str, Field(max_length=64, description="image, video or transcription.")]
    body: Annotated[dict[str, JsonValue], Field(description="The provider's own fields.")]
    custom_id: Annotated[str | None, Field(description="Your own name for it, 1-128 characters.")] = None
    tags: Annotated[dict[str, str], Field(description="Labels for searching.")] = {}  # noqa: RUF012 - pydantic copies it
    priority: Annotated[int, Field(ge=0, le=9, description="Higher goes first.")] = 5
    not_before: Annotated[datetime | None, Field(description="Not submitted before; with a time zone.")] = None
    webhook: Annotated[str | None, Field(max_length=2000, description="A URL that hears what becomes of it.")] = None
    max_cost: Annotated[Decimal | None, Field(ge=0, max_digits=12, decimal_places=6)] = None
    allow_unknown_model: Annotated[bool, Field(description="Let a model through that is in no table, unpriced.")] = (
        False
    )


class AdoptRequest(Ask):
    """A task that was submitted elsewhere."""

    kind: Annotated[str, Field(max_length=64)]
    task_id: Annotated[str, Field(max_length=1000, description="The task's id at the provider.")]
    model: Annotated[str | None, Field(max_length=128)] = None
    custom_id: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    tags: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    reason: Words = ""


class RetryRequest(Reason):
    """What a retry may cost."""

    may_charge: Annotated[bool, Field(description="Agree to a new charge where nothing else is left.")] = False


class ResubmitRequest(Reason):
    """A new charge: said in so many words."""

    may_charge: Annotated[
        bool, Field(description="Must be true: if an earlier try was taken after all, that is paid too.")
    ]


class AttachRequest(Reason):
    """The task that a person found."""

    task_id: Annotated[str, Field(max_length=1000)]
    unchecked: Annotated[bool, Field(description="Do not ask the provider whether it knows the task.")] = False


class Failure(BaseModel):
    """Why a job failed, and what to do."""

    code: str | None
    message: str | None
    advice: str | None
    provider_code: str | None


class Cost(BaseModel):
    """Money as text with its currency. `charge` says `unknown` when nobody can know."""

    currency: str | None
    estimate: str | None
    final: str | None
    price_version: str | None
    charge: str | None = None


class Thumbnail(BaseModel):
    """A JPEG beside a picture or a film; `url` works until `url_expires_at`."""

    key: str
    bytes: int
    sha256: str
    content_type: str
    width: int
    height: int
    url: str | None
    url_expires_at: datetime | None


class Output(BaseModel):
    """A file that a job made; `url` works until `url_expires_at`."""

    model_config = like(samples.output)

    id: str
    role: str
    key: str | None
    bytes: int | None
    sha256: str | None
    content_type: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None
    url: str | None
    url_expires_at: datetime | None
    source_expires_at: datetime | None
    archived_at: datetime | None
    is_lost: bool
    erased_at: datetime | None
    thumbnail: Thumbnail | None


class Job(BaseModel):
    """A job."""

    model_config = like(samples.job)

    id: str
    object: str
    kind: str
    model: str
    status: str
    status_reason: str
    input: dict[str, JsonValue]
    custom_id: str | None
    batch_id: str | None
    tags: dict[str, str]
    priority: int
    provider_task_id: str | None
    outputs: list[Output]
    failure: Failure | None
    cost: Cost
    submission_count: int
    poll_count: int
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None


class JobList(Page):
    """Jobs, newest first."""

    model_config = like(samples.list_of(samples.job()))

    data: list[Job]


class Event(BaseModel):
    """A row of a job's history."""

    model_config = like(samples.event)

    id: str
    object: str
    job_id: str
    sequence: int
    type: str
    from_state: str | None
    to_state: str | None
    at: datetime
    actor: str
    reason: str
    data: dict[str, JsonValue]


class EventList(Page):
    """A job's history, oldest first."""

    model_config = like(samples.list_of(samples.event()))

    data: list[Event]


class File(BaseModel):
    """An uploaded input."""

    model_config = like(samples.file)

    id: str
    object: str
    name: str
    bytes: int
    sha256: str
    content_type: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None
    created_at: datetime

"""The shapes of requests and answers, for the OpenAPI document and for what callers send. Examples come from the code."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orchestrator.api import samples
from orchestrator.domain.access import Role
from orchestrator.services.views import Object

Words = Annotated[str, Field(max_length=1000, description="Why, in your words; kept in the history and the audit log.")]


def _like(make: Callable[[], Object] | Object) -> ConfigDict:
    """Return the configuration of an answer with this sample; what later versions add is allowed."""
    example: Any = make() if callable(make) else make
    return ConfigDict(json_schema_extra={"examples": [example]}, extra="allow")


_REQUEST: Any = samples.REQUEST


class Ask(BaseModel):
    """What callers send: an unknown field is a mistake of theirs, not something to be passed over."""

    model_config = ConfigDict(extra="forbid")


class JobRequest(Ask):
    """A job: the same as a line of a job file. `body` is what the provider documents; files in it are ids of uploads."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_REQUEST]})

    kind: Annotated[str, Field(max_length=64, description="image, video or transcription.")]
    body: Annotated[dict[str, JsonValue], Field(description="The provider's own fields.")]
    custom_id: Annotated[str | None, Field(description="Your own name for it, 1-128 characters.")] = None
    tags: Annotated[dict[str, str], Field(description="Labels for searching.")] = {}
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
    tags: dict[str, str] = {}
    reason: Words = ""


class Reason(Ask):
    """Why something is asked for."""

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


class BatchRetryRequest(Reason):
    """Which members, and what that may cost."""

    only: Annotated[
        list[str], Field(min_length=1, max_length=20, description="failed, cancelled, or failure codes.")
    ] = ["failed"]
    may_charge: Annotated[bool, Field(description="Agree to the new charges.")] = False
    max_cost: Annotated[Decimal | None, Field(ge=0, max_digits=12, decimal_places=6)] = None


class KeyRequest(Ask):
    """A key to make."""

    name: Annotated[str, Field(max_length=64)]
    role: Role
    owner: Annotated[str | None, Field(max_length=64, description="Whose things it sees; its name when left out.")] = (
        None
    )
    expires_in_seconds: Annotated[int | None, Field(ge=1, le=10 * 366 * 86_400)] = None
    reason: Words = ""


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


class Output(BaseModel):
    """A file that a job made; `url` works until `url_expires_at`."""

    model_config = _like(samples.output)

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


class Job(BaseModel):
    """A job."""

    model_config = _like(samples.job)

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


class Page(BaseModel):
    """A page of a list."""

    object: str
    has_more: bool
    first_id: str | None
    last_id: str | None


class JobList(Page):
    """Jobs, newest first."""

    model_config = _like(samples.list_of(samples.job()))

    data: list[Job]


class Event(BaseModel):
    """A row of a job's history."""

    model_config = _like(samples.event)

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

    model_config = _like(samples.list_of(samples.event()))

    data: list[Event]


class Batch(BaseModel):
    """A file of jobs."""

    model_config = _like(samples.batch)

    id: str
    object: str
    name: str
    status: str
    line_count: int
    refused_count: int
    done_count: int
    job_counts: dict[str, int]
    cost: dict[str, JsonValue]
    parent_id: str | None
    created_at: datetime
    cancel_requested_at: datetime | None
    finished_at: datetime | None


class BatchList(Page):
    """Batches, newest first."""

    model_config = _like(samples.list_of(samples.batch()))

    data: list[Batch]


class ErrorGroup(BaseModel):
    """Members that ended alike without success."""

    code: str
    provider_code: str | None
    status: str
    count: int
    advice: str | None
    examples: list[str]


class ErrorGroups(BaseModel):
    """Why members of a batch did not succeed, the commonest first."""

    object: str
    data: list[ErrorGroup]


class FaultRow(BaseModel):
    """One thing wrong with an input."""

    line: int | None
    column: int | None
    code: str
    param: str | None
    message: str
    hint: str | None


class Check(BaseModel):
    """What a dry run or a check found; nothing of it is stored."""

    model_config = _like(samples.check)

    object: str
    valid: bool
    line_count: int
    known_count: int
    price: str
    currency: str
    unpriced_count: int
    fault_count: int
    faults: list[FaultRow]
    warnings: list[FaultRow]


class File(BaseModel):
    """An uploaded input."""

    model_config = _like(samples.file)

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


class Model(BaseModel):
    """A model, its limit and its price."""

    model_config = _like(samples.model)

    id: str
    object: str
    kind: str
    is_default: bool
    slots: int
    slots_in_use: int
    price: str | None
    currency: str | None
    price_version: str | None
    paused_until: datetime | None
    pause_code: str | None
    pause_message: str | None


class ModelList(Page):
    """Every model that we know."""

    model_config = _like(samples.list_of(samples.model()))

    data: list[Model]


class ErrorCode(BaseModel):
    """A row of the error catalogue."""

    model_config = _like(samples.error_code)

    code: str
    object: str
    source: str
    then: str
    meaning: str
    advice: str


class ErrorCodeList(BaseModel):
    """The error catalogue."""

    object: str
    data: list[ErrorCode]


class Key(BaseModel):
    """A key, without its secret."""

    model_config = _like(samples.key)

    id: str
    object: str
    name: str
    role: str
    owner: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """A key as its maker sees it, once: `key` cannot be shown again."""

    model_config = _like(samples.new_key)

    key: str


class KeyList(Page):
    """Keys, revoked ones included."""

    model_config = _like(samples.list_of(samples.key()))

    data: list[Key]


class AuditEntry(BaseModel):
    """A mutation that somebody asked for."""

    model_config = _like(samples.audit_entry)

    id: str
    object: str
    at: datetime
    actor: str
    action: str
    subject: str
    owner: str
    reason: str
    count: int


class AuditList(Page):
    """The audit log, newest first."""

    model_config = _like(samples.list_of(samples.audit_entry()))

    data: list[AuditEntry]


class Health(BaseModel):
    """Whether the process, or what it needs, is well."""

    status: str
    checks: dict[str, str] = {}


class ErrorDetail(BaseModel):
    """What went wrong. `errors` lists every fault when there are several."""

    code: str
    message: str
    param: str | None
    type: str
    request_id: str
    hint: str | None = None
    errors: list[FaultRow] = []


class ErrorBody(BaseModel):
    """The body of every error."""

    model_config = _like(samples.failure)

    error: ErrorDetail

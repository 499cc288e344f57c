"""Snapshots of what the database holds: a job, its submissions, its outputs. Values, never live rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from orchestrator.domain.states import State
from orchestrator.domain.thumbnails import THUMBNAIL_TYPE, Thumbnail, thumbnail_key

Json = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True)
class Price:
    """Money in integer micro-units (1 USD = 1_000_000) from a dated table (zai-api.md 10.2)."""

    micros: int
    currency: str
    version: str


class Verdict(StrEnum):
    """How one try at the paid call ended; absent while it is in flight."""

    ACCEPTED = "accepted"  # a task id
    ANSWERED = "answered"  # the complete answer of an immediate kind
    NOT_SENT = "not_sent"
    THROTTLED = "throttled"
    REFUSED = "refused"  # account or key
    REJECTED = "rejected"
    FAILED = "failed"  # FAIL inside the submit answer: the charge is unknown
    UNKNOWN = "unknown"


RESTORED_QUEUED = "restored_from_backup"
RESTORED_IN_DOUBT = "restored_in_doubt"
RESTORED_CODES = frozenset({RESTORED_QUEUED, RESTORED_IN_DOUBT})
"""Codes of jobs held because the database was restored (docs/decisions/0008): the first was queued in the backup, the
second was being submitted or held already.
"""

DUPLICATE_TASK_ID = "duplicate_task_id"
"""Code of an unknown whose answer named a task that another submission holds (fault A13)."""

SURE_REFUSALS = frozenset({Verdict.NOT_SENT, Verdict.THROTTLED, Verdict.REFUSED, Verdict.REJECTED})
"""Verdicts that prove that nothing was charged: the slot is free again and the cost is nil."""


class FinalAnswer(StrEnum):
    """The provider's last word on a task; it frees the slot."""

    SUCCESS = "SUCCESS"
    FAIL = "FAIL"
    LOST = "lost"


class Origin(StrEnum):
    """Who made the submission: our paid call, or somebody else's whose task was adopted."""

    OURS = "ours"
    ADOPTED = "adopted"


@dataclass(frozen=True)
class Submission:
    """One try at the paid call: the ledger of money and the holder of a slot (design section 7).

    `result` is the whole answer of an immediate kind, kept until a job uses it.
    """

    id: str
    job_id: str
    number: int
    intent_at: datetime
    origin: Origin = Origin.OURS
    verdict: Verdict | None = None
    provider_code: str | None = None
    message: str | None = None
    task_id: str | None = None
    result: tuple[OutputDraft, ...] = ()
    final_at: datetime | None = None
    final_answer: FinalAnswer | None = None
    superseded_at: datetime | None = None
    decided_by: str | None = None

    @property
    def is_paid_and_open(self) -> bool:
        """True when it holds a task id or a full answer that no final answer of the provider has closed."""
        return self.verdict in (Verdict.ACCEPTED, Verdict.ANSWERED) and self.final_at is None

    @property
    def is_unsettled(self) -> bool:
        """True when it may have been charged and nobody has decided what follows."""
        return self.verdict is Verdict.UNKNOWN and self.superseded_at is None


class Role(StrEnum):
    """What an output is."""

    IMAGE = "image"
    VIDEO = "video"
    COVER = "cover"
    TRANSCRIPT = "transcript"
    TRANSCRIPT_JSON = "transcript_json"


OPTIONAL_ROLES = frozenset({Role.COVER})


@dataclass(frozen=True)
class OutputDraft:
    """An output as the provider announced it: a link, or (immediate kinds) the text itself."""

    index: int
    role: Role
    url: str | None = None
    text: str | None = None
    expires_at: datetime | None = None
    is_expiry_assumed: bool = False


@dataclass(frozen=True)
class StoredFile:
    """A file that the archive holds and that was read back. Size in bytes, sides in pixels, duration in seconds."""

    key: str
    byte_count: int
    sha256: str
    content_type: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    codec: str | None = None
    notes: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None

    @property
    def small(self) -> StoredFile | None:
        """Its thumbnail as a file of its own; None where there is none."""
        key, found = thumbnail_key(self.key), self.thumbnail
        if key is None or found is None:
            return None
        return StoredFile(key, found.byte_count, found.sha256, THUMBNAIL_TYPE, found.width, found.height)


@dataclass(frozen=True)
class Output:
    """One file that a job made. `stored` is set once it is archived and verified; `is_lost` once its loss is proven."""

    id: str
    job_id: str
    index: int
    role: Role
    source_url: str | None = None
    text: str | None = None
    source_expires_at: datetime | None = None
    attempt_count: int = 0
    ask_count: int = 0
    dead_links: tuple[str, ...] = ()
    stored: StoredFile | None = None
    is_lost: bool = False
    archived_at: datetime | None = None
    is_expiry_assumed: bool = False
    last_error: str | None = None
    erased_at: datetime | None = None

    @property
    def kept(self) -> StoredFile | None:
        """The file in the archive; None when it never came there, or retention has taken it away."""
        return self.stored if self.erased_at is None else None

    @property
    def is_optional(self) -> bool:
        """A cover may be lost; the job still succeeds."""
        return self.role in OPTIONAL_ROLES

    @property
    def is_settled(self) -> bool:
        """Nothing more is to be fetched for it."""
        return self.stored is not None or self.is_lost


@dataclass(frozen=True)
class Parent:
    """A job that another depends on. `job_id` and `state` are None until the whole file is in."""

    name: str
    job_id: str | None
    state: State | None

    @property
    def is_dead(self) -> bool:
        """It ended without success: nothing that depends on it can be done unless it is tried again."""
        return self.state in (State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Job:
    """A job as it was read; `lease_token` is the reader's own when it was claimed.

    `attempt_count` counts failures in a row of the present step; `submissions`, `outputs` and `parents` are loaded
    where a decision needs them and empty elsewhere.
    """

    id: str
    kind: str
    model: str
    state: State
    body: Json
    body_sha256: str
    credential: str
    archive_url: str
    created_at: datetime
    owner: str = "local"
    due_at: datetime | None = None
    lease_token: str | None = None
    batch_id: str | None = None
    line_number: int | None = None
    custom_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 5
    not_before: datetime | None = None
    waiting_on_count: int = 0
    input: Json = field(default_factory=dict)
    price: Price | None = None
    provider_task_id: str | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    submission_count: int = 0
    poll_count: int = 0
    attempt_count: int = 0
    ask_count: int = 0
    missing_since: datetime | None = None
    death_count: int = 0
    cancel_requested_at: datetime | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    provider_code: str | None = None
    last_error: str | None = None
    cost_final_micros: int | None = None
    erased_at: datetime | None = None
    submissions: tuple[Submission, ...] = ()
    outputs: tuple[Output, ...] = ()
    parents: tuple[Parent, ...] = ()

    @property
    def awaited(self) -> tuple[Parent, ...]:
        """Those it depends on that have not succeeded."""
        return tuple(parent for parent in self.parents if parent.state is not State.SUCCEEDED)

    @property
    def is_held_by_restore(self) -> bool:
        """True when a restore holds it: what happened to it after the backup is not known here."""
        return self.state is State.NEEDS_REVIEW and self.provider_code in RESTORED_CODES

    @property
    def has_request(self) -> bool:
        """False for an adopted task and an erased job: what was sent is not known here, so it cannot be sent again."""
        return bool(self.body)

    @property
    def is_cancelling(self) -> bool:
        """A cancel was asked for after the paid call had begun."""
        return self.cancel_requested_at is not None


@dataclass(frozen=True)
class NewJob:
    """A job to insert. `body` is frozen: what will be sent, its local inputs named by SHA-256.

    `depends_on`: custom_ids of the jobs in the same batch that must have succeeded before it is submitted.
    `tries_again`: the job whose request this is once more; whoever that job named hears of this one too.
    """

    id: str
    kind: str
    model: str
    body: Json
    body_sha256: str
    input: Json
    credential: str
    archive_url: str
    archive_class: str
    owner: str = "local"
    batch_id: str | None = None
    line_number: int | None = None
    custom_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 5
    not_before: datetime | None = None
    price: Price | None = None
    depends_on: tuple[str, ...] = ()
    webhook: str | None = None
    tries_again: str | None = None


def as_queued(new: NewJob, now: datetime) -> Job:
    """Return a job that was inserted at `now` as it stands in the table then."""
    return Job(
        id=new.id,
        kind=new.kind,
        model=new.model,
        state=State.QUEUED,
        body=new.body,
        body_sha256=new.body_sha256,
        credential=new.credential,
        archive_url=new.archive_url,
        created_at=now,
        owner=new.owner,
        due_at=max(now, new.not_before) if new.not_before else now,
        batch_id=new.batch_id,
        line_number=new.line_number,
        custom_id=new.custom_id,
        tags=new.tags,
        priority=new.priority,
        not_before=new.not_before,
        input=new.input,
        price=new.price,
    )


@dataclass(frozen=True)
class Batch:
    """A file of jobs. `identity_sha256` is what makes the same file the same batch (surfaces section 1, run).

    `max_cost_micros`: its budget. `parent_id`: the batch whose members it tries again. `refused_count`: lines left out.
    """

    id: str
    owner: str
    name: str
    identity_sha256: str
    environment: str
    archive_url: str
    line_count: int
    is_intake_done: bool
    created_at: datetime
    finished_at: datetime | None = None
    generation: int = 1
    max_cost_micros: int | None = None
    parent_id: str | None = None
    refused_count: int = 0
    cancel_requested_at: datetime | None = None
    files_written_at: datetime | None = None


@dataclass(frozen=True)
class JobEvent:
    """A row of the history; `sequence` rises per job. Append-only."""

    id: str
    job_id: str
    sequence: int
    type: str
    from_state: State | None
    to_state: State | None
    at: datetime
    actor: str
    reason: str
    data: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Claim(Generic[T]):
    """What one claim brought: rows, the claim's `now`, and the boot-time clock read before its first statement.

    `probe_ids` names the rows that were taken to see whether a pause is over: their answer must be written.

    `is_kept_waiting`: rows are due that may not be taken beside what is in flight; the lane is to run empty for them.
    """

    rows: tuple[T, ...]
    now: datetime
    boottime: float
    lease: timedelta
    probe_ids: frozenset[str] = frozenset()
    is_kept_waiting: bool = False

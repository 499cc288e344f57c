"""The tables. Every rule of design section 6 that a database can keep stands here as a named constraint.

No CHECK on kind: adding a kind edits one file. No default and no CHECK asks for the time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator.db.types import JsonColumn, Utc
from orchestrator.domain.states import State

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

_STATES = ", ".join(f"'{state}'" for state in State)
_FINAL = "state IN ('succeeded', 'failed', 'cancelled')"
_RESTING = "state IN ('succeeded', 'failed', 'cancelled', 'needs_review')"
MAY_BE_CHARGED = "verdict IS NULL OR verdict NOT IN ('not_sent', 'refused', 'rejected', 'throttled')"
"""A submission that was not surely refused (domain.job.SURE_REFUSALS); a query spells it so to use the index."""

_SPARSE = {
    name: f"{name} IS NOT NULL"
    for name in ("custom_id", "failure_code", "provider_code", "submitted_at", "finished_at")
}
"""Fields of a job that many have no value of, and that the history is asked by."""


class Base(DeclarativeBase):
    """Types by annotation; names by convention."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own shape
        str: Text(),
        int: Integer(),
        float: Float(),
        datetime: Utc(),
        dict[str, Any]: JsonColumn,
        list[Any]: JsonColumn,
    }


class PauseColumns:
    """Submitting and polling pause apart; a passed pause ends by one probe's answer (design section 7)."""

    submit_paused_until: Mapped[datetime | None] = mapped_column(
        sort_order=1, comment="No submit claim before; passed: one probe"
    )
    submit_pause_code: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Provider code that set the submit pause"
    )
    submit_pause_message: Mapped[str | None] = mapped_column(sort_order=1, comment="Its words")
    submit_probe_id: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Submission that probes whether the pause is over"
    )
    poll_paused_until: Mapped[datetime | None] = mapped_column(
        sort_order=1, comment="No poll claim before; passed: one probe"
    )
    poll_pause_code: Mapped[str | None] = mapped_column(sort_order=1, comment="Provider code that set the poll pause")
    poll_pause_message: Mapped[str | None] = mapped_column(sort_order=1, comment="Its words")
    poll_probe_id: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Job whose poll probes whether the pause is over"
    )


class CredentialRow(PauseColumns, Base):
    """A credential's pauses. The first lock of every submit claim."""

    __tablename__ = "credentials"
    __table_args__ = ({"comment": "Names of credentials and what they wait for; keys are settings, never rows"},)

    name: Mapped[str] = mapped_column(primary_key=True, comment="As named in the settings")


class ModelLimitRow(PauseColumns, Base):
    """A model's pauses under one credential; locked, in name order, before its slots are counted."""

    __tablename__ = "model_limits"
    __table_args__ = (
        CheckConstraint("slot_limit IS NULL OR slot_limit >= 1", name="slot_limit_positive"),
        {"comment": "One row per credential and model: the lock under which its slots are counted"},
    )

    credential: Mapped[str] = mapped_column(primary_key=True, comment="Whose requests")
    model: Mapped[str] = mapped_column(primary_key=True, comment="The provider's model name")
    slot_limit: Mapped[int | None] = mapped_column(sort_order=2, comment="Most in flight; NULL: as the settings say")


class BatchRow(Base):
    """A file of jobs; running until finished_at is set."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("finished_at IS NULL OR intake_done_at IS NOT NULL", name="finished_after_intake"),
        # Two processes that take one file at once: the second is told, and joins the first.
        UniqueConstraint("identity_sha256", "environment", "generation"),
        Index(
            "ix_batches_running",
            "id",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        CheckConstraint("files_written_at IS NULL OR finished_at IS NOT NULL", name="files_after_finish"),
        Index("ix_batches_parent_id", "parent_id"),
        Index("ix_batches_owner", "owner", "id"),
        Index(
            "ix_batches_files_due",
            "id",
            sqlite_where=text("finished_at IS NOT NULL AND files_written_at IS NULL"),
            postgresql_where=text("finished_at IS NOT NULL AND files_written_at IS NULL"),
        ),
        {"comment": "A job file as it was taken in"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="batch_ and a UUIDv7: sorts by creation")
    owner: Mapped[str] = mapped_column(comment="Who created it: an API key's name, or local")
    name: Mapped[str] = mapped_column(comment="What people call it: the file's name")
    identity_sha256: Mapped[str] = mapped_column(comment="What makes the same file the same batch")
    environment: Mapped[str] = mapped_column(comment="sandbox, or the base URL its jobs are sent to")
    archive_url: Mapped[str] = mapped_column(comment="Where its outputs go")
    line_count: Mapped[int] = mapped_column(comment="Lines that become members")
    created_at: Mapped[datetime] = mapped_column(comment="When intake began")
    intake_done_at: Mapped[datetime | None] = mapped_column(comment="When the last line was in")
    finished_at: Mapped[datetime | None] = mapped_column(comment="When no member was active any more; NULL: running")
    generation: Mapped[int] = mapped_column(comment="1, and one more each time the same file is paid for anew")
    max_cost_micros: Mapped[int | None] = mapped_column(
        BigInteger(), comment="What its jobs may cost, millionths of the table's currency; NULL: no limit"
    )
    parent_id: Mapped[str | None] = mapped_column(
        ForeignKey("batches.id"), comment="Batch whose members it tries again"
    )
    refused_count: Mapped[int] = mapped_column(comment="Lines left out because they were wrong")
    cancel_requested_at: Mapped[datetime | None] = mapped_column(
        comment="When its cancellation was asked for: lines that are not in yet stay out"
    )
    files_written_at: Mapped[datetime | None] = mapped_column(
        comment="When its results went to the archive; NULL after each finish"
    )


class JobRow(Base):
    """A job: one request of ours, where it stands and when it is due."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state_known"),
        CheckConstraint(f"({_FINAL}) = (finished_at IS NOT NULL)", name="final_is_finished"),
        CheckConstraint(f"NOT ({_RESTING}) OR (due_at IS NULL AND lease_token IS NULL)", name="resting_is_not_due"),
        CheckConstraint(
            f"{_RESTING} OR due_at IS NOT NULL OR (state = 'queued' AND waiting_on_count > 0)", name="active_is_due"
        ),
        CheckConstraint("(state = 'failed') = (failure_code IS NOT NULL)", name="failed_has_code"),
        CheckConstraint("state <> 'processing' OR provider_task_id IS NOT NULL", name="processing_has_task"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority_range"),
        CheckConstraint("(price_micros IS NULL) = (price_currency IS NULL)", name="price_has_currency"),
        # One partial index per lane: a shared one cost 5.0 ms against 0.09 ms behind 50,000 queued rows. The state
        # leads although it is constant there: SQLite would rather take ix_jobs_state for an equality and sort.
        Index(
            "ix_jobs_submit_lane",
            "credential",
            "model",
            "priority",
            "fair_key",
            "due_at",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_lapse_lane",
            "state",
            "due_at",
            "id",
            sqlite_where=text("state = 'submitting'"),
            postgresql_where=text("state = 'submitting'"),
        ),
        Index(
            "ix_jobs_poll_lane",
            "state",
            "due_at",
            "id",
            sqlite_where=text("state = 'processing'"),
            postgresql_where=text("state = 'processing'"),
        ),
        Index(
            "ix_jobs_archive_lane",
            "state",
            "archive_class",
            "source_expires_at",
            "id",
            "due_at",
            sqlite_where=text("state = 'archiving'"),
            postgresql_where=text("state = 'archiving'"),
        ),
        Index(
            "ix_jobs_archive_due",
            "state",
            "due_at",
            sqlite_where=text("state = 'archiving'"),
            postgresql_where=text("state = 'archiving'"),
        ),
        Index(
            "ix_jobs_waiting",
            "state",
            "id",
            sqlite_where=text("state = 'queued' AND waiting_on_count > 0"),
            postgresql_where=text("state = 'queued' AND waiting_on_count > 0"),
        ),
        Index("ix_jobs_state", "state", "id"),
        Index("ix_jobs_kind_state", "kind", "state", "id"),
        # The history by its other fields, each in the order of its pages.
        Index("ix_jobs_model", "model", "id"),
        Index("ix_jobs_owner", "owner", "id"),
        Index("ix_jobs_cost", "cost_final_micros", "id"),
        *(
            Index(f"ix_jobs_{name}", name, "id", sqlite_where=text(where), postgresql_where=text(where))
            for name, where in _SPARSE.items()
        ),
        {"comment": "One request of ours: where it stands, when it is due, what came of it"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="job_ and a UUIDv7: sorts by creation")
    kind: Mapped[str] = mapped_column(comment="image, video, transcription or a later one")
    model: Mapped[str] = mapped_column(comment="The provider's model name; its slots are counted by it")
    state: Mapped[str] = mapped_column(comment="Design section 6; moved only by guarded writes")
    owner: Mapped[str] = mapped_column(comment="Who created it: an API key's name, or local")
    fair_key: Mapped[str] = mapped_column(comment="Batch id or owner: submit slots go round robin over these")
    credential: Mapped[str] = mapped_column(comment="Whose key the paid call is made with")
    batch_id: Mapped[str | None] = mapped_column(
        ForeignKey("batches.id"), comment="Batch that made it; membership of batches is batch_members"
    )
    line_number: Mapped[int | None] = mapped_column(comment="Its line in that batch's file, from 1")
    custom_id: Mapped[str | None] = mapped_column(comment="The user's own name for it")
    tags: Mapped[dict[str, Any]] = mapped_column(comment="The user's labels, text to text")
    priority: Mapped[int] = mapped_column(SmallInteger(), comment="0 to 9; higher goes first")
    input: Mapped[dict[str, Any]] = mapped_column(comment="What the user asked for, as shown back")
    body: Mapped[dict[str, Any]] = mapped_column(comment="Frozen request body; files in it are named by SHA-256")
    body_sha256: Mapped[str] = mapped_column(comment="Of the frozen body")
    archive_url: Mapped[str] = mapped_column(comment="Where inputs are read and outputs are stored")
    archive_class: Mapped[str] = mapped_column(comment="video or other: two orders in the archive lane")
    price_micros: Mapped[int | None] = mapped_column(BigInteger(), comment="Table price, millionths of the currency")
    price_currency: Mapped[str | None] = mapped_column(comment="ISO 4217")
    price_version: Mapped[str | None] = mapped_column(comment="Which dated table")
    cost_final_micros: Mapped[int | None] = mapped_column(BigInteger(), comment="What it cost; NULL while not known")
    created_at: Mapped[datetime] = mapped_column(comment="When it was accepted")
    not_before: Mapped[datetime | None] = mapped_column(comment="The user's earliest time for submitting")
    due_at: Mapped[datetime | None] = mapped_column(comment="Next step may be claimed; while leased, the lease's end")
    lease_token: Mapped[str | None] = mapped_column(comment="Held by whoever performs the present step")
    waiting_on_count: Mapped[int] = mapped_column(comment="Jobs this one depends on that have not succeeded yet")
    provider_task_id: Mapped[str | None] = mapped_column(comment="The task being asked about")
    submitted_at: Mapped[datetime | None] = mapped_column(comment="When the provider first took it")
    finished_at: Mapped[datetime | None] = mapped_column(comment="When it reached a final state")
    source_expires_at: Mapped[datetime | None] = mapped_column(comment="Earliest end of its unarchived outputs' links")
    cancel_requested_at: Mapped[datetime | None] = mapped_column(comment="Asked for after the paid call had begun")
    missing_since: Mapped[datetime | None] = mapped_column(comment="Since when the provider does not know the task")
    submission_count: Mapped[int] = mapped_column(comment="Tries at the paid call so far")
    poll_count: Mapped[int] = mapped_column(comment="Questions asked about its tasks")
    attempt_count: Mapped[int] = mapped_column(comment="Failures in a row of the present step")
    ask_count: Mapped[int] = mapped_column(comment="SUCCESS answers in a row that held nothing usable")
    death_count: Mapped[int] = mapped_column(comment="Leases in a row that lapsed in a worker's hands")
    sequence: Mapped[int] = mapped_column(comment="Number of its newest event")
    failure_code: Mapped[str | None] = mapped_column(comment="Why it failed: surfaces section 2")
    failure_message: Mapped[str | None] = mapped_column(comment="The same in words")
    provider_code: Mapped[str | None] = mapped_column(comment="The provider's code behind it")
    last_error: Mapped[str | None] = mapped_column(comment="Newest trouble of the present step")


class BatchMemberRow(Base):
    """Membership: the truth about which jobs a batch counts, finishes and submits."""

    __tablename__ = "batch_members"
    __table_args__ = (
        Index("ix_batch_members_job_id", "job_id", "batch_id"),
        Index("ix_batch_members_batch_id", "batch_id", "job_id"),
        Index("ix_batch_members_custom_id", "custom_id", "job_id"),
        Index("ix_batch_members_linked_from", "batch_id", "linked_from"),
        {"comment": "Lines of a batch and the job of each: its own, or one of an earlier batch"},
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True, comment="The batch")
    line_number: Mapped[int] = mapped_column(primary_key=True, comment="Line of its file, from 1")
    custom_id: Mapped[str | None] = mapped_column(comment="The line's custom_id")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), comment="The line's job")
    linked_from: Mapped[str | None] = mapped_column(comment="Fair key of a job that another intake made; else NULL")


class JobTagRow(Base):
    """A job's label as it is looked up; jobs.tags is what is shown."""

    __tablename__ = "job_tags"
    __table_args__ = (
        Index("ix_job_tags_value", "name", "value", "job_id"),
        {"comment": "Labels of jobs as they are looked up; written once, with the job"},
    )

    name: Mapped[str] = mapped_column(primary_key=True, comment="The label's name")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, comment="Which job has it")
    value: Mapped[str] = mapped_column(comment="What it says")


class JobDependencyRow(Base):
    """What a job waits for before it may be submitted."""

    __tablename__ = "job_dependencies"
    __table_args__ = (
        Index("ix_job_dependencies_parent_id", "parent_id"),
        Index("ix_job_dependencies_batch_id", "batch_id"),
        {"comment": "Which jobs a job waits for before it may be submitted"},
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, comment="The job that waits")
    parent_name: Mapped[str] = mapped_column(primary_key=True, comment="custom_id of the job it waits for")
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), comment="In which batch that name is looked up")
    parent_id: Mapped[str | None] = mapped_column(
        ForeignKey("jobs.id"), comment="The job of that name; NULL until the whole file is in"
    )


class SubmissionRow(Base):
    """One try at the paid call. Inserted once, never deleted.

    Evidence columns go from NULL to a value once. The one refinement: `unknown` may become a definite verdict, and
    then code and message, which explain the verdict, follow it; the history keeps what they said before.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        CheckConstraint("(verdict IS NULL) = (verdict_at IS NULL)", name="verdict_has_time"),
        CheckConstraint("(final_at IS NULL) = (final_answer IS NULL)", name="final_has_answer"),
        CheckConstraint("verdict <> 'accepted' OR task_id IS NOT NULL", name="accepted_has_task"),
        Index(
            "uq_submissions_task_id",
            "credential",
            "task_id",
            unique=True,
            sqlite_where=text("task_id IS NOT NULL"),
            postgresql_where=text("task_id IS NOT NULL"),
        ),
        Index(
            "ix_submissions_slots",
            "credential",
            "model",
            "assumed_life_until",
            sqlite_where=text("slot_released_at IS NULL"),
            postgresql_where=text("slot_released_at IS NULL"),
        ),
        Index(
            "ix_submissions_unknown",
            "credential",
            "verdict_at",
            sqlite_where=text("verdict = 'unknown'"),
            postgresql_where=text("verdict = 'unknown'"),
        ),
        Index(
            "ix_submissions_in_flight",
            "process",
            sqlite_where=text("verdict IS NULL"),
            postgresql_where=text("verdict IS NULL"),
        ),
        Index("ix_submissions_turns", "credential", "model", "fair_key", "intent_at"),
        Index(
            "ix_submissions_charged",
            "fair_key",
            "price_micros",
            sqlite_where=text(MAY_BE_CHARGED),
            postgresql_where=text(MAY_BE_CHARGED),
        ),
        {"comment": "One try at the paid call: the ledger of money and the holder of a slot"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="sub_ and a UUIDv7; the request_id that is sent")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), comment="Whose try")
    number: Mapped[int] = mapped_column(comment="1 for the job's first try")
    origin: Mapped[str] = mapped_column(comment="ours, or adopted: somebody else's task")
    process: Mapped[str] = mapped_column(comment="Journal name of the process that made it")
    credential: Mapped[str] = mapped_column(comment="Whose key")
    kind: Mapped[str] = mapped_column(comment="Copied from the job")
    model: Mapped[str] = mapped_column(comment="Whose slot")
    fair_key: Mapped[str] = mapped_column(comment="Whose turn it was")
    body_sha256: Mapped[str] = mapped_column(comment="Of the body that was to be sent")
    price_micros: Mapped[int | None] = mapped_column(BigInteger(), comment="What it was agreed to cost; millionths")
    price_currency: Mapped[str | None] = mapped_column(comment="ISO 4217")
    price_version: Mapped[str | None] = mapped_column(comment="Which dated table")
    intent_at: Mapped[datetime] = mapped_column(comment="The claim that committed to it")
    assumed_life_until: Mapped[datetime] = mapped_column(comment="Holds its slot no longer, unless it is being polled")
    slot_released_at: Mapped[datetime | None] = mapped_column(comment="Sure refusal, final answer or proven loss")
    moment: Mapped[str | None] = mapped_column(comment="How far the call came: not_sent, sent, answered")
    sent_at: Mapped[datetime | None] = mapped_column(comment="First byte of the request")
    answered_at: Mapped[datetime | None] = mapped_column(comment="Whole answer read")
    http_status: Mapped[int | None] = mapped_column(comment="Of the answer")
    raw_answer: Mapped[str | None] = mapped_column(comment="The answer as text, first 64 KiB")
    result: Mapped[list[Any] | None] = mapped_column(comment="Whole result of an immediate kind, as output drafts")
    verdict: Mapped[str | None] = mapped_column(comment="How the try ended; NULL while in flight")
    verdict_at: Mapped[datetime | None] = mapped_column(comment="When that was stored")
    provider_code: Mapped[str | None] = mapped_column(
        comment="Code behind the verdict: the provider's or a word of ours"
    )
    message: Mapped[str | None] = mapped_column(comment="Words behind the verdict")
    task_id: Mapped[str | None] = mapped_column(comment="The provider's task")
    final_at: Mapped[datetime | None] = mapped_column(comment="When the provider's last word on it was stored")
    final_answer: Mapped[str | None] = mapped_column(comment="SUCCESS, FAIL or lost")
    superseded_at: Mapped[datetime | None] = mapped_column(comment="When an unknown stopped holding its job")
    decided_by: Mapped[str | None] = mapped_column(comment="Who decided about it, if not its own answer")
    decided_why: Mapped[str | None] = mapped_column(comment="Their reason")


class OutputRow(Base):
    """One file that a job made."""

    __tablename__ = "outputs"
    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        CheckConstraint("archived_at IS NULL OR (key IS NOT NULL AND sha256 IS NOT NULL)", name="archived_has_key"),
        CheckConstraint("archived_at IS NULL OR source_url IS NULL", name="archived_has_no_link"),
        {"comment": "One file of a job: where it can be fetched, then where it is archived"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="out_ and a UUIDv7")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), comment="Whose output")
    index: Mapped[int] = mapped_column(comment="Its place in the provider's answer, from 0")
    role: Mapped[str] = mapped_column(comment="image, video, cover, transcript, transcript_json")
    source_url: Mapped[str | None] = mapped_column(comment="The provider's link; cleared once archived")
    text: Mapped[str | None] = mapped_column(comment="Content that came inside the answer")
    source_expires_at: Mapped[datetime | None] = mapped_column(comment="End of the link's life")
    is_expiry_assumed: Mapped[bool] = mapped_column(comment="The link did not say; a setting did")
    attempt_count: Mapped[int] = mapped_column(comment="Tries at fetching or storing that failed")
    ask_count: Mapped[int] = mapped_column(comment="Fresh links asked for")
    dead_links: Mapped[list[Any]] = mapped_column(comment="SHA-256 of links that answered 403, 404 or 410")
    last_error: Mapped[str | None] = mapped_column(comment="Newest trouble")
    upload_id: Mapped[str | None] = mapped_column(comment="Multipart upload under way")
    key: Mapped[str | None] = mapped_column(comment="Archive key below the archive URL")
    byte_count: Mapped[int | None] = mapped_column(BigInteger(), comment="Length as read back")
    sha256: Mapped[str | None] = mapped_column(comment="As read back")
    content_type: Mapped[str | None] = mapped_column(comment="Sniffed from the bytes")
    width: Mapped[int | None] = mapped_column(comment="Pixels")
    height: Mapped[int | None] = mapped_column(comment="Pixels")
    duration_seconds: Mapped[float | None] = mapped_column(comment="Playing time")
    codec: Mapped[str | None] = mapped_column(comment="Of its main track")
    notes: Mapped[list[Any]] = mapped_column(comment="Oddities seen while checking it")
    created_at: Mapped[datetime] = mapped_column(comment="When the provider announced it")
    archived_at: Mapped[datetime | None] = mapped_column(comment="Stored and read back")
    lost_at: Mapped[datetime | None] = mapped_column(comment="Proven gone")


class JobEventRow(Base):
    """The history: append-only, numbered per job."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job_id", "sequence"),
        {"comment": "Every change of state and every note, with time and actor; append-only"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="evt_ and a UUIDv7")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), comment="Whose history")
    sequence: Mapped[int] = mapped_column(comment="Rises by one per job")
    type: Mapped[str] = mapped_column(comment="The trigger: design section 6")
    from_state: Mapped[str | None] = mapped_column(comment="NULL: the job did not exist")
    to_state: Mapped[str | None] = mapped_column(comment="Equal to from_state for a note")
    at: Mapped[datetime] = mapped_column(comment="The transaction's time")
    actor: Mapped[str] = mapped_column(comment="system, or who asked")
    reason: Mapped[str] = mapped_column(comment="In words")
    data: Mapped[dict[str, Any]] = mapped_column(comment="Facts for programs")


class SweepRow(Base):
    """A maintenance task: leased by one process at a time, due again after each run."""

    __tablename__ = "sweeps"
    __table_args__ = ({"comment": "Maintenance tasks: who runs one, when it is due again, what it said"},)

    name: Mapped[str] = mapped_column(primary_key=True, comment="The task; per-host ones end with the host's name")
    due_at: Mapped[datetime] = mapped_column(comment="May be claimed; while leased, the lease's end")
    lease_token: Mapped[str | None] = mapped_column(comment="Held by whoever runs it")
    started_at: Mapped[datetime | None] = mapped_column(comment="Newest claim")
    finished_at: Mapped[datetime | None] = mapped_column(comment="Newest end")
    result: Mapped[str | None] = mapped_column(comment="What the newest run said")


class WebhookEndpointRow(Base):
    """Where events go. Its row is written by its owner, by the lease of the deliver lane and by that lease's result."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint(
            "uses_default_secret OR sealed_secret IS NOT NULL OR deleted_at IS NOT NULL", name="has_secret"
        ),
        CheckConstraint("(sealed_previous IS NULL) = (previous_until IS NULL)", name="previous_has_end"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_has_reason"),
        CheckConstraint("deleted_at IS NULL OR disabled_at IS NOT NULL", name="deleted_is_disabled"),
        CheckConstraint("lease_token IS NULL OR leased_until IS NOT NULL", name="lease_has_end"),
        CheckConstraint("disabled_at IS NULL OR lease_token IS NULL", name="disabled_is_not_leased"),
        Index(
            "uq_webhook_endpoints_owner_url",
            "owner",
            "url",
            unique=True,
            sqlite_where=text("NOT is_global"),
            postgresql_where=text("NOT is_global"),
        ),
        Index(
            "ix_webhook_endpoints_enabled",
            "owner",
            "is_global",
            sqlite_where=text("disabled_at IS NULL"),
            postgresql_where=text("disabled_at IS NULL"),
        ),
        {"comment": "Where events go: for all jobs of an owner, or for those that named it"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="we_ and a UUIDv7")
    owner: Mapped[str] = mapped_column(comment="Whose events it hears")
    url: Mapped[str] = mapped_column(comment="Where it is; judged anew before every attempt")
    patterns: Mapped[list[Any]] = mapped_column(comment="Types it hears, by name or as job.*")
    is_global: Mapped[bool] = mapped_column(comment="Hears all of its owner's; else only of those linked to it")
    uses_default_secret: Mapped[bool] = mapped_column(comment="Signed with the project's secret")
    sealed_secret: Mapped[str | None] = mapped_column(comment="Its own secret, encrypted")
    sealed_previous: Mapped[str | None] = mapped_column(comment="The secret before it, encrypted; signs beside it")
    previous_until: Mapped[datetime | None] = mapped_column(comment="How long the previous secret signs too")
    disabled_at: Mapped[datetime | None] = mapped_column(comment="NULL: it takes events")
    disabled_reason: Mapped[str | None] = mapped_column(comment="gone, failing, deleted, or a person's words")
    deleted_at: Mapped[datetime | None] = mapped_column(comment="Kept for its log alone; its secrets are gone")
    failing_since: Mapped[datetime | None] = mapped_column(comment="First failure since the last success")
    last_success_at: Mapped[datetime | None] = mapped_column(comment="Newest 2xx")
    created_at: Mapped[datetime] = mapped_column(comment="When it was added")
    lease_token: Mapped[str | None] = mapped_column(comment="Held by whoever delivers to it")
    leased_until: Mapped[datetime | None] = mapped_column(
        comment="End of the lease; without one, when its next turn may begin"
    )


class WebhookLinkRow(Base):
    """A job or a batch that named an endpoint."""

    __tablename__ = "webhook_links"
    __table_args__ = (
        CheckConstraint("(job_id IS NULL) <> (batch_id IS NULL)", name="one_subject"),
        UniqueConstraint("job_id", "endpoint_id"),
        UniqueConstraint("batch_id", "endpoint_id"),
        {"comment": "Which job or batch named an endpoint"},
    )
    __mapper_args__ = {"primary_key": ["endpoint_id", "job_id", "batch_id"]}  # noqa: RUF012 - SQLAlchemy's own shape

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"), comment="Which endpoint")
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), comment="The job that named it")
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"), comment="The batch that named it")


class WebhookEventRow(Base):
    """The outbox: written by the transaction that changes the state."""

    __tablename__ = "webhook_events"
    __table_args__ = (
        UniqueConstraint("job_id", "type", "sequence"),
        UniqueConstraint("batch_id", "type", "sequence"),
        {"comment": "What was announced: one body for every endpoint and attempt"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="evt_ and a UUIDv7: the webhook-id of every attempt")
    type: Mapped[str] = mapped_column(comment="As endpoints subscribe to it")
    owner: Mapped[str] = mapped_column(comment="Whose it is")
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), comment="The job it tells of")
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"), comment="The batch it tells of")
    endpoint_id: Mapped[str | None] = mapped_column(
        ForeignKey("webhook_endpoints.id"), comment="The endpoint it tells of"
    )
    sequence: Mapped[int] = mapped_column(comment="The job's at that moment; counts a batch's finishes; else 0")
    body: Mapped[str] = mapped_column(comment="The bytes that are signed and sent")
    created_at: Mapped[datetime] = mapped_column(comment="When the state changed")


class WebhookDeliveryRow(Base):
    """One event on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed', 'cancelled')", name="state_known"),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="pending_is_due"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="ended_is_finished"),
        CheckConstraint("resent_count <= attempt_count", name="resent_after_attempts"),
        UniqueConstraint("event_id", "endpoint_id"),
        Index(
            "ix_webhook_deliveries_pending",
            "endpoint_id",
            "due_at",
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_webhook_deliveries_endpoint_id", "endpoint_id", "id"),
        {"comment": "One event to one endpoint"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="dlv_ and a UUIDv7")
    event_id: Mapped[str] = mapped_column(ForeignKey("webhook_events.id"), comment="What is sent")
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"), comment="Where to")
    state: Mapped[str] = mapped_column(comment="pending, delivered, failed, cancelled")
    attempt_count: Mapped[int] = mapped_column(comment="Attempts made in all")
    resent_count: Mapped[int] = mapped_column(comment="attempt_count when last resent: the schedule begins anew there")
    due_at: Mapped[datetime | None] = mapped_column(comment="Next attempt")
    created_at: Mapped[datetime] = mapped_column(comment="When the event happened")
    finished_at: Mapped[datetime | None] = mapped_column(comment="When it was delivered or given up")


class WebhookAttemptRow(Base):
    """The delivery log: append-only."""

    __tablename__ = "webhook_attempts"
    __table_args__ = ({"comment": "Every attempt at a delivery and what came back; append-only"},)

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_deliveries.id"), primary_key=True, comment="Whose attempt"
    )
    number: Mapped[int] = mapped_column(primary_key=True, comment="From 1, also over resends")
    at: Mapped[datetime] = mapped_column(comment="When it began")
    duration_ms: Mapped[int] = mapped_column(comment="How long it took")
    status: Mapped[int | None] = mapped_column(comment="HTTP status; NULL: no answer came")
    code: Mapped[str | None] = mapped_column(comment="Why it failed; NULL: delivered")
    message: Mapped[str] = mapped_column(comment="In words")
    answer_head: Mapped[str] = mapped_column(comment="Beginning of the answer, redacted")
    next_due_at: Mapped[datetime | None] = mapped_column(comment="When the next attempt was planned")

"""Jobs: what was asked for and how far it has come; what they are searched by; their events.

No CHECK on kind: adding a kind edits one file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base
from orchestrator.domain.states import State

_STATES = ", ".join(f"'{state}'" for state in State)
_FINAL = "state IN ('succeeded', 'failed', 'cancelled')"
_RESTING = "state IN ('succeeded', 'failed', 'cancelled', 'needs_review')"

_SPARSE = {
    name: f"{name} IS NOT NULL"
    for name in ("custom_id", "failure_code", "provider_code", "submitted_at", "finished_at")
}
"""Fields of a job that many have no value of, and that the history is asked by."""


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
        Index(
            "ix_jobs_kept",
            "finished_at",
            "id",
            sqlite_where=text("finished_at IS NOT NULL AND erased_at IS NULL"),
            postgresql_where=text("finished_at IS NOT NULL AND erased_at IS NULL"),
        ),
        Index(
            "ix_jobs_erased",
            "id",
            sqlite_where=text("erased_at IS NOT NULL AND emptied_at IS NULL"),
            postgresql_where=text("erased_at IS NOT NULL AND emptied_at IS NULL"),
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
    erased_at: Mapped[datetime | None] = mapped_column(comment="When retention took its request and its results away")
    emptied_at: Mapped[datetime | None] = mapped_column(
        comment="When its objects were gone from the archive after that"
    )


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

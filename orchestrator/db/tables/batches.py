"""Batches, their lines, and what waits for what."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base


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
    input_erased_at: Mapped[datetime | None] = mapped_column(
        comment="When its job file was taken away: all of its jobs are erased"
    )


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

"""Submissions: every paid call, with its evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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

MAY_BE_CHARGED = "verdict IS NULL OR verdict NOT IN ('not_sent', 'refused', 'rejected', 'throttled')"
"""A submission that was not surely refused (domain.job.SURE_REFUSALS); a query spells it so to use the index."""


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
    last_running_at: Mapped[datetime | None] = mapped_column(
        comment="When whoever heard of the end had last known it to run; NULL: nobody knows"
    )

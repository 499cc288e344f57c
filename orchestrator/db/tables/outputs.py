"""Outputs: what a job has brought, and where it is kept."""

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


class OutputRow(Base):
    """One file that a job made."""

    __tablename__ = "outputs"
    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        CheckConstraint("archived_at IS NULL OR (key IS NOT NULL AND sha256 IS NOT NULL)", name="archived_has_key"),
        CheckConstraint("archived_at IS NULL OR source_url IS NULL", name="archived_has_no_link"),
        Index(
            "ix_outputs_at_risk",
            "at_risk_at",
            "job_id",
            sqlite_where=text("at_risk_at IS NOT NULL"),
            postgresql_where=text("at_risk_at IS NOT NULL"),
        ),
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
    at_risk_at: Mapped[datetime | None] = mapped_column(
        comment="Half of the link's life, to be told of then; NULL: archived, lost, told, or no link"
    )
    erased_at: Mapped[datetime | None] = mapped_column(comment="When retention took it away; what is known of it stays")
    thumbnail_byte_count: Mapped[int | None] = mapped_column(comment="Of the thumbnail beside it; NULL: there is none")
    thumbnail_sha256: Mapped[str | None] = mapped_column(comment="Of the thumbnail")
    thumbnail_width: Mapped[int | None] = mapped_column(comment="Of the thumbnail, pixels")
    thumbnail_height: Mapped[int | None] = mapped_column(comment="Of the thumbnail, pixels")

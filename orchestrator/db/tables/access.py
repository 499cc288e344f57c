"""The tables of the HTTP API: keys, what was asked of us, requests that must not be repeated, uploaded inputs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base


class ApiKeyRow(Base):
    """A key: who holds it and what it is good for."""

    __tablename__ = "api_keys"
    __table_args__ = ({"comment": "Keys of the HTTP API; of a secret only its HMAC is kept"},)

    id: Mapped[str] = mapped_column(primary_key=True, comment="The public part of the key, by which it is found")
    name: Mapped[str] = mapped_column(comment="What people call it")
    role: Mapped[str] = mapped_column(comment="submit, viewer, operator or admin")
    owner: Mapped[str] = mapped_column(comment="Whose things it creates and sees; * sees everybody's")
    secret_hmac: Mapped[str] = mapped_column(comment="HMAC-SHA256 of the secret under the server's key, hexadecimal")
    created_at: Mapped[datetime] = mapped_column(comment="When it was made")
    created_by: Mapped[str] = mapped_column(comment="Who made it")
    expires_at: Mapped[datetime | None] = mapped_column(comment="Not good from then on; NULL: for ever")
    revoked_at: Mapped[datetime | None] = mapped_column(comment="Not good since")


class AuditRow(Base):
    """One mutation that somebody asked for."""

    __tablename__ = "audit_log"
    __table_args__ = ({"comment": "Every mutation asked for through the API, and of keys; append-only"},)

    id: Mapped[str] = mapped_column(primary_key=True, comment="aud_ and a UUIDv7")
    at: Mapped[datetime] = mapped_column(comment="The transaction's time")
    actor: Mapped[str] = mapped_column(comment="key:<id>, or local for the command line")
    action: Mapped[str] = mapped_column(comment="What was asked for, such as job.cancel")
    subject: Mapped[str] = mapped_column(comment="Id of the thing")
    owner: Mapped[str] = mapped_column(comment="Whose thing it is")
    reason: Mapped[str] = mapped_column(comment="In the words of whoever asked")
    count: Mapped[int] = mapped_column(comment="How many things it touches")


class IdempotencyRow(Base):
    """A use of an idempotency key."""

    __tablename__ = "idempotency"
    __table_args__ = (
        UniqueConstraint("owner", "key"),
        Index("ix_idempotency_begun_at", "begun_at"),
        {"comment": "Requests with an idempotency key, kept for seven days"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="idem_ and a UUIDv7")
    owner: Mapped[str] = mapped_column(comment="Whose key: two owners may use the same")
    key: Mapped[str] = mapped_column(comment="As the caller wrote it")
    request_sha256: Mapped[str] = mapped_column(comment="Of the request; another one under this key is refused")
    job_id: Mapped[str] = mapped_column(comment="What it made, in the same transaction")
    begun_at: Mapped[datetime] = mapped_column(comment="When it was used")


class FileRow(Base):
    """An input that was uploaded through the API."""

    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_owner", "owner", "id"),
        {"comment": "Uploaded inputs by owner; the bytes lie once per content under inputs/<sha256> of the archive"},
    )

    id: Mapped[str] = mapped_column(primary_key=True, comment="file_ and a UUIDv7: how requests name it")
    owner: Mapped[str] = mapped_column(comment="Who may name it")
    name: Mapped[str] = mapped_column(comment="As its uploader called it")
    sha256: Mapped[str] = mapped_column(comment="Of the bytes")
    byte_count: Mapped[int] = mapped_column(BigInteger(), comment="Length")
    content_type: Mapped[str | None] = mapped_column(comment="Sniffed from the bytes")
    width: Mapped[int | None] = mapped_column(comment="Pixels")
    height: Mapped[int | None] = mapped_column(comment="Pixels")
    duration_seconds: Mapped[float | None] = mapped_column(comment="Playing time")
    archive_url: Mapped[str] = mapped_column(comment="Where its bytes are")
    created_at: Mapped[datetime] = mapped_column(comment="When it was uploaded")

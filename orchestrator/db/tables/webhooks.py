"""Webhook endpoints, who named them, the outbox and its deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base


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

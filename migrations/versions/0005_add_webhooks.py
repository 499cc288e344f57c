"""Webhooks: endpoints, who named them, the outbox of events, deliveries and their attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005_add_webhooks"
down_revision = "0004_index_charged_submissions"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    _create_endpoints()
    _create_links()
    _create_events()
    _create_deliveries()
    _create_attempts()


def downgrade() -> None:
    for table in ("attempts", "deliveries", "events", "links", "endpoints"):
        op.drop_table(f"webhook_{table}")


def _create_endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text(), nullable=False, comment="we_ and a UUIDv7"),
        sa.Column("owner", sa.Text(), nullable=False, comment="Whose events it hears"),
        sa.Column("url", sa.Text(), nullable=False, comment="Where it is; judged anew before every attempt"),
        sa.Column("patterns", JSON, nullable=False, comment="Types it hears, by name or as job.*"),
        sa.Column(
            "is_global",
            sa.Boolean(),
            nullable=False,
            comment="Hears all of its owner's; else only of those linked to it",
        ),
        sa.Column("uses_default_secret", sa.Boolean(), nullable=False, comment="Signed with the project's secret"),
        sa.Column("sealed_secret", sa.Text(), nullable=True, comment="Its own secret, encrypted"),
        sa.Column(
            "sealed_previous", sa.Text(), nullable=True, comment="The secret before it, encrypted; signs beside it"
        ),
        sa.Column("previous_until", UTC, nullable=True, comment="How long the previous secret signs too"),
        sa.Column("disabled_at", UTC, nullable=True, comment="NULL: it takes events"),
        sa.Column("disabled_reason", sa.Text(), nullable=True, comment="gone, failing, deleted, or a person's words"),
        sa.Column("deleted_at", UTC, nullable=True, comment="Kept for its log alone; its secrets are gone"),
        sa.Column("failing_since", UTC, nullable=True, comment="First failure since the last success"),
        sa.Column("last_success_at", UTC, nullable=True, comment="Newest 2xx"),
        sa.Column("created_at", UTC, nullable=False, comment="When it was added"),
        sa.Column("lease_token", sa.Text(), nullable=True, comment="Held by whoever delivers to it"),
        sa.Column(
            "leased_until", UTC, nullable=True, comment="End of the lease; without one, when its next turn may begin"
        ),
        sa.CheckConstraint(
            "deleted_at IS NULL OR disabled_at IS NOT NULL", name=op.f("ck_webhook_endpoints_deleted_is_disabled")
        ),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoints_disabled_has_reason")
        ),
        sa.CheckConstraint(
            "disabled_at IS NULL OR lease_token IS NULL", name=op.f("ck_webhook_endpoints_disabled_is_not_leased")
        ),
        sa.CheckConstraint(
            "uses_default_secret OR sealed_secret IS NOT NULL OR deleted_at IS NOT NULL",
            name=op.f("ck_webhook_endpoints_has_secret"),
        ),
        sa.CheckConstraint(
            "lease_token IS NULL OR leased_until IS NOT NULL", name=op.f("ck_webhook_endpoints_lease_has_end")
        ),
        sa.CheckConstraint(
            "(sealed_previous IS NULL) = (previous_until IS NULL)", name=op.f("ck_webhook_endpoints_previous_has_end")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
        comment="Where events go: for all jobs of an owner, or for those that named it",
    )
    op.create_index(
        "ix_webhook_endpoints_enabled",
        "webhook_endpoints",
        ["owner", "is_global"],
        unique=False,
        sqlite_where=sa.text("disabled_at IS NULL"),
        postgresql_where=sa.text("disabled_at IS NULL"),
    )
    op.create_index(
        "uq_webhook_endpoints_owner_url",
        "webhook_endpoints",
        ["owner", "url"],
        unique=True,
        sqlite_where=sa.text("NOT is_global"),
        postgresql_where=sa.text("NOT is_global"),
    )


def _create_links() -> None:
    op.create_table(
        "webhook_links",
        sa.Column("endpoint_id", sa.Text(), nullable=False, comment="Which endpoint"),
        sa.Column("job_id", sa.Text(), nullable=True, comment="The job that named it"),
        sa.Column("batch_id", sa.Text(), nullable=True, comment="The batch that named it"),
        sa.CheckConstraint("(job_id IS NULL) <> (batch_id IS NULL)", name=op.f("ck_webhook_links_one_subject")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_webhook_links_batch_id"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_links_endpoint_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_webhook_links_job_id"),
        sa.UniqueConstraint("batch_id", "endpoint_id", name="uq_webhook_links_batch_id_endpoint_id"),
        sa.UniqueConstraint("job_id", "endpoint_id", name="uq_webhook_links_job_id_endpoint_id"),
        comment="Which job or batch named an endpoint",
    )


def _create_events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Text(), nullable=False, comment="evt_ and a UUIDv7: the webhook-id of every attempt"),
        sa.Column("type", sa.Text(), nullable=False, comment="As endpoints subscribe to it"),
        sa.Column("owner", sa.Text(), nullable=False, comment="Whose it is"),
        sa.Column("job_id", sa.Text(), nullable=True, comment="The job it tells of"),
        sa.Column("batch_id", sa.Text(), nullable=True, comment="The batch it tells of"),
        sa.Column("endpoint_id", sa.Text(), nullable=True, comment="The endpoint it tells of"),
        sa.Column(
            "sequence",
            sa.Integer(),
            nullable=False,
            comment="The job's at that moment; counts a batch's finishes; else 0",
        ),
        sa.Column("body", sa.Text(), nullable=False, comment="The bytes that are signed and sent"),
        sa.Column("created_at", UTC, nullable=False, comment="When the state changed"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_webhook_events_batch_id"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_events_endpoint_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_webhook_events_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
        sa.UniqueConstraint("batch_id", "type", "sequence", name="uq_webhook_events_batch_id_type_sequence"),
        sa.UniqueConstraint("job_id", "type", "sequence", name="uq_webhook_events_job_id_type_sequence"),
        comment="What was announced: one body for every endpoint and attempt",
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text(), nullable=False, comment="dlv_ and a UUIDv7"),
        sa.Column("event_id", sa.Text(), nullable=False, comment="What is sent"),
        sa.Column("endpoint_id", sa.Text(), nullable=False, comment="Where to"),
        sa.Column("state", sa.Text(), nullable=False, comment="pending, delivered, failed, cancelled"),
        sa.Column("attempt_count", sa.Integer(), nullable=False, comment="Attempts made in all"),
        sa.Column(
            "resent_count",
            sa.Integer(),
            nullable=False,
            comment="attempt_count when last resent: the schedule begins anew there",
        ),
        sa.Column("due_at", UTC, nullable=True, comment="Next attempt"),
        sa.Column("created_at", UTC, nullable=False, comment="When the event happened"),
        sa.Column("finished_at", UTC, nullable=True, comment="When it was delivered or given up"),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name=op.f("ck_webhook_deliveries_ended_is_finished")
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (due_at IS NOT NULL)", name=op.f("ck_webhook_deliveries_pending_is_due")
        ),
        sa.CheckConstraint("resent_count <= attempt_count", name=op.f("ck_webhook_deliveries_resent_after_attempts")),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'cancelled')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_deliveries_endpoint_id"),
        sa.ForeignKeyConstraint(["event_id"], ["webhook_events.id"], name="fk_webhook_deliveries_event_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("event_id", "endpoint_id", name="uq_webhook_deliveries_event_id_endpoint_id"),
        comment="One event to one endpoint",
    )
    op.create_index("ix_webhook_deliveries_endpoint_id", "webhook_deliveries", ["endpoint_id", "id"], unique=False)
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["endpoint_id", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )


def _create_attempts() -> None:
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False, comment="Whose attempt"),
        sa.Column("number", sa.Integer(), nullable=False, comment="From 1, also over resends"),
        sa.Column("at", UTC, nullable=False, comment="When it began"),
        sa.Column("duration_ms", sa.Integer(), nullable=False, comment="How long it took"),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status; NULL: no answer came"),
        sa.Column("code", sa.Text(), nullable=True, comment="Why it failed; NULL: delivered"),
        sa.Column("message", sa.Text(), nullable=False, comment="In words"),
        sa.Column("answer_head", sa.Text(), nullable=False, comment="Beginning of the answer, redacted"),
        sa.Column("next_due_at", UTC, nullable=True, comment="When the next attempt was planned"),
        sa.ForeignKeyConstraint(["delivery_id"], ["webhook_deliveries.id"], name="fk_webhook_attempts_delivery_id"),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_webhook_attempts"),
        comment="Every attempt at a delivery and what came back; append-only",
    )

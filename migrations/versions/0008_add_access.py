"""Keys of the HTTP API, the audit log, idempotency keys and uploaded inputs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_add_access"
down_revision = "0007_add_model_slot_limits"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")

OWNED = ("jobs", "batches")


def upgrade() -> None:
    _create_api_keys()
    _create_audit_log()
    _create_idempotency()
    _create_files()
    for table in OWNED:  # a page of one owner is read along it, however few of the rows are theirs
        op.create_index(f"ix_{table}_owner", table, ["owner", "id"])


def downgrade() -> None:
    for table in OWNED:
        op.drop_index(f"ix_{table}_owner", table)
    for name in ("files", "idempotency", "audit_log", "api_keys"):
        op.drop_table(name)


def _text(name: str, comment: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, comment=comment)


def _time(name: str, comment: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, UTC, nullable=nullable, comment=comment)


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        _text("id", "The public part of the key, by which it is found"),
        _text("name", "What people call it"),
        _text("role", "submit, viewer, operator or admin"),
        _text("owner", "Whose things it creates and sees; * sees everybody's"),
        _text("secret_hmac", "HMAC-SHA256 of the secret under the server's key, hexadecimal"),
        _time("created_at", "When it was made"),
        _text("created_by", "Who made it"),
        _time("expires_at", "Not good from then on; NULL: for ever", nullable=True),
        _time("revoked_at", "Not good since", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        comment="Keys of the HTTP API; of a secret only its HMAC is kept",
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        _text("id", "aud_ and a UUIDv7"),
        _time("at", "The transaction's time"),
        _text("actor", "key:<id>, or local for the command line"),
        _text("action", "What was asked for, such as job.cancel"),
        _text("subject", "Id of the thing"),
        _text("owner", "Whose thing it is"),
        _text("reason", "In the words of whoever asked"),
        sa.Column("count", sa.Integer(), nullable=False, comment="How many things it touches"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        comment="Every mutation asked for through the API, and of keys; append-only",
    )


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        _text("id", "idem_ and a UUIDv7"),
        _text("owner", "Whose key: two owners may use the same"),
        _text("key", "As the caller wrote it"),
        _text("request_sha256", "Of the request; another one under this key is refused"),
        _text("job_id", "What it made, in the same transaction"),
        _time("begun_at", "When it was used"),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency"),
        sa.UniqueConstraint("owner", "key", name="uq_idempotency_owner_key"),
        comment="Requests with an idempotency key, kept for seven days",
    )
    op.create_index("ix_idempotency_begun_at", "idempotency", ["begun_at"])


def _create_files() -> None:
    op.create_table(
        "files",
        _text("id", "file_ and a UUIDv7: how requests name it"),
        _text("owner", "Who may name it"),
        _text("name", "As its uploader called it"),
        _text("sha256", "Of the bytes"),
        sa.Column("byte_count", sa.BigInteger(), nullable=False, comment="Length"),
        _text("content_type", "Sniffed from the bytes", nullable=True),
        sa.Column("width", sa.Integer(), nullable=True, comment="Pixels"),
        sa.Column("height", sa.Integer(), nullable=True, comment="Pixels"),
        sa.Column("duration_seconds", sa.Float(), nullable=True, comment="Playing time"),
        _text("archive_url", "Where its bytes are"),
        _time("created_at", "When it was uploaded"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        comment="Uploaded inputs by owner; the bytes lie once per content under inputs/<sha256> of the archive",
    )
    op.create_index("ix_files_owner", "files", ["owner", "id"])

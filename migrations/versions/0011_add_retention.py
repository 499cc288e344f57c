"""Rules about how long results are kept, and when a job's results were taken away by one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_add_retention"
down_revision = "0010_add_last_running_at"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
KEPT = sa.text("finished_at IS NOT NULL AND erased_at IS NULL")
ERASED = sa.text("erased_at IS NOT NULL AND emptied_at IS NULL")
INPUT_ERASED = "When its job file was taken away: all of its jobs are erased"


def upgrade() -> None:
    op.create_table(
        "retention_rules",
        sa.Column("selector", sa.Text(), nullable=False, comment="Which jobs: kind:, tag:, batch:, job: or *"),
        sa.Column("keep_seconds", sa.BigInteger(), comment="After their end; NULL: for ever (a hold)"),
        sa.Column("reason", sa.Text(), nullable=False, comment="In the words of whoever made it"),
        sa.Column("created_at", UTC, nullable=False, comment="When it was made or last changed"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="By whom"),
        sa.Column("agreed_at", UTC, comment="When somebody agreed to what it deletes; NULL: it deletes nothing yet"),
        sa.PrimaryKeyConstraint("selector", name="pk_retention_rules"),
        comment="How long the results of which jobs are kept",
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("erased_at", UTC, comment="When retention took its request and its results away"))
        jobs.add_column(sa.Column("emptied_at", UTC, comment="When its objects were gone from the archive after that"))
    with op.batch_alter_table("outputs") as outputs:
        outputs.add_column(
            sa.Column("erased_at", UTC, comment="When retention took it away; what is known of it stays")
        )
    with op.batch_alter_table("batches") as batches:
        batches.add_column(sa.Column("input_erased_at", UTC, comment=INPUT_ERASED))
    op.create_index("ix_jobs_kept", "jobs", ["finished_at", "id"], sqlite_where=KEPT, postgresql_where=KEPT)
    op.create_index("ix_jobs_erased", "jobs", ["id"], sqlite_where=ERASED, postgresql_where=ERASED)


def downgrade() -> None:
    op.drop_index("ix_jobs_erased", table_name="jobs")
    op.drop_index("ix_jobs_kept", table_name="jobs")
    with op.batch_alter_table("batches") as batches:
        batches.drop_column("input_erased_at")
    with op.batch_alter_table("outputs") as outputs:
        outputs.drop_column("erased_at")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("emptied_at")
        jobs.drop_column("erased_at")
    op.drop_table("retention_rules")

"""Batches with a budget, a parent, refused lines and files to write; jobs that wait for other jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_add_batch_families"
down_revision = "0001_create_first_tables"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
FILES_DUE = sa.text("finished_at IS NOT NULL AND files_written_at IS NULL")


def upgrade() -> None:
    _extend_batches()
    _create_job_dependencies()


def downgrade() -> None:
    op.drop_table("job_dependencies")
    with op.batch_alter_table("batches") as batches:
        batches.drop_index("ix_batches_files_due")
        batches.drop_index("ix_batches_parent_id")
        batches.drop_constraint("files_after_finish", type_="check")
        batches.drop_constraint("fk_batches_parent_id", type_="foreignkey")
        for name in ("max_cost_micros", "parent_id", "refused_count", "cancel_requested_at", "files_written_at"):
            batches.drop_column(name)


def _extend_batches() -> None:
    with op.batch_alter_table("batches") as batches:
        batches.add_column(
            sa.Column(
                "max_cost_micros",
                sa.BigInteger(),
                nullable=True,
                comment="What its jobs may cost, millionths of the table's currency; NULL: no limit",
            )
        )
        batches.add_column(
            sa.Column("parent_id", sa.Text(), nullable=True, comment="Batch whose members it tries again")
        )
        batches.add_column(
            sa.Column(
                "refused_count",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="Lines left out because they were wrong",
            )
        )
        batches.add_column(
            sa.Column(
                "cancel_requested_at",
                UTC,
                nullable=True,
                comment="When its cancellation was asked for: lines that are not in yet stay out",
            )
        )
        batches.add_column(
            sa.Column(
                "files_written_at",
                UTC,
                nullable=True,
                comment="When its results went to the archive; NULL after each finish",
            )
        )
        batches.create_foreign_key("fk_batches_parent_id", "batches", ["parent_id"], ["id"])
        batches.create_check_constraint("files_after_finish", "files_written_at IS NULL OR finished_at IS NOT NULL")
    with op.batch_alter_table("batches") as batches:
        batches.alter_column("refused_count", server_default=None)
    op.create_index("ix_batches_parent_id", "batches", ["parent_id"])
    op.create_index("ix_batches_files_due", "batches", ["id"], sqlite_where=FILES_DUE, postgresql_where=FILES_DUE)


def _create_job_dependencies() -> None:
    op.create_table(
        "job_dependencies",
        sa.Column("job_id", sa.Text(), nullable=False, comment="The job that waits"),
        sa.Column("parent_name", sa.Text(), nullable=False, comment="custom_id of the job it waits for"),
        sa.Column("batch_id", sa.Text(), nullable=False, comment="In which batch that name is looked up"),
        sa.Column(
            "parent_id",
            sa.Text(),
            nullable=True,
            comment="The job of that name; NULL until the whole file is in",
        ),
        sa.PrimaryKeyConstraint("job_id", "parent_name", name="pk_job_dependencies"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_dependencies_job_id"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_job_dependencies_batch_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name="fk_job_dependencies_parent_id"),
        comment="Which jobs a job waits for before it may be submitted",
    )
    op.create_index("ix_job_dependencies_parent_id", "job_dependencies", ["parent_id"])
    op.create_index("ix_job_dependencies_batch_id", "job_dependencies", ["batch_id"])

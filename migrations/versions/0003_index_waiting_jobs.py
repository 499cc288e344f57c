"""An index of the jobs that wait for others: the sweep looks for those that wait for nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_index_waiting_jobs"
down_revision = "0002_add_batch_families"
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'queued' AND waiting_on_count > 0")


def upgrade() -> None:
    op.create_index("ix_jobs_waiting", "jobs", ["state", "id"], sqlite_where=WAITING, postgresql_where=WAITING)


def downgrade() -> None:
    op.drop_index("ix_jobs_waiting", "jobs")

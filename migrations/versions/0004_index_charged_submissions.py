"""An index that adds up what a batch's submissions cost or may cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_index_charged_submissions"
down_revision = "0003_index_waiting_jobs"
branch_labels = None
depends_on = None

CHARGED = sa.text("verdict IS NULL OR verdict NOT IN ('not_sent', 'refused', 'rejected', 'throttled')")


def upgrade() -> None:
    op.create_index(
        "ix_submissions_charged",
        "submissions",
        ["fair_key", "price_micros"],
        sqlite_where=CHARGED,
        postgresql_where=CHARGED,
    )


def downgrade() -> None:
    op.drop_index("ix_submissions_charged", table_name="submissions")

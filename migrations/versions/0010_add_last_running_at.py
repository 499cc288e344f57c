"""When a task was last known to run before its end was heard of: how late ends are noticed can then be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_add_last_running_at"
down_revision = "0009_add_output_at_risk"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
COMMENT = "When whoever heard of the end had last known it to run; NULL: nobody knows"


def upgrade() -> None:
    with op.batch_alter_table("submissions") as submissions:
        submissions.add_column(sa.Column("last_running_at", UTC, nullable=True, comment=COMMENT))


def downgrade() -> None:
    with op.batch_alter_table("submissions") as submissions:
        submissions.drop_column("last_running_at")

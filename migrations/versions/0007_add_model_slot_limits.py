"""A person's own limit of a model's slots, over that of the settings of every process."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_add_model_slot_limits"
down_revision = "0006_add_history_search"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("model_limits") as limits:
        limits.add_column(
            sa.Column("slot_limit", sa.Integer(), nullable=True, comment="Most in flight; NULL: as the settings say")
        )
        limits.create_check_constraint("slot_limit_positive", "slot_limit IS NULL OR slot_limit >= 1")


def downgrade() -> None:
    with op.batch_alter_table("model_limits") as limits:
        limits.drop_constraint("slot_limit_positive", type_="check")
        limits.drop_column("slot_limit")

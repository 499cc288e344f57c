"""What is known of the thumbnail beside an archived output. Older outputs have none until somebody asks for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_add_thumbnails"
down_revision = "0011_add_retention"
branch_labels = None
depends_on = None

COLUMNS = (
    ("thumbnail_byte_count", sa.Integer(), "Of the thumbnail beside it; NULL: there is none"),
    ("thumbnail_sha256", sa.Text(), "Of the thumbnail"),
    ("thumbnail_width", sa.Integer(), "Of the thumbnail, pixels"),
    ("thumbnail_height", sa.Integer(), "Of the thumbnail, pixels"),
)


def upgrade() -> None:
    with op.batch_alter_table("outputs") as outputs:
        for name, kind, comment in COLUMNS:
            outputs.add_column(sa.Column(name, kind, nullable=True, comment=comment))


def downgrade() -> None:
    with op.batch_alter_table("outputs") as outputs:
        for name, _, _ in COLUMNS:
            outputs.drop_column(name)

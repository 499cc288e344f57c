"""When half of an output's link has passed, with an index: the sweep tells of outputs that are not archived by then."""

from __future__ import annotations

from datetime import UTC as ZONE
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0009_add_output_at_risk"
down_revision = "0008_add_access"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
OPEN = sa.text("at_risk_at IS NOT NULL")
OUTPUTS = sa.table(
    "outputs",
    sa.column("id", sa.Text()),
    sa.column("created_at", UTC),
    sa.column("source_expires_at", UTC),
    sa.column("archived_at", UTC),
    sa.column("lost_at", UTC),
    sa.column("at_risk_at", UTC),
)


def upgrade() -> None:
    with op.batch_alter_table("outputs") as outputs:
        outputs.add_column(
            sa.Column(
                "at_risk_at",
                UTC,
                nullable=True,
                comment="Half of the link's life, to be told of then; NULL: archived, lost, told, or no link",
            )
        )
    _fill(op.get_bind())
    op.create_index("ix_outputs_at_risk", "outputs", ["at_risk_at", "job_id"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("ix_outputs_at_risk", table_name="outputs")
    with op.batch_alter_table("outputs") as outputs:
        outputs.drop_column("at_risk_at")


def _fill(connection: sa.Connection) -> None:
    """What is still to be fetched is told of too; those are few beside what is archived."""
    columns = OUTPUTS.c
    waiting = columns.archived_at.is_(None) & columns.lost_at.is_(None) & columns.source_expires_at.is_not(None)
    query = sa.select(columns.id, columns.created_at, columns.source_expires_at).where(waiting)
    rows = [
        {"of_id": row.id, "half": _half(row.created_at, row.source_expires_at)} for row in connection.execute(query)
    ]
    if rows:
        fill = sa.update(OUTPUTS).where(columns.id == sa.bindparam("of_id"))
        connection.execute(fill.values(at_risk_at=sa.bindparam("half", type_=UTC)), rows)


def _half(created: datetime | str, expires: datetime | str) -> datetime | str:
    if isinstance(created, datetime) and isinstance(expires, datetime):
        return created + (expires - created) / 2
    half = _half(datetime.fromisoformat(str(created)), datetime.fromisoformat(str(expires)))
    assert isinstance(half, datetime)
    return half.astimezone(ZONE).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

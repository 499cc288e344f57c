"""Rules about how long results are kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base


class RetentionRuleRow(Base):
    """One rule; the closest one to a job holds for it."""

    __tablename__ = "retention_rules"
    __table_args__ = ({"comment": "How long the results of which jobs are kept"},)

    selector: Mapped[str] = mapped_column(primary_key=True, comment="Which jobs: kind:, tag:, batch:, job: or *")
    keep_seconds: Mapped[int | None] = mapped_column(BigInteger(), comment="After their end; NULL: for ever (a hold)")
    reason: Mapped[str] = mapped_column(comment="In the words of whoever made it")
    created_at: Mapped[datetime] = mapped_column(comment="When it was made or last changed")
    created_by: Mapped[str] = mapped_column(comment="By whom")
    agreed_at: Mapped[datetime | None] = mapped_column(
        comment="When somebody agreed to what it deletes; NULL: it deletes nothing yet"
    )

"""Credentials and models: pauses, limits, and when maintenance ran."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.tables.base import Base


class PauseColumns:
    """Submitting and polling pause apart; a passed pause ends by one probe's answer (design section 7)."""

    submit_paused_until: Mapped[datetime | None] = mapped_column(
        sort_order=1, comment="No submit claim before; passed: one probe"
    )
    submit_pause_code: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Provider code that set the submit pause"
    )
    submit_pause_message: Mapped[str | None] = mapped_column(sort_order=1, comment="Its words")
    submit_probe_id: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Submission that probes whether the pause is over"
    )
    poll_paused_until: Mapped[datetime | None] = mapped_column(
        sort_order=1, comment="No poll claim before; passed: one probe"
    )
    poll_pause_code: Mapped[str | None] = mapped_column(sort_order=1, comment="Provider code that set the poll pause")
    poll_pause_message: Mapped[str | None] = mapped_column(sort_order=1, comment="Its words")
    poll_probe_id: Mapped[str | None] = mapped_column(
        sort_order=1, comment="Job whose poll probes whether the pause is over"
    )


class CredentialRow(PauseColumns, Base):
    """A credential's pauses. The first lock of every submit claim."""

    __tablename__ = "credentials"
    __table_args__ = ({"comment": "Names of credentials and what they wait for; keys are settings, never rows"},)

    name: Mapped[str] = mapped_column(primary_key=True, comment="As named in the settings")


class ModelLimitRow(PauseColumns, Base):
    """A model's pauses under one credential; locked, in name order, before its slots are counted."""

    __tablename__ = "model_limits"
    __table_args__ = (
        CheckConstraint("slot_limit IS NULL OR slot_limit >= 1", name="slot_limit_positive"),
        {"comment": "One row per credential and model: the lock under which its slots are counted"},
    )

    credential: Mapped[str] = mapped_column(primary_key=True, comment="Whose requests")
    model: Mapped[str] = mapped_column(primary_key=True, comment="The provider's model name")
    slot_limit: Mapped[int | None] = mapped_column(sort_order=2, comment="Most in flight; NULL: as the settings say")


class SweepRow(Base):
    """A maintenance task: leased by one process at a time, due again after each run."""

    __tablename__ = "sweeps"
    __table_args__ = ({"comment": "Maintenance tasks: who runs one, when it is due again, what it said"},)

    name: Mapped[str] = mapped_column(primary_key=True, comment="The task; per-host ones end with the host's name")
    due_at: Mapped[datetime] = mapped_column(comment="May be claimed; while leased, the lease's end")
    lease_token: Mapped[str | None] = mapped_column(comment="Held by whoever runs it")
    started_at: Mapped[datetime | None] = mapped_column(comment="Newest claim")
    finished_at: Mapped[datetime | None] = mapped_column(comment="Newest end")
    result: Mapped[str | None] = mapped_column(comment="What the newest run said")

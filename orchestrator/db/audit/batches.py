"""The rules of `batches` and their members."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, select

from orchestrator.db.audit.jobs import MEMBERS, SWEEP_GRACE
from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.rows import JOBS, table_of
from orchestrator.db.tables import BatchRow
from orchestrator.domain.states import ACTIVE

BATCHES = table_of(BatchRow)
INTAKE_TIME = timedelta(hours=1)
_is_active = JOBS.c.state.in_(sorted(ACTIVE))


def select_batches(span: Span) -> Select[tuple[object, ...]]:
    """Return the batches of a span."""
    row = BATCHES.c
    first = _members_where(_is_active).with_only_columns(func.min(JOBS.c.id)).scalar_subquery().label("job")
    columns = (row.id.label("subject"), row.name, row.line_count, _count_members().label("members"), first)
    return select(*columns).where(span.of(row.id))


def batch_rules(now: datetime) -> list[RowRule]:
    """Return the rules over single batches. A sweep closes what has just ended: that takes its time."""
    row = BATCHES.c
    has_active = exists(_members_where(_is_active))
    is_fresh = exists(_members_where(JOBS.c.finished_at > now - SWEEP_GRACE))
    is_running = and_(row.finished_at.is_(None), row.intake_done_at < now - SWEEP_GRACE)
    is_whole = and_(row.intake_done_at.is_not(None), row.cancel_requested_at.is_(None))
    return [
        RowRule("batch_not_closed", and_(is_running, not_(has_active), not_(is_fresh))),
        RowRule("batch_closed_early", and_(row.finished_at.is_not(None), has_active)),
        RowRule("batch_intake_open", and_(row.intake_done_at.is_(None), row.created_at < now - INTAKE_TIME)),
        RowRule("batch_lines_missing", and_(is_whole, _count_members() != row.line_count)),
    ]


def _members_where(condition: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    joined: Select[tuple[object, ...]] = select(MEMBERS.c.job_id).join(JOBS, JOBS.c.id == MEMBERS.c.job_id)
    return joined.where(MEMBERS.c.batch_id == BATCHES.c.id, condition).correlate(BATCHES)


def _count_members() -> ColumnElement[int]:
    return select(func.count()).where(MEMBERS.c.batch_id == BATCHES.c.id).correlate(BATCHES).scalar_subquery()

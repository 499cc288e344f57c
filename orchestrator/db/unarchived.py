"""The UnarchivedOutputs port: what is not archived yet, in the order in which its links die."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, tuple_, update

from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS, OUTPUTS, load_outputs, read_job
from orchestrator.db.types import Utc
from orchestrator.domain.ports.unarchived import Unarchived
from orchestrator.domain.states import State

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""Sorts what has no link's end behind everything that has one."""
OPEN = (State.PROCESSING, State.ARCHIVING, State.NEEDS_REVIEW)
ENDED = (State.FAILED, State.CANCELLED)


class SqlUnarchived:
    """Reads of outputs that are still to be archived."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_unarchived(
        self, *, now: datetime, before: datetime | None = None, after: Unarchived | None = None, limit: int = 500
    ) -> Sequence[Unarchived]:
        """Return a page behind `after`, those whose links die first."""
        query = _select_open(now)
        if before is not None:
            query = query.where(OUTPUTS.c.source_expires_at <= before)
        if after is not None:
            query = query.where(_is_behind(after))
        query = query.order_by(_end(), OUTPUTS.c.id).limit(limit)
        return self._database.read(lambda c: _load(c, query))

    def count_running(self) -> int:
        """Count the jobs in `processing` that have no output yet; those that have one wait for a fresh link."""
        has_output = select(OUTPUTS.c.id).where(OUTPUTS.c.job_id == JOBS.c.id).exists()
        query = select(func.count()).select_from(JOBS).where(JOBS.c.state == State.PROCESSING, ~has_output)
        return self._database.read(lambda c: c.execute(query).scalar_one())

    def hurry(self) -> int:
        """Bring forward what waits for its next try or question. A lease is left alone: its holder is at work."""
        database = self._database
        waits = and_(JOBS.c.state.in_((State.ARCHIVING, State.PROCESSING)), JOBS.c.lease_token.is_(None))

        def work(connection: Connection) -> int:
            now = database.now(connection)
            hurried = update(JOBS).where(waits, JOBS.c.due_at > now).values(due_at=now)
            return len(connection.execute(hurried.returning(JOBS.c.id)).all())

        return database.write(work)


def _select_open(now: datetime) -> Select[str, str]:
    """`jobs.source_expires_at` is set while an output of the job has a link's end: it spares most of the failed ones."""
    is_open = JOBS.c.state.in_(OPEN)
    can_be_fetched = and_(
        JOBS.c.state.in_(ENDED), JOBS.c.source_expires_at.is_not(None), OUTPUTS.c.source_expires_at > now
    )
    joined = OUTPUTS.join(JOBS, JOBS.c.id == OUTPUTS.c.job_id)
    query = select(OUTPUTS.c.id, OUTPUTS.c.job_id).select_from(joined)
    missing = query.where(OUTPUTS.c.archived_at.is_(None), OUTPUTS.c.lost_at.is_(None), OUTPUTS.c.erased_at.is_(None))
    return missing.where(or_(is_open, can_be_fetched))


def _end() -> ColumnElement[datetime]:
    return func.coalesce(OUTPUTS.c.source_expires_at, literal(NEVER, Utc()))


def _is_behind(last: Unarchived) -> ColumnElement[bool]:
    place = (literal(last.output.source_expires_at or NEVER, Utc()), literal(last.output.id))
    return tuple_(_end(), OUTPUTS.c.id) > tuple_(*place)


def _load(connection: Connection, query: Select[str, str]) -> list[Unarchived]:
    rows = connection.execute(query).all()
    job_ids = sorted({row.job_id for row in rows})
    outputs = load_outputs(connection, job_ids) if job_ids else {}
    by_id = {output.id: output for some in outputs.values() for output in some}
    found = connection.execute(select(JOBS).where(JOBS.c.id.in_(job_ids))).mappings() if job_ids else ()
    jobs = {row["id"]: read_job(row, outputs=outputs[row["id"]]) for row in found}
    return [Unarchived(jobs[row.job_id], by_id[row.id]) for row in rows]

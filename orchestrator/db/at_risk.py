"""Outputs that are not archived after half of their link's life: told once a job, in one transaction with the event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, update

from orchestrator.db import outbox
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS, EventDraft, append_events
from orchestrator.db.rows import JOBS, OUTPUTS
from orchestrator.domain.states import State, Trigger
from orchestrator.domain.webhooks import AT_RISK

LIVE = (State.PROCESSING, State.ARCHIVING)
"""An output is fetched, or a fresh link is asked for. What rests waits for a person, and is told of by its state."""


def tell_at_risk(connection: Connection, *, limit: int, database: Database) -> tuple[str, ...]:
    """Write the event of jobs that have come to be at risk, those whose links die first; return their ids.

    The jobs are locked first and looked at in a new statement: an output archived meanwhile is then seen. Leases stay.
    """
    now = database.now(connection)
    chosen = connection.execute(_find_jobs(now, limit)).scalars().all()
    locked = select(JOBS.c.id).where(JOBS.c.id.in_(chosen), _is_live()).order_by(JOBS.c.id).with_for_update()
    live = connection.execute(locked).scalars().all() if chosen else []
    dying = connection.execute(_find_dying(live, now)).mappings().all() if live else []
    told = _find_told(connection, [row["job_id"] for row in dying])
    new = [row for row in dying if row["job_id"] not in told]
    _forget(connection, OUTPUTS.c.job_id.in_([row["job_id"] for row in dying]), now)
    _forget(connection, (OUTPUTS.c.source_expires_at <= now) & ~_is_of_live(), now)  # nothing is left to be told
    return _record(connection, new, now=now, database=database)


def _is_live() -> ColumnElement[bool]:
    return JOBS.c.state.in_(LIVE)


def _is_of_live() -> ColumnElement[bool]:
    """Asked of each output that is due: a join would let SQLite begin with every live job."""
    return select(JOBS.c.id).where(JOBS.c.id == OUTPUTS.c.job_id, _is_live()).exists()


def _find_jobs(now: datetime, limit: int) -> Select[str]:
    expiry = func.min(OUTPUTS.c.source_expires_at)
    due = select(OUTPUTS.c.job_id).where(OUTPUTS.c.at_risk_at <= now, _is_of_live())
    return due.group_by(OUTPUTS.c.job_id).order_by(expiry, OUTPUTS.c.job_id).limit(limit)


def _find_dying(job_ids: Sequence[str], now: datetime) -> Select[str, int, datetime | None]:
    count, expiry = func.count().label("output_count"), func.min(OUTPUTS.c.source_expires_at).label("expires_at")
    due = OUTPUTS.c.job_id.in_(job_ids) & (OUTPUTS.c.at_risk_at <= now)
    return select(OUTPUTS.c.job_id, count, expiry).where(due).group_by(OUTPUTS.c.job_id)


def _find_told(connection: Connection, job_ids: Sequence[str]) -> frozenset[str]:
    told = select(EVENTS.c.job_id).where(EVENTS.c.job_id.in_(job_ids), EVENTS.c.type == Trigger.OUTPUT_AT_RISK)
    return frozenset(connection.execute(told).scalars()) if job_ids else frozenset()


def _forget(connection: Connection, which: ColumnElement[bool], now: datetime) -> None:
    connection.execute(update(OUTPUTS).where(OUTPUTS.c.at_risk_at <= now, which).values(at_risk_at=None))


def _record(
    connection: Connection, dying: Sequence[RowMapping], *, now: datetime, database: Database
) -> tuple[str, ...]:
    facts = {row["job_id"]: row for row in dying}
    if not facts:
        return ()
    number = update(JOBS).where(JOBS.c.id.in_(facts), _is_live()).values(sequence=JOBS.c.sequence + 1)
    rows = connection.execute(number.returning(JOBS.c.id, JOBS.c.owner, JOBS.c.state, JOBS.c.sequence)).all()
    drafts = {row.id: [_draft(State(row.state), facts[row.id])] for row in rows}
    append_events(connection, drafts, {row.id: row.sequence for row in rows}, now=now, rng=database.rng)
    ends = [outbox.JobEnd(row.id, row.owner, AT_RISK, row.sequence) for row in rows]
    outbox.record_jobs(connection, ends, now=now, database=database)
    return tuple(sorted(facts))


def _draft(state: State, dying: RowMapping) -> EventDraft:
    expires_at: datetime = dying["expires_at"]
    data = {"output_count": dying["output_count"], "expires_at": expires_at.isoformat()}
    reason = "half of a link's life has passed, and its output is not archived"
    return EventDraft(Trigger.OUTPUT_AT_RISK, state, state, "system", reason, data)

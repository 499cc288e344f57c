"""Renewal of rows that the poll lane holds between questions: leases, counts, and what a pause takes away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, func, literal, or_, update

from orchestrator.db import pauses
from orchestrator.db.engine import Database
from orchestrator.db.lane_claims import is_of
from orchestrator.db.pauses import PauseState, Scope
from orchestrator.db.rows import JOBS
from orchestrator.db.rowset import INT, TEXT, UTC, Types, encode_rows, make_rowset
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.ports import HeldPoll, Renewed
from orchestrator.domain.states import State

_TYPES: Types = {"id": TEXT, "token": TEXT, "due_at": UTC, "poll_count": INT}


def renew_polls(connection: Connection, held: Sequence[HeldPoll], *, lease: timedelta, database: Database) -> Renewed:
    """Renew what is ours and not paused; give back what is paused. Two statements at most, whatever the number."""
    states = pauses.load_states(connection, PauseLane.POLL)
    now = database.now(connection)
    encoded = {"held": encode_rows([_encode(row) for row in sorted(held, key=lambda row: row.job_id)])}
    if states:
        _give_back_paused(connection, encoded, states, now)
    rows = _rowset(connection)
    extend = update(JOBS).where(_is_held(rows)).values(_counted(rows) | {"due_at": now + lease}).returning(JOBS.c.id)
    return Renewed(frozenset(connection.execute(extend, encoded).scalars()), now)


def _give_back_paused(
    connection: Connection, encoded: Mapping[str, str], states: Mapping[Scope, PauseState], now: datetime
) -> None:
    """A passed pause counts as one: its end is one probe's to find out, through a claim."""
    rows = _rowset(connection)
    probes = [state.probe_id for state in states.values() if state.probe_id is not None]
    is_paused = and_(or_(*(is_of(scope) for scope in states)), JOBS.c.id.not_in(probes))
    values = _counted(rows) | {"due_at": func.coalesce(rows.c.due_at, literal(now, UTC)), "lease_token": None}
    connection.execute(update(JOBS).where(_is_held(rows), is_paused).values(values), encoded)


def _counted(rows: FromClause) -> dict[str, ColumnElement[int]]:
    """An answer since the claim proves that the row kills no worker."""
    return {
        "poll_count": func.coalesce(rows.c.poll_count, JOBS.c.poll_count),
        "death_count": case((rows.c.poll_count.is_not(None), 0), else_=JOBS.c.death_count),
    }


def _rowset(connection: Connection) -> FromClause:
    return make_rowset("held", _TYPES, is_sqlite=connection.dialect.name == "sqlite")


def _is_held(rows: FromClause) -> ColumnElement[bool]:
    is_polled = JOBS.c.state.not_in(_NOT_POLLED)  # as in lane_claims: an equality would lead SQLite to another index
    return and_(JOBS.c.id == rows.c.id, JOBS.c.lease_token == rows.c.token, is_polled)


_NOT_POLLED: Collection[State] = [state for state in State if state is not State.PROCESSING]


def _encode(row: HeldPoll) -> dict[str, object]:
    return {"id": row.job_id, "token": row.token, "due_at": row.due_at, "poll_count": row.poll_count}

"""Figures over every owner, in one reading transaction with a fixed number of statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select

from orchestrator.db import slots
from orchestrator.db.engine import Database
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.figures import Duration, Figures, ModelPause
from orchestrator.domain.job import Verdict
from orchestrator.domain.states import State

CREDENTIAL = "default"
SECONDS_A_DAY = 86_400


class SqlFigures:
    """The FiguresSource port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, is_slot_held_until_final: bool) -> Figures:
        return self._database.read(lambda c: self._read(c, is_held_until_final=is_slot_held_until_final))

    def _read(self, connection: Connection, *, is_held_until_final: bool) -> Figures:
        now = self._database.now(connection)
        is_sqlite = self._database.is_sqlite
        queue_wait = _seconds(JOBS.c.submitted_at, func.coalesce(JOBS.c.not_before, JOBS.c.created_at), is_sqlite)
        return Figures(
            at=now,
            jobs=_count_jobs(connection),
            failures=_count_failures(connection),
            queue_waits=_sum_durations(connection, JOBS, queue_wait, JOBS.c.submitted_at),
            provider_times=_sum_durations(
                connection,
                SUBMISSIONS,
                _seconds(SUBMISSIONS.c.final_at, SUBMISSIONS.c.intent_at, is_sqlite),
                SUBMISSIONS.c.final_at,
            ),
            oldest_queued_at=_least(connection, JOBS.c.created_at, JOBS.c.state == State.QUEUED),
            soonest_expiry_at=_least(connection, JOBS.c.source_expires_at, JOBS.c.state == State.ARCHIVING),
            cost_micros=_sum_costs(connection),
            unknown_count=_count_unknown(connection),
            slots_held=slots.count_held(connection, CREDENTIAL, now=now, is_held_until_final=is_held_until_final),
            pauses=list_pauses(connection, now),
        )


def _count_jobs(connection: Connection) -> dict[tuple[str, str, str], int]:
    keys = (JOBS.c.state, JOBS.c.kind, JOBS.c.model)
    rows = connection.execute(select(*keys, func.count()).group_by(*keys))
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def _count_failures(connection: Connection) -> dict[str, int]:
    query = (
        select(JOBS.c.failure_code, func.count()).where(JOBS.c.failure_code.is_not(None)).group_by(JOBS.c.failure_code)
    )
    return {str(row[0]): row[1] for row in connection.execute(query)}


def _seconds(end: ColumnElement[Any], start: ColumnElement[Any], is_sqlite: bool) -> ColumnElement[Any]:  # noqa: FBT001
    if is_sqlite:
        return (func.julianday(end) - func.julianday(start)) * SECONDS_A_DAY
    return func.extract("epoch", end - start)


def _sum_durations(
    connection: Connection, table: Table, seconds: ColumnElement[Any], ended: ColumnElement[Any]
) -> Sequence[Duration]:
    """A clock that was set back makes no negative duration."""
    keys = (table.c.kind, table.c.model)
    query = select(*keys, func.sum(seconds), func.count()).where(ended.is_not(None)).group_by(*keys)
    return [Duration(row[0], row[1], max(float(row[2] or 0), 0.0), row[3]) for row in connection.execute(query)]


def _least(connection: Connection, column: ColumnElement[datetime], where: ColumnElement[bool]) -> datetime | None:
    found: datetime | None = connection.execute(select(func.min(column)).where(where)).scalar_one()
    return found


def _sum_costs(connection: Connection) -> dict[str, int]:
    query = (
        select(JOBS.c.price_currency, func.sum(JOBS.c.cost_final_micros))
        .where(JOBS.c.cost_final_micros.is_not(None), JOBS.c.price_currency.is_not(None))
        .group_by(JOBS.c.price_currency)
    )
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def _count_unknown(connection: Connection) -> int:
    is_open = (SUBMISSIONS.c.verdict == Verdict.UNKNOWN) & SUBMISSIONS.c.superseded_at.is_(None)
    return connection.execute(select(func.count()).select_from(SUBMISSIONS).where(is_open)).scalar_one()


def list_pauses(connection: Connection, now: datetime) -> Sequence[ModelPause]:
    """Return the pauses on submitting that are not over: the account's first."""
    models = select(
        MODEL_LIMITS.c.model,
        MODEL_LIMITS.c.submit_paused_until,
        MODEL_LIMITS.c.submit_pause_code,
        MODEL_LIMITS.c.submit_pause_message,
    ).where(MODEL_LIMITS.c.submit_paused_until > now)
    accounts = select(
        CREDENTIALS.c.submit_paused_until, CREDENTIALS.c.submit_pause_code, CREDENTIALS.c.submit_pause_message
    ).where(CREDENTIALS.c.submit_paused_until > now)
    of_models = [ModelPause(row[0], row[1], row[2], row[3]) for row in connection.execute(models)]
    return [*(ModelPause(None, row[0], row[1], row[2]) for row in connection.execute(accounts)), *of_models]

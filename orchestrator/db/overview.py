"""The OverviewSource port: a fixed number of statements, each over what is live or of the last day, never the whole history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, cast, func, select, true

from orchestrator.db import slots
from orchestrator.db.charges import IS_CHARGED
from orchestrator.db.engine import Database
from orchestrator.db.figures import CREDENTIAL, find_slot_limits, list_pauses
from orchestrator.db.filters import ID_SLACK
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.ids import SUBMISSION, first_id_at
from orchestrator.domain.job import Verdict
from orchestrator.domain.overview import AT_RISK_WITHIN, DAY_HOURS, HourCount, Overview
from orchestrator.domain.states import ACTIVE, State

HOUR_SECONDS = 3600


class SqlOverview:
    """Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_overview(self, *, owner: str | None, is_slot_held_until_final: bool) -> Overview:
        return self._database.read(lambda c: self._read(c, owner, is_held_until_final=is_slot_held_until_final))

    def _read(self, connection: Connection, owner: str | None, *, is_held_until_final: bool) -> Overview:
        now = self._database.now(connection)
        mine = true() if owner is None else JOBS.c.owner == owner
        at_risk, soonest = _find_risk(connection, mine, now)
        return Overview(
            at=now,
            going=_count_going(connection, mine),
            hours=_count_hours(connection, mine, now, is_sqlite=self._database.is_sqlite),
            cost_today=_sum_today(connection, owner, now),
            at_risk_count=at_risk,
            soonest_expiry_at=soonest,
            unknown_count=_count_unknown(connection, owner),
            slots_held=slots.count_held(connection, CREDENTIAL, now=now, is_held_until_final=is_held_until_final),
            slot_limits=find_slot_limits(connection),
            pauses=list_pauses(connection, now),
        )


def _count_going(connection: Connection, mine: ColumnElement[bool]) -> dict[tuple[str, str], int]:
    keys = (JOBS.c.state, JOBS.c.model)
    states = sorted([*ACTIVE, State.NEEDS_REVIEW])
    rows = connection.execute(select(*keys, func.count()).where(JOBS.c.state.in_(states), mine).group_by(*keys))
    return {(row[0], row[1]): row[2] for row in rows}


def _count_hours(
    connection: Connection, mine: ColumnElement[bool], now: datetime, *, is_sqlite: bool
) -> Sequence[HourCount]:
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(hours=DAY_HOURS - 1)
    hour = _hour_of(JOBS.c.finished_at, is_sqlite=is_sqlite).label("hour")
    query = select(hour, JOBS.c.state, func.count()).where(JOBS.c.finished_at >= first, mine)
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for number, state, count in connection.execute(query.group_by(hour, JOBS.c.state)):
        found[int(number)][state] = count
    hours = [first + timedelta(hours=index) for index in range(DAY_HOURS)]
    return [HourCount(at, found.get(int(at.timestamp()) // HOUR_SECONDS, {})) for at in hours]


def _hour_of(column: ColumnElement[Any], *, is_sqlite: bool) -> ColumnElement[Any]:
    """Hours since 1970, in UTC on both databases."""
    if is_sqlite:
        return cast(func.strftime("%s", column), Integer) // HOUR_SECONDS
    return cast(func.floor(func.extract("epoch", column) / HOUR_SECONDS), Integer)


def _sum_today(connection: Connection, owner: str | None, now: datetime) -> dict[str, int]:
    """By the ledger: a call that was made today counts, also when its job is paid for anew. Ids rise with the time, so
    the calls of other days are not read.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    calls = SUBMISSIONS.c
    today = (calls.id >= first_id_at(SUBMISSION, midnight - ID_SLACK), calls.intent_at >= midnight)
    query = select(calls.price_currency, func.sum(calls.price_micros)).where(*today, IS_CHARGED)
    if owner is not None:
        query = query.where(select(JOBS.c.id).where(JOBS.c.id == calls.job_id, JOBS.c.owner == owner).exists())
    query = query.group_by(calls.price_currency)
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def _find_risk(connection: Connection, mine: ColumnElement[bool], now: datetime) -> tuple[int, datetime | None]:
    query = select(func.count(), func.min(JOBS.c.source_expires_at)).where(
        JOBS.c.state == State.ARCHIVING, JOBS.c.source_expires_at < now + AT_RISK_WITHIN, mine
    )
    count, soonest = connection.execute(query).one()
    return int(count), soonest


def _count_unknown(connection: Connection, owner: str | None) -> int:
    query = (
        select(func.count())
        .select_from(SUBMISSIONS)
        .where(SUBMISSIONS.c.verdict == Verdict.UNKNOWN, SUBMISSIONS.c.superseded_at.is_(None))
    )
    if owner is not None:
        query = query.where(select(JOBS.c.id).where(JOBS.c.id == SUBMISSIONS.c.job_id, JOBS.c.owner == owner).exists())
    return connection.execute(query).scalar_one()

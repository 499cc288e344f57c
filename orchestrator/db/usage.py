"""The Usage port: a statement over jobs, one over their paid calls, one over their outputs; nothing is added up twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    and_,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
)

from orchestrator.db.charges import IS_CHARGED
from orchestrator.db.engine import Database
from orchestrator.db.filters import ID_SLACK
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.db.search import TAGS
from orchestrator.db.timed import read_within
from orchestrator.domain.ids import JOB, first_id_at
from orchestrator.domain.states import FINAL, State
from orchestrator.domain.usage import GroupBy, UsageRow

PATIENCE = timedelta(seconds=60)  # a sum over a history is read now and then, and is worth a wait
Key = tuple[str | None, str | None]
_COUNTED = {
    "succeeded_count": State.SUCCEEDED,
    "failed_count": State.FAILED,
    "cancelled_count": State.CANCELLED,
    "held_count": State.NEEDS_REVIEW,
}


class SqlUsage:
    """Sums over a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, patience: timedelta = PATIENCE) -> None:
        self._database = database
        self._patience = patience

    def sum_usage(self, by: GroupBy | None, *, since: datetime | None, owner: str | None = None) -> Sequence[UsageRow]:
        group = _group(by, is_sqlite=self._database.is_sqlite)
        whose = [*_since(since), *([JOBS.c.owner == owner] if owner is not None else [])]

        def work(connection: Connection) -> list[UsageRow]:
            outputs = {
                (row["grouped"], row["currency"]): row
                for row in connection.execute(_outputs_query(by, group, whose)).mappings()
            }
            charges = {
                (row.grouped, row.currency): int(row.charged)
                for row in connection.execute(_charges_query(by, group, whose))
            }
            rows = connection.execute(_jobs_query(by, group, whose)).mappings()
            return [_with_outputs(_read(row, charges), outputs) for row in rows]

        return read_within(self._database, self._patience, work)


def _since(since: datetime | None) -> list[ColumnElement[bool]]:
    """The bound of id that follows from that of time lets older rows be skipped."""
    if since is None:
        return []
    return [JOBS.c.created_at >= since, JOBS.c.id >= literal(first_id_at(JOB, since - ID_SLACK))]


def _group(by: GroupBy | None, *, is_sqlite: bool) -> ColumnElement[Any]:
    match by:
        case GroupBy.MODEL:
            return JOBS.c.model
        case GroupBy.BATCH:
            return JOBS.c.batch_id
        case GroupBy.TAG:
            return TAGS.c.name + "=" + TAGS.c.value
        case GroupBy.DAY if is_sqlite:
            return func.substr(JOBS.c.created_at, 1, literal_column("10"))
        case GroupBy.DAY:
            return func.to_char(func.timezone("UTC", JOBS.c.created_at), "YYYY-MM-DD")
        case None:
            return null()


def _source(by: GroupBy | None, *more: FromClause) -> FromClause:
    source: FromClause = JOBS
    for table in more:
        source = source.join(table, table.c.job_id == JOBS.c.id)
    return source.join(TAGS, TAGS.c.job_id == JOBS.c.id) if by is GroupBy.TAG else source


def _jobs_query(
    by: GroupBy | None, group: ColumnElement[Any], whose: Sequence[ColumnElement[bool]]
) -> Select[*tuple[Any, ...]]:
    grouped = group.label("grouped")
    is_unknown = and_(
        JOBS.c.cost_final_micros.is_(None),
        JOBS.c.submission_count > 0,
        JOBS.c.state.in_((*FINAL, State.NEEDS_REVIEW)),
    )
    columns = {
        "job_count": func.count(),
        **{name: _count(JOBS.c.state == state) for name, state in _COUNTED.items()},
        "submission_count": func.coalesce(func.sum(JOBS.c.submission_count), 0),
        "estimate_micros": func.coalesce(func.sum(JOBS.c.price_micros), 0),
        "unknown_count": _count(is_unknown),
    }
    named = [column.label(name) for name, column in columns.items()]
    query = select(grouped, JOBS.c.price_currency.label("currency"), *named).select_from(_source(by)).where(*whose)
    return query.group_by(literal_column("1"), literal_column("2")).order_by(literal_column("1"), literal_column("2"))


def _charges_query(
    by: GroupBy | None, group: ColumnElement[Any], whose: Sequence[ColumnElement[bool]]
) -> Select[*tuple[Any, ...]]:
    """What is known to be charged, of every paid call: a job that was paid for twice says only what its last one cost."""
    charged = func.sum(SUBMISSIONS.c.price_micros).label("charged")
    query = select(group.label("grouped"), JOBS.c.price_currency.label("currency"), charged)
    query = query.select_from(_source(by, SUBMISSIONS)).where(IS_CHARGED, *whose)
    return query.group_by(literal_column("1"), literal_column("2"))


def _outputs_query(
    by: GroupBy | None, group: ColumnElement[Any], whose: Sequence[ColumnElement[bool]]
) -> Select[*tuple[Any, ...]]:
    columns = (
        func.count().label("output_count"),
        func.coalesce(func.sum(OUTPUTS.c.byte_count), 0).label("byte_count"),
        func.coalesce(func.sum(OUTPUTS.c.duration_seconds), 0.0).label("media_seconds"),
    )
    query = select(group.label("grouped"), JOBS.c.price_currency.label("currency"), *columns)
    query = query.select_from(_source(by, OUTPUTS)).where(OUTPUTS.c.archived_at.is_not(None), *whose)
    return query.group_by(literal_column("1"), literal_column("2"))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _read(row: RowMapping, charges: Mapping[Key, int]) -> UsageRow:
    values = {name: int(value) for name, value in row.items() if name not in ("grouped", "currency")}
    charged = charges.get((row["grouped"], row["currency"]), 0)
    return UsageRow(row["grouped"], row["currency"], **values, final_micros=charged)


def _with_outputs(row: UsageRow, outputs: Mapping[Key, RowMapping]) -> UsageRow:
    found = outputs.get((row.group, row.currency))
    if found is None:
        return row
    return replace(
        row,
        output_count=int(found["output_count"]),
        byte_count=int(found["byte_count"]),
        media_seconds=float(found["media_seconds"]),
    )

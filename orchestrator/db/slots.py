"""Slots: how many requests of each model are in flight at the provider, counted from rows (design section 7).

Count under the locks of the credential and model rows, in a statement of its own: one that began before the lock was
granted does not see what the last holder inserted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal_column, or_, select

from orchestrator.db.rows import JOBS, SUBMISSIONS, table_of
from orchestrator.db.tables import ModelLimitRow
from orchestrator.db.types import Utc
from orchestrator.domain.progress import SlotHolder
from orchestrator.domain.states import State

MODEL_LIMITS = table_of(ModelLimitRow)
UNKNOWN_WINDOW = timedelta(hours=1)


def count_held(connection: Connection, credential: str, *, now: datetime, is_held_until_final: bool) -> dict[str, int]:
    """Return the slots held per model.

    Until final: from intent to a final answer, a sure refusal or the end of the kind's assumed life - the last not for
    a task that a processing job asks about. During the call: from intent to any verdict.
    """
    query = _held_query(is_held_until_final)
    return {row[0]: row[1] for row in connection.execute(query, {"of": credential, "now": now})}


def count_unknowns(connection: Connection, credential: str, *, now: datetime) -> int:
    """Return how many submissions of the trailing hour ended without anybody knowing whether they were taken."""
    return connection.execute(_unknowns_query(), {"of": credential, "since": now - UNKNOWN_WINDOW}).scalar_one()


def find_unknowns_end(connection: Connection, credential: str, *, now: datetime, limit: int) -> datetime | None:
    """Return when so many of the trailing hour's unknowns have aged that fewer than `limit` are left; None when there
    are fewer already.
    """
    since = now - UNKNOWN_WINDOW
    query = select(SUBMISSIONS.c.verdict_at).where(_is_unknown(), SUBMISSIONS.c.verdict_at > since)
    query = query.where(SUBMISSIONS.c.credential == credential)
    newest = query.order_by(SUBMISSIONS.c.verdict_at.desc()).limit(1).offset(limit - 1)
    last = connection.execute(newest).scalar_one_or_none()
    return None if last is None else last + UNKNOWN_WINDOW


def find_unexplained(connection: Connection, credential: str, *, now: datetime) -> list[tuple[str, SlotHolder]]:
    """Return the unknown calls that still hold a slot (until final), each with its model, in the order in which they
    let go.
    """
    row = SUBMISSIONS.c
    query = (
        select(row.model, row.job_id, row.number, row.assumed_life_until)
        .where(_is_unknown(), row.credential == credential)
        .where(row.slot_released_at.is_(None), row.assumed_life_until > now)
        .order_by(row.assumed_life_until, row.id)
    )
    return [(model, SlotHolder(*found)) for model, *found in connection.execute(query)]


def _is_unknown() -> ColumnElement[bool]:
    return SUBMISSIONS.c.verdict == literal_column("'unknown'")


def load_limits(connection: Connection, credential: str) -> dict[str, int]:
    """Return the models that a person gave a limit of their own."""
    query = select(MODEL_LIMITS.c.model, MODEL_LIMITS.c.slot_limit)
    query = query.where(MODEL_LIMITS.c.credential == credential, MODEL_LIMITS.c.slot_limit.is_not(None))
    return {row[0]: row[1] for row in connection.execute(query)}


@cache
def _held_query(is_held_until_final: bool) -> Select[str, int]:  # noqa: FBT001 - the cache's key
    holds = SUBMISSIONS.c.assumed_life_until > bindparam("now", type_=Utc())
    if is_held_until_final:
        polled = (
            select(JOBS.c.id)
            .where(
                JOBS.c.id == SUBMISSIONS.c.job_id,
                JOBS.c.state == State.PROCESSING,
                JOBS.c.provider_task_id == SUBMISSIONS.c.task_id,
            )
            .exists()
        )
        holds = or_(holds, polled)
    else:
        holds &= SUBMISSIONS.c.verdict.is_(None)
    return (
        select(SUBMISSIONS.c.model, func.count())
        .where(SUBMISSIONS.c.credential == bindparam("of"), SUBMISSIONS.c.slot_released_at.is_(None), holds)
        .group_by(SUBMISSIONS.c.model)
    )


@cache
def _unknowns_query() -> Select[int]:
    return select(func.count()).where(
        SUBMISSIONS.c.credential == bindparam("of"),
        _is_unknown(),
        SUBMISSIONS.c.verdict_at > bindparam("since", type_=Utc()),
    )

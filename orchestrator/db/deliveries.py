"""The Deliveries port: endpoints are leased, their due deliveries read, and what came of them is written.

Due work is found from the deliveries; the endpoint row is written by lease and result only (design section 5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from orchestrator.db.delivery_results import apply_reports
from orchestrator.db.endpoint_rows import cancel_pending, read_endpoint
from orchestrator.db.engine import Database
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, WEBHOOK_EVENTS
from orchestrator.db.rowset import TEXT, UTC, encode_keys, encode_rows, make_rowset
from orchestrator.db.tokens import make_token
from orchestrator.domain.ports.webhooks import ClaimedTurns, TurnWindow
from orchestrator.domain.webhooks import DueDelivery, Turn, TurnReport

_PENDING: ColumnElement[str] = literal_column("'pending'")  # spelled out, so that the partial index serves


class SqlDeliveries:
    """Deliveries in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)

    def claim_turns(self, window: TurnWindow) -> ClaimedTurns:
        """Lease endpoints with due deliveries, whoever waited longest first, and a few deliveries of each."""
        return self._database.write(lambda c: _claim(c, window, self._database))

    def claim_one(self, delivery_id: str, *, lease: timedelta, process: str) -> ClaimedTurns:
        """Lease the endpoint of a due delivery for a turn of that one alone; no turn while another process has a turn of it.

        A person asks for it: an endpoint that rests after a failure is not waited for.
        """
        window = TurnWindow(limit=1, failing_limit=1, per_endpoint=1, lease=lease, process=process)
        return self._database.write(lambda c: _claim_one(c, delivery_id, window, self._database))

    def renew(self, held: Mapping[str, str], *, lease: timedelta) -> frozenset[str]:
        """Extend the leases {endpoint id: token}; return the ids that are still ours."""
        database = self._database

        def work(connection: Connection) -> frozenset[str]:
            rows = [{"of_id": endpoint_id, "of_token": token} for endpoint_id, token in sorted(held.items())]
            values = {"held": encode_rows(rows), "until": database.now(connection) + lease}
            return frozenset(connection.execute(_renewal(database.is_sqlite), values).scalars())

        return database.write(work) if held else frozenset()

    def apply(self, reports: Sequence[TurnReport]) -> frozenset[str]:
        """Write what turns brought and end their leases; return the ids of endpoints that were still theirs."""
        return self._database.write(lambda c: apply_reports(c, reports, self._database)) if reports else frozenset()

    def find_next_due(self) -> datetime | None:
        """Return when the next attempt is due: not before its endpoint's lease has lapsed, or its rest is over."""
        waiting = _select_waiting(ENDPOINTS.c.disabled_at.is_(None), is_sqlite=self._database.is_sqlite).subquery()
        due = case(
            (waiting.c.leased_until > waiting.c.first_due_at, waiting.c.leased_until), else_=waiting.c.first_due_at
        )
        query = select(func.min(due, type_=UTC))
        next_due: datetime | None = self._database.read(lambda c: c.execute(query).scalar_one())
        return next_due

    def count_pending(self) -> int:
        """Count deliveries that are still to be made."""
        query = select(func.count()).select_from(DELIVERIES).where(DELIVERIES.c.state == _PENDING)
        return self._database.read(lambda c: c.execute(query).scalar_one())


def _claim(connection: Connection, window: TurnWindow, database: Database) -> ClaimedTurns:
    now = database.now(connection)
    candidates = connection.execute(_find_candidates(now, is_sqlite=database.is_sqlite)).all()
    stale = [row.id for row in candidates if row.disabled_at is not None]
    if stale:  # a state changed while its endpoint was being disabled
        cancel_pending(connection, stale, now=now)
    chosen = _choose([row for row in candidates if row.disabled_at is None], window)
    leased = _lease(connection, chosen, window, _is_free(now), now=now, rng=database.rng)
    due = _read_due(connection, [row["id"] for row in leased], limit=window.per_endpoint, now=now)
    turns = [Turn(read_endpoint(row), row["lease_token"], tuple(due[row["id"]])) for row in leased]
    return ClaimedTurns(tuple(turns), now)


def _claim_one(connection: Connection, delivery_id: str, window: TurnWindow, database: Database) -> ClaimedTurns:
    now = database.now(connection)
    is_due = and_(DELIVERIES.c.id == delivery_id, DELIVERIES.c.state == _PENDING, DELIVERIES.c.due_at <= now)
    whose = connection.execute(select(DELIVERIES.c.endpoint_id).where(is_due)).scalars().all()
    free = or_(_is_free(now), and_(ENDPOINTS.c.disabled_at.is_(None), ENDPOINTS.c.lease_token.is_(None)))
    leased = _lease(connection, whose, window, free, now=now, rng=database.rng)
    columns = (DELIVERIES.c[name] for name in ("id", "event_id", "attempt_count", "resent_count"))
    query = select(*columns, WEBHOOK_EVENTS.c.type, WEBHOOK_EVENTS.c.body).where(is_due)
    query = query.join_from(DELIVERIES, WEBHOOK_EVENTS, WEBHOOK_EVENTS.c.id == DELIVERIES.c.event_id)
    due = tuple(_read_delivery(row) for row in connection.execute(query)) if leased else ()
    return ClaimedTurns(tuple(Turn(read_endpoint(row), row["lease_token"], due) for row in leased), now)


def _choose(candidates: Sequence[Any], window: TurnWindow) -> list[str]:
    """The longest waiting first; endpoints that only fail or are slow never take more than their share."""
    chosen: list[str] = []
    failing_left = window.failing_limit
    for row in candidates:
        if len(chosen) == window.limit:
            break
        if row.failing_since is not None or row.id in window.slow:
            if failing_left <= 0:
                continue
            failing_left -= 1
        chosen.append(row.id)
    return chosen


def _lease(
    connection: Connection,
    chosen: Sequence[str],
    window: TurnWindow,
    is_free: ColumnElement[bool],
    *,
    now: datetime,
    rng: Random,
) -> list[RowMapping]:
    """Lease those that nobody else is leasing right now; return their rows in the order chosen."""
    free = select(ENDPOINTS.c.id).where(ENDPOINTS.c.id.in_(chosen), is_free)
    free = free.order_by(ENDPOINTS.c.id).with_for_update(skip_locked=True)
    ours = set(connection.execute(free).scalars()) if chosen else set()
    if not ours:
        return []
    token = make_token(rng, window.process)
    lease = update(ENDPOINTS).where(ENDPOINTS.c.id.in_(ours))
    lease = lease.values(lease_token=token, leased_until=now + window.lease)
    rows = {row["id"]: row for row in connection.execute(lease.returning(ENDPOINTS)).mappings()}
    return [rows[endpoint_id] for endpoint_id in chosen if endpoint_id in rows]


def _is_free(now: datetime) -> ColumnElement[bool]:
    is_idle = or_(ENDPOINTS.c.leased_until.is_(None), ENDPOINTS.c.leased_until <= now)
    return and_(ENDPOINTS.c.disabled_at.is_(None), is_idle)


def _find_candidates(now: datetime, *, is_sqlite: bool) -> Select[*tuple[Any, ...]]:
    free = or_(ENDPOINTS.c.disabled_at.is_not(None), _is_free(now))
    waiting = _select_waiting(free, is_sqlite=is_sqlite).subquery()
    due = select(waiting).where(waiting.c.first_due_at <= now)
    return due.order_by(waiting.c.leased_until.nulls_first(), waiting.c.id)


def _select_waiting(condition: ColumnElement[bool], *, is_sqlite: bool) -> Select[*tuple[Any, ...]]:
    """Every endpoint with pending deliveries and when the first of them is due.

    The index is read by leaps, from one endpoint to the next: ten thousand rows of a dead one cost no more than one.
    """
    first = select(func.min(DELIVERIES.c.endpoint_id).label("endpoint_id")).where(DELIVERIES.c.state == _PENDING)
    steps = first.cte("waiting", recursive=True)
    onward = select(func.min(DELIVERIES.c.endpoint_id)).where(
        DELIVERIES.c.state == _PENDING, DELIVERIES.c.endpoint_id > steps.c.endpoint_id
    )
    waiting = steps.union_all(select(onward.scalar_subquery()).where(steps.c.endpoint_id.is_not(None)))
    earliest = select(func.min(DELIVERIES.c.due_at, type_=UTC)).where(
        DELIVERIES.c.state == _PENDING, DELIVERIES.c.endpoint_id == waiting.c.endpoint_id
    )
    columns = [ENDPOINTS.c[name] for name in ("id", "disabled_at", "failing_since", "leased_until")]
    first_due_at = earliest.scalar_subquery().label("first_due_at")
    is_theirs = ENDPOINTS.c.id == waiting.c.endpoint_id
    if is_sqlite:
        return select(*columns, first_due_at).select_from(waiting).join(ENDPOINTS, is_theirs).where(condition)
    # One look-up each, whatever the planner believes: of a hundred rows where there are ten thousand, it may read all of
    # what waits again for every endpoint.
    endpoint = select(*columns).where(is_theirs, condition).limit(1).lateral("endpoint")
    return select(*endpoint.c, first_due_at).select_from(waiting).join(endpoint, true())


def _read_due(
    connection: Connection, endpoint_ids: Sequence[str], *, limit: int, now: datetime
) -> Mapping[str, list[DueDelivery]]:
    """Return the longest due deliveries of each endpoint, no more than `limit`."""
    found: dict[str, list[DueDelivery]] = defaultdict(list)
    if endpoint_ids:
        query = _due_of_each(limit, connection.dialect.name == "sqlite")
        for row in connection.execute(query, {"leased": encode_keys(endpoint_ids), "now": now}):
            found[row.endpoint_id].append(_read_delivery(row))
    return found


def _read_delivery(row: Any) -> DueDelivery:  # noqa: ANN401 - a row of two tables
    return DueDelivery(row.id, row.event_id, row.type, row.body, row.attempt_count - row.resent_count + 1)


@cache
def _due_of_each(limit: int, is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    """The two databases read a few rows of each of many keys in their own ways: a keyed list, a lateral join."""
    leased = make_rowset("leased", {"key": TEXT}, is_sqlite=is_sqlite)
    inner = DELIVERIES.alias("due")
    few = (
        select(inner.c.id if is_sqlite else inner)
        .where(inner.c.endpoint_id == leased.c.key, inner.c.state == _PENDING, inner.c.due_at <= _NOW)
        .order_by(inner.c.due_at, inner.c.id)
        .limit(limit)
        .correlate(leased)
    )
    rows = DELIVERIES if is_sqlite else few.lateral("few")
    on = DELIVERIES.c.id.in_(few) if is_sqlite else true()
    return (
        select(*(rows.c[name] for name in ("id", "endpoint_id", "event_id", "attempt_count", "resent_count")))
        .add_columns(WEBHOOK_EVENTS.c.type, WEBHOOK_EVENTS.c.body)
        .select_from(leased)
        .join(rows, on)
        .join(WEBHOOK_EVENTS, WEBHOOK_EVENTS.c.id == rows.c.event_id)
        .order_by(rows.c.due_at, rows.c.id)
    )


_NOW = bindparam("now", type_=UTC)


@cache
def _renewal(is_sqlite: bool) -> Any:  # noqa: ANN401, FBT001 - an UPDATE with RETURNING; the cache's key
    rows = make_rowset("held", {"of_id": TEXT, "of_token": TEXT}, is_sqlite=is_sqlite)
    is_ours = and_(ENDPOINTS.c.id == rows.c.of_id, ENDPOINTS.c.lease_token == rows.c.of_token)
    renew: Update = update(ENDPOINTS).where(is_ours).values(leased_until=bindparam("until", type_=UTC))
    return renew.returning(ENDPOINTS.c.id)

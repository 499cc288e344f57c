"""The Endpoints port: endpoints and deliveries as persons handle them. Writes hold no lease: they fence whoever does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, insert, select, update

from orchestrator.db import outbox
from orchestrator.db.access import append_audit
from orchestrator.db.delivery_results import ATTEMPTS
from orchestrator.db.endpoint_rows import (
    WHERE,
    cancel_pending,
    disable,
    lock_endpoint,
    make_endpoint_row,
    no_endpoint,
    read_endpoint,
)
from orchestrator.db.engine import Database
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, WEBHOOK_EVENTS
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.webhooks import DELETED, TEST, AttemptRecord, DeliveryRecord, DeliveryState, Endpoint


class SqlEndpoints:
    """Endpoints in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)

    def add(self, endpoint: Endpoint) -> None:
        """Insert a global endpoint."""
        self._database.write(lambda c: c.execute(insert(ENDPOINTS).values(make_endpoint_row(endpoint))))

    def get(self, endpoint_id: str) -> Endpoint:
        """Return one, deleted ones too. Raises NotFound."""
        query = select(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        if row is None:
            raise no_endpoint(endpoint_id)
        return read_endpoint(row)

    def list_all(
        self,
        *,
        owner: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        is_failing: bool = False,
    ) -> Sequence[Endpoint]:
        """Return those that are not deleted, in the order of their ids; with `owner`, only theirs, with `is_failing` only
        those whose last attempt failed.
        """
        query = select(ENDPOINTS).where(ENDPOINTS.c.deleted_at.is_(None)).order_by(ENDPOINTS.c.id).limit(limit)
        if owner is not None:
            query = query.where(ENDPOINTS.c.owner == owner)
        if after is not None:
            query = query.where(ENDPOINTS.c.id > after)
        if is_failing:
            query = query.where(ENDPOINTS.c.failing_since.is_not(None))
        return self._database.read(lambda c: [read_endpoint(row) for row in c.execute(query).mappings()])

    def set_enabled(self, endpoint_id: str, *, reason: str | None) -> Endpoint:
        """Enable (`reason` None) or disable: what was queued for it is cancelled. Doing it again changes nothing."""
        database = self._database

        def work(connection: Connection) -> Endpoint:
            endpoint = lock_endpoint(connection, endpoint_id)
            if reason is None:
                values = {"disabled_at": None, "disabled_reason": None, "failing_since": None}
                connection.execute(update(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id).values(values))
            elif endpoint.disabled_at is None:
                disable(connection, endpoint, reason, now=database.now(connection), database=database)
            return lock_endpoint(connection, endpoint_id)

        return database.write(work)

    def delete(self, endpoint_id: str) -> None:
        """Disable for good and forget its secrets; its log stays."""
        database = self._database

        def work(connection: Connection) -> None:
            endpoint = lock_endpoint(connection, endpoint_id)
            now = database.now(connection)
            values: dict[str, object] = dict.fromkeys(("sealed_secret", "sealed_previous", "previous_until"))
            values |= {
                "deleted_at": now,
                "lease_token": None,
                "leased_until": now,
                "disabled_at": endpoint.disabled_at or now,
            }
            values["disabled_reason"] = DELETED
            connection.execute(update(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id).values(values))
            cancel_pending(connection, [endpoint_id], now=now)

        database.write(work)

    def rotate(self, endpoint_id: str, sealed: str, *, overlap: timedelta) -> Endpoint:
        """Give it a new secret; the one before signs beside it for `overlap`. Raises Conflict for a shared one, and while an
        earlier overlap runs: a third secret would end the first before the receiver was promised.
        """
        database = self._database

        def work(connection: Connection) -> Endpoint:
            endpoint = lock_endpoint(connection, endpoint_id)
            if endpoint.secrets.sealed is None:
                raise Conflict(f"{endpoint_id} is signed with the project's secret, which others share")
            now = database.now(connection)
            if overlap > timedelta(0):
                _require_no_overlap(endpoint, now)
            values: dict[str, object] = {"sealed_secret": sealed, "sealed_previous": None, "previous_until": None}
            if overlap > timedelta(0):
                values["sealed_previous"] = endpoint.secrets.sealed
                values["previous_until"] = now + overlap
            connection.execute(update(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id).values(values))
            return lock_endpoint(connection, endpoint_id)

        return database.write(work)

    def add_test(self, endpoint_id: str) -> str:
        """Record a webhook.test event for this endpoint alone; return the delivery's id. Raises Conflict."""
        database = self._database

        def work(connection: Connection) -> str:
            endpoint = lock_endpoint(connection, endpoint_id)
            _require_enabled(endpoint)
            now = database.now(connection)
            event_id = outbox.record_for(connection, TEST, endpoint, [endpoint_id], now=now, database=database)
            mine = select(DELIVERIES.c.id).where(DELIVERIES.c.event_id == event_id)
            return str(connection.execute(mine).scalar_one())

        return database.write(work)

    def get_delivery(self, delivery_id: str) -> DeliveryRecord:
        """Return one with its attempts. Raises NotFound."""
        query = _select_records().where(DELIVERIES.c.id == delivery_id)
        found = self._database.read(lambda c: _read_records(c, query))
        if not found:
            raise _no_delivery(delivery_id)
        return found[0]

    def list_deliveries(
        self,
        *,
        endpoint_id: str | None,
        states: Sequence[DeliveryState],
        limit: int,
        after: str | None,
        owner: str | None = None,
        job_id: str | None = None,
    ) -> Sequence[DeliveryRecord]:
        """Return the newest first, with their attempts; with `owner`, only those to their endpoints, with `job_id` only
        those of its events.
        """
        query = _select_records().order_by(DELIVERIES.c.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(ENDPOINTS.c.owner == owner)
        if endpoint_id is not None:
            query = query.where(DELIVERIES.c.endpoint_id == endpoint_id)
        if job_id is not None:
            query = query.where(WEBHOOK_EVENTS.c.job_id == job_id)
        if states:
            query = query.where(DELIVERIES.c.state.in_(states))
        if after is not None:
            query = query.where(DELIVERIES.c.id < after)
        return self._database.read(lambda c: _read_records(c, query))

    def resend(self, delivery_id: str) -> None:
        """Make it due now, whatever became of it. Raises NotFound, and Conflict when nobody would send it."""
        database = self._database
        whose = select(DELIVERIES.c.endpoint_id).where(DELIVERIES.c.id == delivery_id)

        def work(connection: Connection) -> None:
            endpoint_id = connection.execute(whose).scalar_one_or_none()
            if endpoint_id is None:
                raise _no_delivery(delivery_id)
            _require_enabled(lock_endpoint(connection, endpoint_id))
            again = update(DELIVERIES).where(DELIVERIES.c.id == delivery_id)
            connection.execute(again.values(_due_again(database.now(connection))))

        database.write(work)

    def resend_failed(self, *, since: datetime, owner: str | None = None, audit: AuditEntry | None = None) -> int:
        """Make every delivery due that was given up since then and whose endpoint is enabled; return how many. With
        `owner`, only those to their endpoints; with `audit`, that line is written with them, and says how many.
        """
        database = self._database
        enabled = select(ENDPOINTS.c.id).where(ENDPOINTS.c.disabled_at.is_(None))
        if owner is not None:
            enabled = enabled.where(ENDPOINTS.c.owner == owner)
        given_up = DELIVERIES.c.state.in_((DeliveryState.FAILED, DeliveryState.CANCELLED))
        wanted = given_up & (DELIVERIES.c.finished_at >= since) & DELIVERIES.c.endpoint_id.in_(enabled)

        def work(connection: Connection) -> int:
            now = database.now(connection)
            count = connection.execute(update(DELIVERIES).where(wanted).values(_due_again(now))).rowcount
            if audit is not None:
                append_audit(connection, replace(audit, count=count), now=now, rng=database.rng)
            return count

        return database.write(work)


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(f"there is no delivery {delivery_id}", hint=f"`orchestrator webhooks deliveries` {WHERE}")


def _require_no_overlap(endpoint: Endpoint, now: datetime) -> None:
    until = endpoint.secrets.previous_until
    if endpoint.secrets.previous is not None and until is not None and now < until:
        message = f"{endpoint.id} has a new secret already, and the one before signs until {until:%Y-%m-%dT%H:%M:%SZ}"
        raise Conflict(message, hint="wait until then, or end both now with an overlap of 0 (--overlap 0)")


def _require_enabled(endpoint: Endpoint) -> None:
    if endpoint.disabled_at is not None:
        raise Conflict(
            f"{endpoint.id} is disabled ({endpoint.disabled_reason})",
            hint=f"orchestrator webhooks enable {endpoint.id}",
        )


def _due_again(now: datetime) -> dict[str, object]:
    """The schedule begins anew; the log goes on where it stands."""
    return {
        "state": DeliveryState.PENDING,
        "due_at": now,
        "finished_at": None,
        "resent_count": DELIVERIES.c.attempt_count,
    }


def _select_records() -> Select[*tuple[Any, ...]]:
    return (
        select(
            DELIVERIES,
            WEBHOOK_EVENTS.c.type.label("event_type"),
            WEBHOOK_EVENTS.c.job_id,
            WEBHOOK_EVENTS.c.batch_id,
            ENDPOINTS.c.url,
        )
        .join_from(DELIVERIES, WEBHOOK_EVENTS, WEBHOOK_EVENTS.c.id == DELIVERIES.c.event_id)
        .join(ENDPOINTS, ENDPOINTS.c.id == DELIVERIES.c.endpoint_id)
    )


def _read_records(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[DeliveryRecord]:
    rows = connection.execute(query).mappings().all()
    attempts = _load_attempts(connection, [row["id"] for row in rows])
    return [_read_record(row, attempts[row["id"]]) for row in rows]


def _load_attempts(connection: Connection, delivery_ids: Sequence[str]) -> Mapping[str, list[AttemptRecord]]:
    query = select(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(delivery_ids)).order_by(ATTEMPTS.c.number)
    found: dict[str, list[AttemptRecord]] = defaultdict(list)
    for row in connection.execute(query).mappings() if delivery_ids else ():
        facts = {name: value for name, value in row.items() if name != "delivery_id"}
        found[row["delivery_id"]].append(AttemptRecord(**facts))
    return found


def _read_record(row: RowMapping, attempts: Sequence[AttemptRecord]) -> DeliveryRecord:
    same = ("id", "event_id", "event_type", "endpoint_id", "url", "job_id", "batch_id", "attempt_count")
    times = ("due_at", "created_at", "finished_at")
    return DeliveryRecord(
        **{name: row[name] for name in (*same, *times)},
        state=DeliveryState(row["state"]),
        attempts=tuple(attempts),
    )

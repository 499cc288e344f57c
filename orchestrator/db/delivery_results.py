"""Writing what turns brought: deliveries, the log of attempts, the endpoint's health. Guarded by the lease's token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, literal_column, null, select, update

from orchestrator.db.endpoint_rows import disable, read_endpoint
from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_many
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS
from orchestrator.db.rows import table_of
from orchestrator.db.rowset import BOOL, TEXT, UTC, encode_rows, make_rowset
from orchestrator.db.tables import WebhookAttemptRow
from orchestrator.db.types import clean_text
from orchestrator.domain.deliveries import Delivered, DeliveryDecision, Held, Retry, rest_after
from orchestrator.domain.webhooks import Attempt, DeliveryState, Endpoint, TurnReport

ATTEMPTS = table_of(WebhookAttemptRow)


def apply_reports(connection: Connection, reports: Sequence[TurnReport], database: Database) -> frozenset[str]:
    """Write the reports of those who still hold their endpoint; return its ids. The others' are dropped."""
    held = _lock_held(connection, reports)
    ours = [report for report in reports if report.endpoint_id in held]
    if not ours:
        return frozenset()
    now = database.now(connection)
    attempts = [attempt for report in ours for attempt in report.attempts]
    numbers = _move_deliveries(connection, attempts, now=now)
    insert_many(connection, ATTEMPTS, [_attempt_row(a, numbers) for a in attempts if a.delivery_id in numbers])
    _end_turns(connection, ours, held, now=now)
    for report in ours:
        if report.disable is not None:
            disable(connection, held[report.endpoint_id], report.disable, now=now, database=database)
    return frozenset(held)


def _lock_held(connection: Connection, reports: Sequence[TurnReport]) -> Mapping[str, Endpoint]:
    tokens = {report.endpoint_id: report.token for report in reports}
    query = select(ENDPOINTS).where(ENDPOINTS.c.id.in_(tokens)).order_by(ENDPOINTS.c.id).with_for_update()
    rows = connection.execute(query).mappings().all()
    return {row["id"]: read_endpoint(row) for row in rows if row["lease_token"] == tokens[row["id"]]}


def _move_deliveries(connection: Connection, attempts: Sequence[Attempt], *, now: datetime) -> Mapping[str, int]:
    """Return the number of this attempt for each delivery that was still pending."""
    if not attempts:
        return {}
    rows = [
        {
            "of_id": a.delivery_id,
            "target": _state_after(a.decision),
            "due": _due_after(a.decision),
            "is_held": a.is_held,
        }
        for a in sorted(attempts, key=lambda a: a.delivery_id)
    ]
    move = _move_statement(connection.dialect.name == "sqlite")
    moved = connection.execute(move, {"moves": encode_rows(rows), "now": now})
    return {row.id: row.attempt_count for row in moved}


@cache
def _move_statement(is_sqlite: bool) -> Any:  # noqa: ANN401, FBT001 - an UPDATE with RETURNING; the cache's key
    rows = make_rowset("moves", {"of_id": TEXT, "target": TEXT, "due": UTC, "is_held": BOOL}, is_sqlite=is_sqlite)
    guard = and_(DELIVERIES.c.id == rows.c.of_id, DELIVERIES.c.state == literal_column("'pending'"))
    values = {
        "state": rows.c.target,
        "due_at": rows.c.due,
        "attempt_count": DELIVERIES.c.attempt_count + 1,
        "resent_count": DELIVERIES.c.resent_count + case((rows.c.is_held, 1), else_=0),
        "finished_at": case((rows.c.due.is_(None), bindparam("now", type_=UTC)), else_=null()),
    }
    return update(DELIVERIES).where(guard).values(values).returning(DELIVERIES.c.id, DELIVERIES.c.attempt_count)


def _state_after(decision: DeliveryDecision) -> str:
    match decision:
        case Delivered():
            return DeliveryState.DELIVERED
        case Retry() | Held():
            return DeliveryState.PENDING
    return DeliveryState.FAILED


def _due_after(decision: DeliveryDecision) -> datetime | None:
    return decision.due_at if isinstance(decision, Retry | Held) else None


def _attempt_row(attempt: Attempt, numbers: Mapping[str, int]) -> dict[str, object]:
    sent = attempt.sent
    return {
        "delivery_id": attempt.delivery_id,
        "number": numbers[attempt.delivery_id],
        "at": attempt.at,
        "duration_ms": round(sent.duration.total_seconds() * 1000),
        "status": sent.status,
        "code": sent.code,
        "message": clean_text(sent.message),
        "answer_head": clean_text(sent.answer_head),
        "next_due_at": _due_after(attempt.decision),
    }


def _end_turns(
    connection: Connection, reports: Sequence[TurnReport], held: Mapping[str, Endpoint], *, now: datetime
) -> None:
    """Free the endpoints. One success says that it works; without any its failing goes on, or begins.

    leased_until says when the next turn may begin: whoever has waited longest is next, and an endpoint that took nothing
    rests, so that one which refuses at once does not keep the lane busy.
    """
    rows = [
        {
            "of_id": report.endpoint_id,
            "is_tried": not all(attempt.is_held for attempt in report.attempts),
            "is_well": any(attempt.is_delivered for attempt in report.attempts),
            "rested": now + rest_after(held[report.endpoint_id].failing_since, now=now),
        }
        for report in reports
    ]
    connection.execute(
        _end_statement(connection.dialect.name == "sqlite"),
        {"ends": encode_rows(rows), "now": now},
    )


@cache
def _end_statement(is_sqlite: bool) -> Any:  # noqa: ANN401, FBT001 - an UPDATE; the cache's key
    rows = make_rowset("ends", {"of_id": TEXT, "is_tried": BOOL, "is_well": BOOL, "rested": UTC}, is_sqlite=is_sqlite)
    now = bindparam("now", type_=UTC)
    since = case(
        (rows.c.is_well, null()),
        (rows.c.is_tried, case((ENDPOINTS.c.failing_since.is_(None), now), else_=ENDPOINTS.c.failing_since)),
        else_=ENDPOINTS.c.failing_since,
    )
    values = {
        "lease_token": None,
        "leased_until": case((rows.c.is_well, now), (rows.c.is_tried, rows.c.rested), else_=now),
        "failing_since": since,
        "last_success_at": case((rows.c.is_well, now), else_=ENDPOINTS.c.last_success_at),
    }
    return update(ENDPOINTS).where(ENDPOINTS.c.id == rows.c.of_id).values(values)

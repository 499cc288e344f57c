"""The rules of webhook events and their deliveries."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, and_, exists, func, literal_column, not_, select

from orchestrator.db.audit.jobs import SWEEP_GRACE
from orchestrator.db.audit.spans import Span
from orchestrator.db.delivery_results import ATTEMPTS
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, WEBHOOK_EVENTS
from orchestrator.domain.deliveries import SECRET_UNUSABLE


def select_waiting(now: datetime, *, is_disabled: bool) -> Select[tuple[object, ...]]:
    """Return endpoints with deliveries that have been due for long: nobody makes them, or cancels them."""
    disabled = ENDPOINTS.c.disabled_at.is_not(None)
    return (
        select(
            ENDPOINTS.c.id.label("subject"),
            func.count().label("count"),
            func.min(DELIVERIES.c.due_at, type_=DELIVERIES.c.due_at.type).label("due_at"),
        )
        .join_from(DELIVERIES, ENDPOINTS, ENDPOINTS.c.id == DELIVERIES.c.endpoint_id)
        .where(DELIVERIES.c.state == literal_column("'pending'"), DELIVERIES.c.due_at < now - SWEEP_GRACE)
        .where(disabled if is_disabled else not_(disabled))
        .group_by(ENDPOINTS.c.id)
        .order_by(ENDPOINTS.c.id)
    )


def select_unsigned() -> Select[tuple[object, ...]]:
    """Return endpoints with deliveries that wait because nothing could be signed when they were last tried."""
    was_last = and_(ATTEMPTS.c.delivery_id == DELIVERIES.c.id, ATTEMPTS.c.number == DELIVERIES.c.attempt_count)
    return (
        select(DELIVERIES.c.endpoint_id.label("subject"), func.count().label("count"))
        .join_from(DELIVERIES, ATTEMPTS, was_last)
        .where(DELIVERIES.c.state == literal_column("'pending'"), ATTEMPTS.c.code == SECRET_UNUSABLE)
        .group_by(DELIVERIES.c.endpoint_id)
        .order_by(DELIVERIES.c.endpoint_id)
    )


def select_unaddressed(span: Span) -> Select[tuple[object, ...]]:
    """Return events of a span that go to nobody: they are written for those who listen, or not at all."""
    goes_somewhere = exists(select(DELIVERIES.c.id).where(DELIVERIES.c.event_id == WEBHOOK_EVENTS.c.id))
    columns = (WEBHOOK_EVENTS.c.id.label("subject"), WEBHOOK_EVENTS.c.type)
    return select(*columns).where(span.of(WEBHOOK_EVENTS.c.id), not_(goes_somewhere))

"""Endpoints and deliveries as people and programs are shown them. No secret stands in them."""

from __future__ import annotations

from orchestrator.domain.webhooks import AttemptRecord, DeliveryRecord, Endpoint
from orchestrator.services.views import Object, show_time


def endpoint_object(endpoint: Endpoint) -> Object:
    """Return the endpoint object."""
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "events": list(endpoint.patterns),
        "scope": "global" if endpoint.is_global else "named",
        "status": "disabled" if endpoint.disabled_at else "enabled",
        "disabled_reason": endpoint.disabled_reason,
        "secret": "own" if endpoint.secrets.sealed else "default",
        "previous_secret_until": show_time(endpoint.secrets.previous_until),
        "failing_since": show_time(endpoint.failing_since),
        "last_success_at": show_time(endpoint.last_success_at),
        "created_at": show_time(endpoint.created_at),
        "disabled_at": show_time(endpoint.disabled_at),
    }


def delivery_object(record: DeliveryRecord) -> Object:
    """Return the delivery object with its log."""
    return {
        "id": record.id,
        "object": "webhook_delivery",
        "event_id": record.event_id,
        "type": record.event_type,
        "endpoint_id": record.endpoint_id,
        "url": record.url,
        "job_id": record.job_id,
        "batch_id": record.batch_id,
        "status": str(record.state),
        "attempt_count": record.attempt_count,
        "next_attempt_at": show_time(record.due_at),
        "created_at": show_time(record.created_at),
        "finished_at": show_time(record.finished_at),
        "attempts": [_attempt_object(attempt) for attempt in record.attempts],
    }


def _attempt_object(attempt: AttemptRecord) -> Object:
    return {
        "number": attempt.number,
        "at": show_time(attempt.at),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "code": attempt.code,
        "message": attempt.message,
        "answer_head": attempt.answer_head,
        "next_attempt_at": show_time(attempt.next_due_at),
    }

"""`/v1/webhook_deliveries`: what was sent, what came back, and sending it again."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import After, Limit, answers, list_of, read_cursor
from orchestrator.api.auth import Reader, Subscriber
from orchestrator.api.desk import DeskOf
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.services.webhook_views import delivery_object

router = APIRouter(prefix="/v1/webhook_deliveries", tags=["webhooks"])

GIVEN_UP = (DeliveryState.FAILED, DeliveryState.CANCELLED)


@router.get("", summary="List deliveries", responses=answers(schemas.WebhookDeliveryList, 400, 404))
def list_deliveries(
    desk: DeskOf,
    caller: Reader,
    *,
    endpoint: Annotated[
        str | None, Query(max_length=64, pattern="^[0-9a-z_]*$", description="Only to the endpoint of this id.")
    ] = None,
    failed: Annotated[bool, Query(description="Only those that were given up or cancelled.")] = False,
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """List deliveries, newest first, with every attempt: status, how long it took, what the receiver answered."""
    if endpoint is not None:
        desk.get_endpoint(endpoint, caller)
    found = desk.app.endpoints.list_deliveries(
        endpoint_id=endpoint,
        states=GIVEN_UP if failed else (),
        limit=limit + 1,
        after=read_cursor(after),
        owner=caller.scope,
    )
    return list_of([delivery_object(record) for record in found], limit=limit)


@router.get("/{delivery_id}", summary="Show a delivery", responses=answers(schemas.WebhookDelivery, 404))
def get_delivery(desk: DeskOf, caller: Reader, delivery_id: str) -> Response:
    """Show one delivery with every attempt."""
    return JSONResponse(delivery_object(desk.get_delivery(delivery_id, caller)[1]))


@router.post(
    "/resend", status_code=202, summary="Send again what failed", responses=answers(schemas.Resent, 409, status=202)
)
def resend_failed(desk: DeskOf, caller: Subscriber, body: schemas.ResendRequest) -> Response:
    """Send every delivery again that was given up or cancelled since a time and whose endpoint is enabled."""
    if body.since.tzinfo is None:
        raise InvalidParams([Fault("invalid_time", "since", "since has no time zone", "2026-11-24T09:30:00Z")])
    scope = caller.scope
    whose = scope if scope is not None else caller.creates_for
    line = AuditEntry(caller.actor, "webhook_delivery.resend", "failed", whose, body.reason)
    count = desk.app.endpoints.resend_failed(since=body.since.astimezone(UTC), owner=scope, audit=line)
    desk.wake(LaneName.DELIVER)
    return JSONResponse({"object": "resent", "count": count}, status_code=202)


@router.post(
    "/{delivery_id}/resend",
    status_code=202,
    summary="Send a delivery again",
    responses=answers(schemas.WebhookDelivery, 404, 409, status=202),
)
def resend(desk: DeskOf, caller: Subscriber, delivery_id: str, body: schemas.Reason | None = None) -> Response:
    """Send a delivery again: the same id and body, a new timestamp and signature. Its schedule begins anew."""
    endpoint, _ = desk.get_delivery(delivery_id, caller)
    reason = body.reason if body else ""
    desk.note(caller, "webhook_delivery.resend", delivery_id, owner=endpoint.owner, reason=reason)
    desk.app.endpoints.resend(delivery_id)
    desk.wake(LaneName.DELIVER)
    return JSONResponse(delivery_object(desk.app.endpoints.get_delivery(delivery_id)), status_code=202)

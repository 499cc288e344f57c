"""`/v1/webhook_endpoints`: who hears what becomes of jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import After, Limit, answers, list_of, read_cursor
from orchestrator.api.auth import Reader, Subscriber
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.domain.access import Principal
from orchestrator.domain.ports import LaneName
from orchestrator.domain.redact import redact_links
from orchestrator.domain.webhooks import Endpoint
from orchestrator.services.webhook_views import delivery_object, endpoint_object
from orchestrator.services.webhooks import WithSecret, add_endpoint, rotate_secret

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"])

BY_HAND = "by hand"
CHANGED = answers(schemas.WebhookEndpoint, 404, 409)


@router.post(
    "", status_code=201, summary="Add an endpoint", responses=answers(schemas.NewWebhookEndpoint, 400, status=201)
)
def add(desk: DeskOf, caller: Subscriber, body: schemas.EndpointRequest) -> Response:
    """Add an endpoint that hears of every job of the key's owner. `secret` is shown here, once."""
    owner = caller.creates_for
    desk.note(caller, "webhook_endpoint.create", redact_links(body.url), owner=owner, reason=body.reason)
    made = add_endpoint(replace(desk.app.endpoint_desk, owner=owner), body.url, body.events)
    return JSONResponse(_with_secret(made), status_code=201)


@router.get("", summary="List endpoints", responses=answers(schemas.WebhookEndpointList, 400))
def list_endpoints(desk: DeskOf, caller: Reader, limit: Limit = 20, after: After = None) -> Response:
    """List the endpoints, those that jobs and batches named among them (scope `named`); never their secrets."""
    found = desk.app.endpoints.list_all(owner=caller.scope, limit=limit + 1, after=read_cursor(after))
    return list_of([endpoint_object(endpoint) for endpoint in found], limit=limit)


@router.get("/{endpoint_id}", summary="Show an endpoint", responses=answers(schemas.WebhookEndpoint, 404))
def get_endpoint(desk: DeskOf, caller: Reader, endpoint_id: str) -> Response:
    """Show one endpoint: what it hears, whether it works, how long its last secret still signs."""
    return JSONResponse(endpoint_object(desk.get_endpoint(endpoint_id, caller)))


@router.patch("/{endpoint_id}", summary="Enable or disable an endpoint", responses=CHANGED)
def change(desk: DeskOf, caller: Subscriber, endpoint_id: str, body: schemas.EndpointChange) -> Response:
    """Let an endpoint take events, or no more: what is queued for it is then cancelled; sending again is asked for."""
    action = "enable" if body.enabled else "disable"
    _note(desk, caller, endpoint_id, action, body.reason)
    reason = None if body.enabled else body.reason or BY_HAND
    return JSONResponse(endpoint_object(desk.app.endpoints.set_enabled(endpoint_id, reason=reason)))


@router.delete("/{endpoint_id}", summary="Delete an endpoint", responses=CHANGED)
def delete(desk: DeskOf, caller: Subscriber, endpoint_id: str) -> Response:
    """Remove an endpoint and its secrets. What is queued for it is cancelled; the log of its deliveries stays."""
    _note(desk, caller, endpoint_id, "delete")
    desk.app.endpoints.delete(endpoint_id)
    return JSONResponse(endpoint_object(desk.app.endpoints.get(endpoint_id)))


@router.post(
    "/{endpoint_id}/rotate",
    summary="Change an endpoint's secret",
    responses=answers(schemas.NewWebhookEndpoint, 404, 409),
)
def rotate(desk: DeskOf, caller: Subscriber, endpoint_id: str, body: schemas.RotateRequest | None = None) -> Response:
    """Give an endpoint a new secret, shown here, once. Until the overlap is over both sign, so receivers can change."""
    asked = body or schemas.RotateRequest()
    _note(desk, caller, endpoint_id, "rotate", asked.reason)
    overlap = timedelta(seconds=asked.overlap_seconds)
    return JSONResponse(_with_secret(rotate_secret(desk.app.endpoint_desk, endpoint_id, overlap=overlap)))


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    summary="Test an endpoint",
    responses=answers(schemas.WebhookDelivery, 404, 409, status=202),
)
def send_test(desk: DeskOf, caller: Subscriber, endpoint_id: str, body: schemas.Reason | None = None) -> Response:
    """Send a `webhook.test` event to an endpoint; the delivery that is answered says later what came of it."""
    _note(desk, caller, endpoint_id, "test", body.reason if body else "")
    delivery_id = desk.app.endpoints.add_test(endpoint_id)
    desk.wake(LaneName.DELIVER)
    headers = {"Location": f"/v1/webhook_deliveries/{delivery_id}"}
    return JSONResponse(delivery_object(desk.app.endpoints.get_delivery(delivery_id)), status_code=202, headers=headers)


def _note(desk: Desk, caller: Principal, endpoint_id: str, action: str, reason: str = "") -> None:
    """Look whether the endpoint is theirs, and write the line."""
    endpoint: Endpoint = desk.get_endpoint(endpoint_id, caller)
    desk.note(caller, f"webhook_endpoint.{action}", endpoint_id, owner=endpoint.owner, reason=reason)


def _with_secret(made: WithSecret) -> dict[str, object]:
    return {**endpoint_object(made.endpoint), "secret": made.secret}

"""Webhooks: endpoints, the log of what was sent to each, and sending it again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.guard import Deciding, Reader, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.access import Principal
from orchestrator.domain.errors import NotFound, RequestError
from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState, Endpoint
from orchestrator.services.webhook_views import delivery_object, endpoint_object
from orchestrator.services.webhooks import add_endpoint

router = APIRouter()

PAGE_SIZE = 30
DONE = {
    "resend": "It is due again: the same id and body, a new timestamp and signature.",
    "enable": "It takes events again.",
    "disable": "It takes no more events; what was queued for it is cancelled.",
    "test": "A test event is on its way.",
}
Why = Annotated[str, Form(max_length=1000)]


@router.get("/webhooks")
def list_endpoints(request: Request, desk: DeskOf, visitor: Reader) -> Response:
    """List the endpoints of whoever looks."""
    return _show_list(request, desk, visitor)


@router.post("/webhooks")
def add(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    url: Annotated[str, Form(max_length=2000)] = "",
    events: Annotated[str, Form(max_length=500)] = "job.*, batch.finished",
) -> Response:
    """Add an endpoint and show its secret, once."""
    caller = visitor.caller
    tools = replace(desk.app.endpoint_desk, owner=caller.creates_for)
    patterns = [part.strip() for part in events.split(",") if part.strip()]
    desk.note(caller, "webhook.add", url[:200], owner=caller.creates_for)
    try:
        made = add_endpoint(tools, url.strip(), patterns)
    except RequestError as error:
        return _show_list(request, desk, visitor, problem=error.message, status=error.status)
    return _show_list(request, desk, visitor, secret=made.secret, status=201)


@router.get("/webhooks/{endpoint_id}")
def show_endpoint(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    endpoint_id: str,
    *,
    failed: bool = False,
    after: Annotated[str | None, Query(max_length=100)] = None,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show an endpoint with the log of its deliveries."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    states = (DeliveryState.FAILED, DeliveryState.CANCELLED) if failed else ()
    found = desk.app.endpoints.list_deliveries(
        endpoint_id=endpoint_id, states=states, limit=PAGE_SIZE + 1, after=read_cursor(after)
    )
    rows = [delivery_object(record) for record in found[:PAGE_SIZE]]
    values = {
        "endpoint": endpoint_object(endpoint),
        "deliveries": rows,
        "more": rows[-1]["id"] if len(found) > PAGE_SIZE else None,
        "failed": failed,
        "done": DONE.get(done),
    }
    flag = " --failed" if failed else ""
    lines = (
        f"orchestrator webhooks show {endpoint_id}",
        f"orchestrator webhooks deliveries --endpoint {endpoint_id}{flag}",
    )
    return show(request, Page("webhook.html", "Webhook", "webhooks", lines, values=values), visitor)


@router.post("/webhooks/{endpoint_id}/enable")
def enable(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str) -> Response:
    """Let it take events again."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook.enable", endpoint_id, owner=endpoint.owner)
    desk.app.endpoints.set_enabled(endpoint_id, reason=None)
    desk.wake(LaneName.DELIVER)
    return _return(request, endpoint_id, "enable")


@router.post("/webhooks/{endpoint_id}/disable")
def disable(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str, reason: Why = "") -> Response:
    """Let it take no more events."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook.disable", endpoint_id, owner=endpoint.owner, reason=reason)
    words = f"by {visitor.caller.actor}{f': {reason}' if reason else ''}"
    desk.app.endpoints.set_enabled(endpoint_id, reason=words)
    return _return(request, endpoint_id, "disable")


@router.post("/webhooks/{endpoint_id}/test")
def test(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str) -> Response:
    """Send it a test event."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook.test", endpoint_id, owner=endpoint.owner)
    desk.app.endpoints.add_test(endpoint_id)
    desk.wake(LaneName.DELIVER)
    return _return(request, endpoint_id, "test")


@router.post("/deliveries/{delivery_id}/resend")
def resend(request: Request, desk: DeskOf, visitor: Deciding, delivery_id: str) -> Response:
    """Send a delivery again."""
    record = desk.app.endpoints.get_delivery(delivery_id)
    try:
        endpoint = _get(desk, visitor.caller, record.endpoint_id)
    except NotFound as error:
        raise NotFound(f"there is no delivery {delivery_id}") from error
    desk.note(visitor.caller, "webhook.resend", delivery_id, owner=endpoint.owner)
    desk.app.endpoints.resend(delivery_id)
    desk.wake(LaneName.DELIVER)
    return _return(request, endpoint.id, "resend")


def list_failing(desk: Desk, caller: Principal) -> list[dict[str, object]]:
    """Return the endpoints of whoever looks that fail, or were disabled for it."""
    mine = [endpoint for endpoint in desk.app.endpoints.list_all() if caller.sees(endpoint.owner)]
    return [endpoint_object(one) for one in mine if one.failing_since is not None]


def _get(desk: Desk, caller: Principal, endpoint_id: str) -> Endpoint:
    """Raises NotFound, in the same words, for what is not there and for what is not theirs."""
    endpoint = desk.app.endpoints.get(endpoint_id)
    if not caller.sees(endpoint.owner):
        raise NotFound(f"there is no endpoint {endpoint_id}")
    return endpoint


def _show_list(
    request: Request,
    desk: Desk,
    visitor: Visitor,
    *,
    secret: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    mine = [endpoint for endpoint in desk.app.endpoints.list_all() if visitor.caller.sees(endpoint.owner)]
    values = {"endpoints": [endpoint_object(one) for one in mine], "secret": secret, "problem": problem}
    lines = ("orchestrator webhooks list", "orchestrator webhooks add URL --events 'job.*'")
    page = Page("webhooks.html", "Webhooks", "webhooks", lines, status=status, values=values)
    return show(request, page, visitor)


def _return(request: Request, endpoint_id: str, done: str) -> Response:
    address = f"{base_of(request)}/webhooks/{endpoint_id}?done={done}"
    return RedirectResponse(address, status_code=303, headers=headers_of())

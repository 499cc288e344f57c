"""Webhooks: endpoints, the log of what was sent to each, and sending it again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.guard import Deciding, Reader, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.access import Principal
from orchestrator.domain.errors import Fault, InvalidParams, NotFound, RequestError
from orchestrator.domain.ports import LaneName
from orchestrator.domain.redact import redact_links
from orchestrator.domain.webhooks import DeliveryState, Endpoint
from orchestrator.services.webhook_views import delivery_object, endpoint_object
from orchestrator.services.webhooks import add_endpoint, rotate_secret

router = APIRouter()

PAGE_SIZE = 30
MOST_FAILING = 100
DONE = {
    "resend": "It is due again: the same id and body, a new timestamp and signature.",
    "enable": "It takes events again.",
    "disable": "It takes no more events; what was queued for it is cancelled.",
    "test": "A test event is on its way.",
    "delete": "It is deleted, its secrets with it; what was queued for it is cancelled.",
}
OVERLAPS = {"0": timedelta(0), "1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
Why = Annotated[str, Form(max_length=1000)]


@router.get("/webhooks")
def list_endpoints(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    after: Annotated[str | None, Query(max_length=100)] = None,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """List the endpoints of whoever looks, page by page: jobs can name as many as they like."""
    return _show_list(request, desk, visitor, after=read_cursor(after), done=DONE.get(done))


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
    desk.note(caller, "webhook_endpoint.create", redact_links(url.strip()), owner=caller.creates_for)
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
    return _show_one(request, desk, visitor, endpoint, failed=failed, after=read_cursor(after), done=DONE.get(done))


@router.post("/webhooks/{endpoint_id}/enable")
def enable(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str) -> Response:
    """Let it take events again."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook_endpoint.enable", endpoint_id, owner=endpoint.owner)
    desk.app.endpoints.set_enabled(endpoint_id, reason=None)
    desk.wake(LaneName.DELIVER)
    return _return(request, endpoint_id, "enable")


@router.post("/webhooks/{endpoint_id}/disable")
def disable(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str, reason: Why = "") -> Response:
    """Let it take no more events."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook_endpoint.disable", endpoint_id, owner=endpoint.owner, reason=reason)
    words = f"by {visitor.caller.actor}{f': {reason}' if reason else ''}"
    desk.app.endpoints.set_enabled(endpoint_id, reason=words)
    return _return(request, endpoint_id, "disable")


@router.post("/webhooks/{endpoint_id}/rotate")
def rotate(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    endpoint_id: str,
    overlap: Annotated[str, Form(max_length=5)] = "1d",
    reason: Why = "",
) -> Response:
    """Give it a new secret and show that, once. Until the overlap is over both sign."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    if overlap not in OVERLAPS:
        raise InvalidParams([Fault("invalid_overlap", "overlap", f"overlap is one of {', '.join(OVERLAPS)}")])
    desk.note(visitor.caller, "webhook_endpoint.rotate", endpoint_id, owner=endpoint.owner, reason=reason)
    made = rotate_secret(desk.app.endpoint_desk, endpoint_id, overlap=OVERLAPS[overlap])
    return _show_one(request, desk, visitor, made.endpoint, secret=made.secret)


@router.post("/webhooks/{endpoint_id}/delete")
def delete(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str, reason: Why = "") -> Response:
    """Remove it and its secrets; the log of its deliveries stays."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook_endpoint.delete", endpoint_id, owner=endpoint.owner, reason=reason)
    desk.app.endpoints.delete(endpoint_id)
    return RedirectResponse(f"{base_of(request)}/webhooks?done=delete", status_code=303, headers=headers_of())


@router.post("/webhooks/{endpoint_id}/test")
def test(request: Request, desk: DeskOf, visitor: Deciding, endpoint_id: str) -> Response:
    """Send it a test event."""
    endpoint = _get(desk, visitor.caller, endpoint_id)
    desk.note(visitor.caller, "webhook_endpoint.test", endpoint_id, owner=endpoint.owner)
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
    desk.note(visitor.caller, "webhook_delivery.resend", delivery_id, owner=endpoint.owner)
    desk.app.endpoints.resend(delivery_id)
    desk.wake(LaneName.DELIVER)
    return _return(request, endpoint.id, "resend")


def list_failing(desk: Desk, caller: Principal) -> list[dict[str, object]]:
    """Return the endpoints of whoever looks that fail, or were disabled for it: as many as anybody would read."""
    found = desk.app.endpoints.list_all(owner=caller.scope, limit=MOST_FAILING, is_failing=True)
    return [endpoint_object(one) for one in found]


def _get(desk: Desk, caller: Principal, endpoint_id: str) -> Endpoint:
    """Raises NotFound, in the same words, for what is not there and for what is not theirs."""
    endpoint = desk.app.endpoints.get(endpoint_id)
    if not caller.sees(endpoint.owner):
        raise NotFound(f"there is no endpoint {endpoint_id}")
    return endpoint


def _show_one(
    request: Request,
    desk: Desk,
    visitor: Visitor,
    endpoint: Endpoint,
    *,
    failed: bool = False,
    after: str | None = None,
    done: str | None = None,
    secret: str | None = None,
) -> Response:
    states = (DeliveryState.FAILED, DeliveryState.CANCELLED) if failed else ()
    found = desk.app.endpoints.list_deliveries(endpoint_id=endpoint.id, states=states, limit=PAGE_SIZE + 1, after=after)
    rows = [delivery_object(record) for record in found[:PAGE_SIZE]]
    values = {
        "endpoint": endpoint_object(endpoint),
        "deliveries": rows,
        "more": rows[-1]["id"] if len(found) > PAGE_SIZE else None,
        "failed": failed,
        "done": done,
        "secret": secret,
        "is_deleted": endpoint.deleted_at is not None,
    }
    flag = " --failed" if failed else ""
    lines = (
        f"orchestrator webhooks show {endpoint.id}",
        f"orchestrator webhooks deliveries --endpoint {endpoint.id}{flag}",
        *(() if endpoint.deleted_at else (f"orchestrator webhooks rotate {endpoint.id} --overlap 1d",)),
    )
    return show(request, Page("webhook.html", "Webhook", "webhooks", lines, values=values), visitor)


def _show_list(
    request: Request,
    desk: Desk,
    visitor: Visitor,
    *,
    after: str | None = None,
    secret: str | None = None,
    problem: str | None = None,
    done: str | None = None,
    status: int = 200,
) -> Response:
    found = desk.app.endpoints.list_all(owner=visitor.caller.scope, limit=PAGE_SIZE + 1, after=after)
    rows = [endpoint_object(one) for one in found[:PAGE_SIZE]]
    values = {
        "endpoints": rows,
        "more": rows[-1]["id"] if len(found) > PAGE_SIZE else None,
        "after": after,
        "secret": secret,
        "problem": problem,
        "done": done,
    }
    lines = ("orchestrator webhooks list", "orchestrator webhooks add URL --events 'job.*'")
    page = Page("webhooks.html", "Webhooks", "webhooks", lines, status=status, values=values)
    return show(request, page, visitor)


def _return(request: Request, endpoint_id: str, done: str) -> Response:
    address = f"{base_of(request)}/webhooks/{endpoint_id}?done={done}"
    return RedirectResponse(address, status_code=303, headers=headers_of())

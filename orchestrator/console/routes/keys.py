"""Keys: made, shown once, revoked. For administrators."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.guard import Administering, Administrator, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.access import Role
from orchestrator.domain.errors import InvalidParams
from orchestrator.services.access import create_key, list_keys, revoke_key
from orchestrator.services.access_views import key_object

router = APIRouter()

PAGE_SIZE = 50
MOST_DAYS = 3660


@router.get("/keys")
def list_all(
    request: Request, desk: DeskOf, visitor: Administrator, after: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """List keys, revoked ones too."""
    return _show(request, desk, visitor, after=read_cursor(after))


@router.post("/keys")
def make(
    request: Request,
    desk: DeskOf,
    visitor: Administering,
    name: Annotated[str, Form(max_length=64)] = "",
    role: Annotated[Role, Form()] = Role.VIEWER,
    owner: Annotated[str, Form(max_length=64)] = "",
    days: Annotated[str, Form(max_length=5)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Make a key and show it, once."""
    try:
        _, text = create_key(
            desk.app.keys,
            name=name.strip(),
            role=role,
            owner=owner.strip() or None,
            life=_life(days),
            server_key=desk.server_key,
            rng=desk.app.rng,
            actor=visitor.caller.actor,
            reason=reason,
        )
    except InvalidParams as error:
        return _show(request, desk, visitor, problem=error.message, status=422)
    return _show(request, desk, visitor, made=text, status=201)


@router.post("/keys/{key_id}/revoke")
def revoke(request: Request, desk: DeskOf, visitor: Administering, key_id: str) -> Response:
    """Revoke a key for good: its next request, and the next click of its sessions, is refused."""
    revoke_key(desk.app.keys, key_id, actor=visitor.caller.actor, reason="in the console")
    return RedirectResponse(f"{base_of(request)}/keys", status_code=303, headers=headers_of())


def _show(
    request: Request,
    desk: Desk,
    visitor: Visitor,
    *,
    after: str | None = None,
    made: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    found = list_keys(desk.app.keys, limit=PAGE_SIZE + 1, after=after)
    rows = [key_object(key) for key in found[:PAGE_SIZE]]
    values = {
        "keys": rows,
        "more": rows[-1]["id"] if len(found) > PAGE_SIZE else None,
        "made": made,
        "problem": problem,
        "roles": [str(role) for role in Role],
    }
    lines = ("orchestrator keys list", "orchestrator keys create NAME --role viewer")
    return show(request, Page("keys.html", "Keys", "keys", lines, status=status, values=values), visitor)


def _life(days: str) -> timedelta | None:
    if not days.strip():
        return None
    count = int(days) if days.strip().isdecimal() else 0
    return timedelta(days=min(count, MOST_DAYS))

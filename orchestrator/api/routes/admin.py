"""`/v1/keys`, `/v1/audit_log`: for administrators."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import After, Limit, answers, list_of, read_cursor
from orchestrator.api.auth import Administrator
from orchestrator.api.desk import DeskOf
from orchestrator.services.access import create_key, list_keys, revoke_key
from orchestrator.services.access_views import audit_object, key_object

router = APIRouter(prefix="/v1", tags=["admin"])


@router.post("/keys", status_code=201, summary="Make a key", responses=answers(schemas.NewKey, status=201))
def make_key(desk: DeskOf, caller: Administrator, body: schemas.KeyRequest) -> Response:
    """Make a key. `key` is shown here, once, and kept nowhere."""
    life = timedelta(seconds=body.expires_in_seconds) if body.expires_in_seconds is not None else None
    key, text = create_key(
        desk.app.keys,
        name=body.name,
        role=body.role,
        owner=body.owner,
        life=life,
        server_key=desk.server_key,
        rng=desk.app.rng,
        actor=caller.actor,
        reason=body.reason,
    )
    return JSONResponse(key_object(key, text=text), status_code=201)


@router.get("/keys", summary="List keys", responses=answers(schemas.KeyList, 400))
def list_all_keys(desk: DeskOf, caller: Administrator, limit: Limit = 20, after: After = None) -> Response:
    """List keys, revoked ones included; never their secrets."""
    keys = list_keys(desk.app.keys, limit=limit + 1, after=read_cursor(after))
    return list_of([key_object(key) for key in keys], limit=limit)


@router.delete("/keys/{key_id}", summary="Revoke a key", responses=answers(schemas.Key, 404))
def revoke(desk: DeskOf, caller: Administrator, key_id: str) -> Response:
    """Revoke a key for good: its next request is refused."""
    return JSONResponse(key_object(revoke_key(desk.app.keys, key_id, actor=caller.actor)))


@router.get("/audit_log", summary="Who asked for what", responses=answers(schemas.AuditList, 400))
def list_audit_log(desk: DeskOf, caller: Administrator, limit: Limit = 20, after: After = None) -> Response:
    """List what was asked for, newest first. A line is written before the thing is done, so it may have been refused."""
    entries = desk.app.audit_log.list_entries(limit=limit + 1, after=read_cursor(after))
    return list_of([audit_object(entry) for entry in entries], limit=limit)

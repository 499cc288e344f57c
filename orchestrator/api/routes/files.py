"""`/v1/files`: inputs come here; requests name them by id, never by a path."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Creator, Reader
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.uploading import FILE_PART, MULTIPART, Received, received
from orchestrator.domain.access import Principal
from orchestrator.domain.errors import NotFound
from orchestrator.services.access_views import file_object
from orchestrator.services.uploads import keep_upload

router = APIRouter(prefix="/v1/files", tags=["files"])
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {MULTIPART: FILE_PART}}}


@router.post(
    "",
    status_code=201,
    summary="Upload an input",
    responses=answers(schemas.File, 400, 408, 413, 415, status=201),
    openapi_extra=BODY,
)
async def upload(request: Request, desk: DeskOf, caller: Creator) -> Response:
    """Take a picture or a recording in as the part `file` of a form. Its type is told from its bytes, whatever its name
    says; it is kept in the archive under its SHA-256, once.
    """
    async with received(request, desk.app.settings.spool_dir) as got:
        return JSONResponse(await run_in_threadpool(_keep, desk, caller, got), status_code=201)


@router.get("/{file_id}", summary="Show an uploaded input", responses=answers(schemas.File, 404))
def get_file(desk: DeskOf, caller: Reader, file_id: str) -> Response:
    """Show what was uploaded under this id."""
    found = desk.app.uploads.find(file_id, owner=caller.creates_for)
    if found is None:
        raise NotFound(f"there is no file {file_id}")
    return JSONResponse(file_object(found))


def _keep(desk: Desk, caller: Principal, got: Received) -> dict[str, object]:
    app, owner = desk.app, caller.creates_for
    store = app.stores.open(app.settings.archive)
    kept = keep_upload(app.uploads, store, got.path, name=got.name, owner=owner, actor=caller.actor, rng=app.rng)
    return file_object(kept)

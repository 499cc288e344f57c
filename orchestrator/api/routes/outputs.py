"""`/v1/outputs`: what jobs made, by links that live a while."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Reader
from orchestrator.api.desk import LINK_LIFE, Desk, DeskOf
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Job, StoredFile
from orchestrator.services.views import not_there, output_object
from orchestrator.storage.disposition import attachment

router = APIRouter(prefix="/v1/outputs", tags=["outputs"])
SANDBOXED = "sandbox; default-src 'none'"
"""A page or a drawing that somebody opens from here can run nothing (row I9)."""
BYTES: dict[int | str, dict[str, Any]] = {
    **answers(None, 404),
    200: {
        "description": "The bytes, where the archive is a directory of the server.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {"description": "The part that `Range` asks for."},
    302: {"description": "To a signed link of the store."},
    400: {"description": "A `Range` that cannot be read."},
    416: {"description": "A `Range` outside the file."},
}


@router.get("/{output_id}", summary="Show an output", responses=answers(schemas.Output, 404))
def get_output(desk: DeskOf, caller: Reader, output_id: str) -> Response:
    """Show an output with a fresh link. The link of a local archive leads to `/content` and needs the key too."""
    job, output = desk.get_output(output_id, caller)
    sign, sign_small = partial(desk.sign, job), partial(desk.sign_small, job)
    return JSONResponse(output_object(output, sign=sign, sign_small=sign_small))


@router.get("/{output_id}/content", summary="The bytes of an output", responses=BYTES, response_model=None)
def get_content(desk: DeskOf, caller: Reader, output_id: str) -> Response:
    """Lead to the bytes: by a signed link, or, where nobody else can reach the archive, as they are."""
    job, output = desk.get_output(output_id, caller)
    if output.kept is None:
        raise NotFound(not_there(output))
    return _lead_to(desk, job, output.kept)


@router.get("/{output_id}/thumbnail", summary="A small picture of an output", responses=BYTES, response_model=None)
def get_thumbnail(desk: DeskOf, caller: Reader, output_id: str) -> Response:
    """Lead to the thumbnail, a JPEG, as to the bytes; of a film it shows the first frame that is not black."""
    job, output = desk.get_output(output_id, caller)
    if output.kept is None:
        raise NotFound(not_there(output))
    if output.kept.small is None:
        raise NotFound(f"{output_id} has no thumbnail")
    return _lead_to(desk, job, output.kept.small)


def _lead_to(desk: Desk, job: Job, file: StoredFile) -> Response:
    store = desk.app.stores.open(job.archive_url)
    name = f"{job.custom_id or job.id}-{file.key.rpartition('/')[2]}"
    link = store.sign_url(file.key, expires=LINK_LIFE, file_name=name)
    if store.has_public_links:
        return RedirectResponse(link, status_code=302)
    if store.find(file.key) is None:
        raise NotFound(f"the archive does not hold {file.key} any more")
    headers = {"Content-Disposition": attachment(name), "Content-Security-Policy": SANDBOXED}
    return FileResponse(unquote(urlsplit(link).path), media_type=file.content_type, headers=headers)

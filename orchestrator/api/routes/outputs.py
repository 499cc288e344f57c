"""`/v1/outputs`: what jobs made, by links that live a while."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Reader
from orchestrator.api.desk import LINK_LIFE, DeskOf
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Output
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
    return JSONResponse(output_object(output, sign=lambda one: desk.sign(job, one)))


@router.get("/{output_id}/content", summary="The bytes of an output", responses=BYTES, response_model=None)
def get_content(desk: DeskOf, caller: Reader, output_id: str) -> Response:
    """Lead to the bytes: by a signed link, or, where nobody else can reach the archive, as they are."""
    job, output = desk.get_output(output_id, caller)
    if output.kept is None:
        raise NotFound(not_there(output))
    store = desk.app.stores.open(job.archive_url)
    name = _name(job.custom_id or job.id, output)
    link = store.sign_url(output.kept.key, expires=LINK_LIFE, file_name=name)
    if store.has_public_links:
        return RedirectResponse(link, status_code=302)
    if store.find(output.kept.key) is None:
        raise NotFound(f"the archive does not hold {output_id} any more")
    headers = {"Content-Disposition": attachment(name), "Content-Security-Policy": SANDBOXED}
    return FileResponse(unquote(urlsplit(link).path), media_type=output.kept.content_type, headers=headers)


def _name(name: str, output: Output) -> str:
    assert output.kept is not None
    return f"{name}-{output.kept.key.rpartition('/')[2]}"

"""`/v1/models` and `/v1/errors`: what there is, and what codes mean."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Inspector
from orchestrator.api.desk import DeskOf
from orchestrator.api.figures import CachedFigures
from orchestrator.services.access_views import model_object
from orchestrator.services.views import error_object
from orchestrator.wiring import error_catalogue, slots_per_model

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/models", summary="List models", responses=answers(schemas.ModelList))
def list_models(desk: DeskOf, caller: Inspector, figures: CachedFigures) -> Response:
    """List every model with its limit, how much of that is used, its price, and what pauses it."""
    slots = slots_per_model(desk.app.kinds, desk.app.settings.limits)
    seen = figures.read()
    pauses = {pause.model: pause for pause in seen.pauses}
    rows = [
        model_object(
            kind,
            model,
            slots=slots.get(model.name, slots["*"]),
            held=seen.slots_held.get(model.name, 0),
            pause=pauses.get(None) or pauses.get(model.name),
        )
        for _, kind in sorted(desk.app.kinds.items())
        for model in kind.models.values()
    ]
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return JSONResponse({"object": "list", "data": rows, "has_more": False, "first_id": first, "last_id": last})


@router.get("/errors", summary="List error codes", responses=answers(schemas.ErrorCodeList))
def list_errors(
    caller: Inspector, code: Annotated[str | None, Query(max_length=100, description="Only this one.")] = None
) -> Response:
    """List every code with what happens next and what to do."""
    entries = error_catalogue().find_all(code) if code is not None else list(error_catalogue())
    return JSONResponse({"object": "list", "data": [error_object(entry) for entry in entries]})

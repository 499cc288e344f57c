"""`/v1/models` and `/v1/errors`: what there is and how it is steered, and what codes mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Inspector, Steerer
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.figures import CachedFigures, FiguresCache
from orchestrator.domain.access import EVERYONE, Capability, Principal
from orchestrator.domain.ports import LaneName
from orchestrator.services.access_views import model_object
from orchestrator.services.models import get_model, limit_model, list_models, pause_model, resume_model
from orchestrator.services.views import Object, error_object
from orchestrator.wiring import error_catalogue, make_model_desk

router = APIRouter(prefix="/v1", tags=["catalogue"])
STEERED = answers(schemas.Model, 404)


@router.get("/models", summary="List models", responses=answers(schemas.ModelList))
def list_all_models(desk: DeskOf, caller: Inspector, figures: CachedFigures) -> Response:
    """List every model with its limit, how much of that is used, its price, and what pauses it."""
    rows = _show(desk, caller, figures, list_models(make_model_desk(desk.app)))
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return JSONResponse({"object": "list", "data": rows, "has_more": False, "first_id": first, "last_id": last})


@router.post("/models/{model}/limit", summary="Limit a model", responses=STEERED)
def limit(desk: DeskOf, caller: Steerer, figures: CachedFigures, model: str, body: schemas.ModelLimit) -> Response:
    """Let at most so many requests of a model be in flight, over the settings of every process, from the next claim on."""
    desk.note(caller, "model.limit", model, owner=EVERYONE, reason=body.reason)
    limit_model(make_model_desk(desk.app), model, body.limit, actor=caller.actor)
    return _answer(desk, caller, figures, model)


@router.post("/models/{model}/pause", summary="Pause a model", responses=STEERED)
def pause(
    desk: DeskOf, caller: Steerer, figures: CachedFigures, model: str, body: schemas.Reason | None = None
) -> Response:
    """Submit nothing more for a model until it is resumed; what is paid for goes on."""
    reason = body.reason if body else ""
    desk.note(caller, "model.pause", model, owner=EVERYONE, reason=reason)
    pause_model(make_model_desk(desk.app), model, actor=caller.actor, reason=reason)
    return _answer(desk, caller, figures, model)


@router.post("/models/{model}/resume", summary="Resume a model", responses=STEERED)
def resume(
    desk: DeskOf, caller: Steerer, figures: CachedFigures, model: str, body: schemas.Reason | None = None
) -> Response:
    """End a model's pause, also one that the provider's answer made: the next answer may pause it again."""
    desk.note(caller, "model.resume", model, owner=EVERYONE, reason=body.reason if body else "")
    resume_model(make_model_desk(desk.app), model, actor=caller.actor)
    return _answer(desk, caller, figures, model)


def _show(desk: Desk, caller: Principal, figures: FiguresCache, rows: Iterable[Object]) -> list[Object]:
    account = next((pause for pause in figures.read().pauses if pause.model is None), None)
    has_figures = caller.may(Capability.MEASURE)
    return [model_object(row, desk.app.kinds, account=account, has_figures=has_figures) for row in rows]


def _answer(desk: Desk, caller: Principal, figures: FiguresCache, model: str) -> Response:
    """There may be room now: the workers are told, and the model is shown as it stands."""
    desk.wake(LaneName.SUBMIT)
    return JSONResponse(_show(desk, caller, figures, [get_model(make_model_desk(desk.app), model)])[0])


@router.get("/errors", summary="List error codes", responses=answers(schemas.ErrorCodeList))
def list_errors(
    caller: Inspector, code: Annotated[str | None, Query(max_length=100, description="Only this one.")] = None
) -> Response:
    """List every code with what happens next and what to do."""
    entries = error_catalogue().find_all(code) if code is not None else list(error_catalogue())
    return JSONResponse({"object": "list", "data": [error_object(entry) for entry in entries]})

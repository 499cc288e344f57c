"""Models: how much of each is in use, what it costs, what pauses it; and the operator's hand on limits and pauses."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.charts import share
from orchestrator.console.guard import Deciding, Inspector, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.access import EVERYONE, NotAllowed
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.ports import LaneName
from orchestrator.services.batches import show_micros
from orchestrator.services.models import limit_model, list_models, pause_model, resume_model, tell_excess
from orchestrator.wiring import make_model_desk

router = APIRouter()

MOST = 100_000  # far above any account; what the column holds
AS_SET = "settings"
DONE = {
    "limit": "The limit holds from the next submission on; what is in flight goes on.",
    "pause": "Nothing more is submitted for it; what is paid for goes on.",
    "resume": "It goes on.",
}
LINES = (
    "orchestrator models list",
    "orchestrator models limit MODEL N",
    "orchestrator models pause MODEL",
    "orchestrator models resume MODEL",
)


@router.get("/models")
def show_models(
    request: Request, desk: DeskOf, visitor: Inspector, done: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """List every model that a kind knows or that has been used."""
    prices = {name: model.price for kind in desk.app.kinds.values() for name, model in kind.models.items()}
    rows = []
    for row in list_models(make_model_desk(desk.app)):
        price, in_use, limit = prices.get(str(row["model"])), row["in_use"], row["limit"]
        assert isinstance(in_use, int)
        assert isinstance(limit, int)
        words = f"{show_micros(price.micros)} {price.currency}" if price else "-"
        rows.append({**row, "price": words, "used": share(in_use, limit, 100), "excess": tell_excess(in_use, limit)})
    values = {"models": rows, "done": DONE.get(done), "may_steer": visitor.may("decide") and _sees_all(visitor)}
    return show(request, Page("models.html", "Models", "models", LINES, values=values), visitor)


@router.post("/models/{model}/limit")
def limit(
    request: Request, desk: DeskOf, visitor: Deciding, model: str, limit: Annotated[str, Form(max_length=10)] = ""
) -> Response:
    """Set its limit, or give it back to the settings."""
    count = _read_limit(limit.strip())
    _begin(desk, visitor, "model.limit", model, reason=f"to {limit.strip()}")
    limit_model(make_model_desk(desk.app), model, count, actor=visitor.caller.actor)
    return _return(request, desk, "limit")


@router.post("/models/{model}/pause")
def pause(
    request: Request, desk: DeskOf, visitor: Deciding, model: str, reason: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Submit nothing more for it."""
    _begin(desk, visitor, "model.pause", model, reason=reason)
    pause_model(make_model_desk(desk.app), model, actor=visitor.caller.actor, reason=reason)
    return _return(request, desk, "pause")


@router.post("/models/{model}/resume")
def resume(request: Request, desk: DeskOf, visitor: Deciding, model: str) -> Response:
    """End its pause."""
    _begin(desk, visitor, "model.resume", model)
    resume_model(make_model_desk(desk.app), model, actor=visitor.caller.actor)
    return _return(request, desk, "resume")


def _begin(desk: Desk, visitor: Visitor, action: str, model: str, *, reason: str = "") -> None:
    """A limit or a pause is for everybody's jobs: only who sees all of them may set one."""
    if not _sees_all(visitor):
        raise NotAllowed("models are everybody's: a key of one owner may not steer them")
    desk.note(visitor.caller, action, model, owner=EVERYONE, reason=reason)


def _sees_all(visitor: Visitor) -> bool:
    return visitor.caller.scope is None


def _read_limit(text: str) -> int | None:
    if text == AS_SET:
        return None
    if text.isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    message = f"a limit is a number from 1 to {MOST:,}, or the word {AS_SET}"
    raise InvalidParams([Fault("invalid_limit", "limit", message)])


def _return(request: Request, desk: Desk, done: str) -> Response:
    desk.wake(LaneName.SUBMIT)
    return RedirectResponse(f"{base_of(request)}/models?done={done}", status_code=303, headers=headers_of())

"""Models: how much of each is in use, what it costs, what pauses it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from orchestrator.api.desk import DeskOf
from orchestrator.console.charts import share
from orchestrator.console.guard import Inspector
from orchestrator.console.looking import Looking
from orchestrator.console.pages import Page, show
from orchestrator.services.access_views import model_object
from orchestrator.wiring import slots_per_model

router = APIRouter()


@router.get("/models")
def list_models(request: Request, desk: DeskOf, visitor: Inspector, looking: Looking) -> Response:
    """List every model of every kind."""
    slots = slots_per_model(desk.app.kinds, desk.app.settings.limits)
    seen = looking.read(visitor.caller.scope)
    pauses = {pause.model: pause for pause in seen.pauses}
    rows = []
    for _, kind in sorted(desk.app.kinds.items()):
        for model in kind.models.values():
            limit, held = slots.get(model.name, slots["*"]), seen.slots_held.get(model.name, 0)
            pause = pauses.get(None) or pauses.get(model.name)
            shown = model_object(kind, model, slots=limit, held=held, pause=pause)
            rows.append({**shown, "used": share(held, limit, 100)})
    lines = ("curl -H 'Authorization: Bearer KEY' URL/v1/models",)
    return show(request, Page("models.html", "Models", "models", lines, values={"models": rows}), visitor)

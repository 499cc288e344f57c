"""The first page: what is going on, what the last day brought, and what wants a person."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.charts import draw_hours, share
from orchestrator.console.guard import Reader, Visitor
from orchestrator.console.looking import Looking, OverviewCache
from orchestrator.console.media import sources_of
from orchestrator.console.pages import Page, show
from orchestrator.console.routes.webhooks import list_failing
from orchestrator.domain.overview import Overview
from orchestrator.domain.query import parse_query, within
from orchestrator.domain.states import ACTIVE
from orchestrator.services.models import tell_excess
from orchestrator.wiring import slots_per_model

router = APIRouter()

SHOWN = 6
CLI = ("orchestrator jobs list status:active", "orchestrator jobs review", "orchestrator usage --by day")
ACTIVE_STATES = tuple(state for state in ("queued", "submitting", "processing", "archiving") if state in ACTIVE)


@router.get("/")
def overview(request: Request, desk: DeskOf, visitor: Reader, looking: Looking) -> Response:
    """Show the overview; its figures refresh by themselves."""
    scope = visitor.caller.scope
    made = within(parse_query("status:succeeded kind:image,video", now=desk.app.clock.now()), scope)
    wrong = within(parse_query("status:failed", now=desk.app.clock.now()), scope)
    latest = desk.app.history.list_jobs(made, limit=SHOWN).jobs
    failed = desk.app.history.list_jobs(wrong, limit=SHOWN).jobs
    values = {**_figures(desk, visitor, looking), "latest": latest, "failed": desk.show_jobs(failed)}
    values["failing"] = list_failing(desk, visitor.caller)
    page = Page("overview.html", "Overview", "overview", CLI, sources_of(desk, latest), values=values)
    return show(request, page, visitor)


@router.get("/overview/live")
def live(request: Request, desk: DeskOf, visitor: Reader, looking: Looking) -> Response:
    """Give the part of the overview that refreshes."""
    return show(request, Page("_figures.html", "Overview", values=_figures(desk, visitor, looking)), visitor)


def _figures(desk: Desk, visitor: Visitor, looking: OverviewCache) -> dict[str, object]:
    seen = looking.read(visitor.caller.scope)
    return {
        "seen": seen,
        "active": seen.count(*ACTIVE_STATES),
        "chart": draw_hours(seen.hours),
        "models": _models(desk, seen, has_all=visitor.caller.scope is None),
        "states": ACTIVE_STATES,
    }


def _models(desk: Desk, seen: Overview, *, has_all: bool) -> list[dict[str, object]]:
    """Every model that does anything for whoever looks, with its slots and what pauses it."""
    slots = {**slots_per_model(desk.app.kinds, desk.app.settings.limits), **seen.slot_limits}
    pauses = {pause.model: pause for pause in seen.pauses}
    rows: list[dict[str, object]] = []
    for model in sorted(seen.models | set(seen.slots_held if has_all else ())):
        limit, held = slots.get(model, slots["*"]), seen.slots_held.get(model, 0)
        counts = {state: seen.going.get((state, model), 0) for state in (*ACTIVE_STATES, "needs_review")}
        used = {"limit": limit, "held": held, "used": share(held, limit, 100), "excess": tell_excess(held, limit)}
        rows.append({"model": model, **used, "counts": counts, "pause": pauses.get(None) or pauses.get(model)})
    return rows

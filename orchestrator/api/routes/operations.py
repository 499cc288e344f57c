"""`/healthz`, `/readyz`, `/metrics`, `/docs`: for whoever runs it."""

from __future__ import annotations

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.answers import failures
from orchestrator.api.auth import Measurer
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.figures import CachedFigures
from orchestrator.api.metrics import CONTENT_TYPE, render
from orchestrator.api.page import PAGE_POLICY, draw_page
from orchestrator.domain.errors import ConfigError, StepError
from orchestrator.wiring import require_current_schema, slots_per_model

router = APIRouter(tags=["operations"])

PROBE_KEY = "probe/absent"
"""No such object: asking for it shows that the store answers and lets us in."""
CHECKERS = CapacityLimiter(2)
"""Threads of their own: a crowd of requests that waits for the database must not keep the check of it waiting."""
READY_SECONDS = 15.0
"""Longer than a connection is waited for. A server that froze takes questions and answers none: nothing else ends that."""


@router.get("/healthz", summary="Whether the process is well", responses={200: {"model": schemas.Health}})
async def healthz() -> Response:
    """Say that the process answers. Needs no key and asks nobody."""
    return JSONResponse({"status": "ok", "checks": {}})


@router.get(
    "/readyz",
    summary="Whether it can work",
    responses={
        200: {"model": schemas.Health},
        503: {"model": schemas.Health, "description": "Something that it needs is away."},
    },
)
async def readyz(desk: DeskOf) -> Response:
    """Say whether database, schema and archive are there. Needs no key and names no address."""
    checks = dict.fromkeys(("database", "archive"), "does not answer")
    with move_on_after(READY_SECONDS):
        checks = await to_thread.run_sync(_look, desk, limiter=CHECKERS, abandon_on_cancel=True)
    is_ready = all(word == "ok" for word in checks.values())
    status = "ok" if is_ready else "unavailable"
    return JSONResponse({"status": status, "checks": checks}, status_code=200 if is_ready else 503)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={
        **failures(401, 403, 503),
        200: {"description": "Over every owner.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
def metrics(desk: DeskOf, caller: Measurer, figures: CachedFigures) -> Response:
    """Give figures over every owner, for keys that see all. What goes on is read from the database at most once in five
    seconds, the sums over the history at most once in twenty times what adding them up took.
    """
    slots = slots_per_model(desk.app.kinds, desk.app.settings.limits)
    return Response(render(figures.read(), figures.read_totals(), slots), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
def root(request: Request) -> Response:
    """Lead people who opened the printed address to the console."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/console/", status_code=303)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """Show the OpenAPI document to people, without a script or anything from elsewhere."""
    return HTMLResponse(draw_page(request.app.openapi()), headers={"Content-Security-Policy": PAGE_POLICY})


def _look(desk: Desk) -> dict[str, str]:
    return {"database": _look_at_database(desk), "archive": _look_at_archive(desk)}


def _look_at_database(desk: Desk) -> str:
    """Whoever asks has no key: the words of a driver, which can name hosts and users, are not for them."""
    try:
        require_current_schema(desk.app)
    except StepError:
        return "away"
    except ConfigError:
        return "its schema is not the one that this version needs"
    return "ok"


def _look_at_archive(desk: Desk) -> str:
    try:
        desk.app.stores.open(desk.app.settings.archive).find(PROBE_KEY)
    except StepError:
        return "away"
    except ConfigError:
        return "misconfigured"
    return "ok"

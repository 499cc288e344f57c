"""The application: routes, errors, the gate in front, and the document that describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from orchestrator.api import errors
from orchestrator.api.desk import Desk
from orchestrator.api.figures import FiguresCache
from orchestrator.api.gate import ANSWER_SECONDS, Gate
from orchestrator.api.routes import (
    actions,
    admin,
    batch_actions,
    batches,
    catalog,
    events,
    files,
    jobs,
    operations,
    outputs,
    usage,
    webhook_deliveries,
    webhook_endpoints,
)
from orchestrator.api.taking import take_all
from orchestrator.api.together import Together

DATABASE_THREADS = 16
"""At most so many requests work on the database at once: somewhat more than its connections, so that none stands idle
and no crowd builds up behind them.
"""
ROUTES = (
    *(jobs, actions, events, outputs, files, batches, batch_actions),
    *(webhook_endpoints, webhook_deliveries, usage, catalog, admin, operations),
)
"""In the order of the document. `/v1/jobs/adopt` is a POST of its own and no `{job_id}`."""
CONSOLE = "/console"
DESCRIPTION = "Media jobs on the Z.ai API: paid once, archived before the links die, remembered for good."


def create_app(
    desk: Desk, *, version: str, patience_seconds: float = 30.0, answer_seconds: float = ANSWER_SECONDS
) -> FastAPI:
    """Return the application. `patience_seconds` is how long the next part of a body may take to come, `answer_seconds`
    how long an answer may take to begin.
    """
    from orchestrator.console.app import create_console  # here: it stands on the parts of this package

    app = FastAPI(
        title="media-orchestrator",
        version=version,
        description=DESCRIPTION,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        lifespan=_bounded,
        redirect_slashes=False,
    )
    app.state.desk = desk
    is_until_final = desk.app.settings.slot_rule == "until_final"
    app.state.figures = FiguresCache(desk.app.figures, desk.app.clock, is_slot_held_until_final=is_until_final)
    app.state.take_together = Together(partial(take_all, desk))
    errors.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    app.mount(CONSOLE, create_console(desk), name="console")
    app.add_api_route(CONSOLE, _open_console, include_in_schema=False)
    app.add_middleware(Gate, patience_seconds=patience_seconds, answer_seconds=answer_seconds)
    return app


async def _open_console() -> RedirectResponse:
    """What people type leads to the console's first page."""
    return RedirectResponse(f"{CONSOLE}/", status_code=308)


@asynccontextmanager
async def _bounded(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = DATABASE_THREADS
    yield

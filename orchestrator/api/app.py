"""The application: routes, errors, the gate in front, and the document that describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from orchestrator.api import errors
from orchestrator.api.desk import Desk
from orchestrator.api.gate import Gate
from orchestrator.api.routes import jobs

DATABASE_THREADS = 16
"""At most so many requests work on the database at once: somewhat more than its connections, so that none stands idle
and no crowd builds up behind them.
"""
DESCRIPTION = "Media jobs on the Z.ai API: paid once, archived before the links die, remembered for good."


def create_app(desk: Desk, *, version: str, patience_seconds: float = 30.0) -> FastAPI:
    """Return the application. `patience_seconds` is how long the next part of a body may take to come."""
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
    errors.install(app)
    for router in (jobs.router,):
        app.include_router(router)
    app.add_middleware(Gate, patience_seconds=patience_seconds)
    return app


@asynccontextmanager
async def _bounded(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = DATABASE_THREADS
    yield

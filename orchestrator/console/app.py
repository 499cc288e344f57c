"""The console as an application of its own, to be mounted beside the API: its errors are pages, its routes need a login."""

from __future__ import annotations

from fastapi import FastAPI

from orchestrator.api.desk import Desk
from orchestrator.console import errors, static_files
from orchestrator.console.attempts import LoginAttempts
from orchestrator.console.looking import OverviewCache
from orchestrator.console.routes import (
    audit,
    batches,
    bulk,
    jobs,
    keys,
    login,
    models,
    one_job,
    overview,
    review,
    usage,
    webhooks,
)

ROUTES = (login, overview, jobs, one_job, review, batches, bulk, models, webhooks, usage, keys, audit, static_files)


def create_console(desk: Desk) -> FastAPI:
    """Return the application behind /console."""
    app = FastAPI(title="console", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.desk = desk
    app.state.overview = OverviewCache(desk.app.overview, desk.app.clock, desk.app.settings.slot_rule == "until_final")
    app.state.login_attempts = LoginAttempts(desk.app.clock)
    errors.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    return app

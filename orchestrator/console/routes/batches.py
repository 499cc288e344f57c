"""Batches: how far each is, what went wrong in it, and its results as a gallery."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.routes import batch_actions
from orchestrator.api.routes.batches import MICROS, show_batch
from orchestrator.console.guard import Cancelling, Deciding, Reader
from orchestrator.console.media import read_transcripts, sources_of
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.batch_actions import RetryDesk, plan_retry
from orchestrator.services.batch_views import batch_object, error_group_object
from orchestrator.services.batches import show_micros

router = APIRouter()

PAGE_SIZE = 25
CARDS = 24
DONE = {
    "cancel": "What was not paid for yet is stopped; what the provider has runs on, and is kept.",
    "retry": "Trying again: what costs nothing goes on where it stands.",
    "child": "Trying again, as this new batch.",
}
Why = Annotated[str, Form(max_length=1000)]


@router.get("/batches")
def list_batches(
    request: Request, desk: DeskOf, visitor: Reader, after: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """List batches, newest first."""
    reports = desk.app.reports
    found = reports.list_batches(limit=PAGE_SIZE + 1, after=read_cursor(after), owner=visitor.caller.scope)
    page = found[:PAGE_SIZE]
    ids = [batch.id for batch in page]
    counts, costs = reports.count_states_of(ids), reports.sum_costs_of(ids)
    rows = [batch_object(batch, counts[batch.id], costs[batch.id]) for batch in page]
    more = page[-1].id if len(found) > PAGE_SIZE else None
    values = {"batches": rows, "more": more, "states": [str(state) for state in State]}
    lines = ("orchestrator batches list" + (f" --after {after}" if after else ""),)
    return show(request, Page("batches.html", "Batches", "batches", lines, values=values), visitor)


@router.get("/batches/{batch_id}")
def show_one(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    batch_id: str,
    line: Annotated[int, Query(ge=0)] = 0,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show one batch with a page of its results, in the order of its file, behind a line."""
    batch = desk.get_batch(batch_id, visitor.caller)
    found = desk.app.reports.list_lines(batch_id, after_line=line, limit=CARDS + 1)
    page = found[:CARDS]
    jobs = [each.job for each in page]
    values = {
        "batch": show_batch(desk, batch),
        "states": [str(state) for state in State],
        "groups": [error_group_object(group, desk.app.kinds) for group in desk.app.reports.group_errors(batch_id)],
        "cards": [(job, read_transcripts(desk, job)) for job in jobs],
        "more": page[-1].line_number if len(found) > CARDS else None,
        "line": line,
        "done": DONE.get(done),
        "is_moving": any(job.state in ACTIVE for job in jobs),
    }
    lines = (
        f"orchestrator batches show {batch.id}",
        f"orchestrator batches results {batch.id}",
        f"orchestrator batches gallery {batch.id}",
    )
    page_of_it = Page("batch.html", batch.name, "batches", lines, sources_of(desk, jobs), values=values)
    return show(request, page_of_it, visitor)


@router.get("/batches/{batch_id}/retry")
def ask_retry(request: Request, desk: DeskOf, visitor: Reader, batch_id: str) -> Response:
    """Show what trying again would do and cost, before anything is done."""
    batch = desk.get_batch(batch_id, visitor.caller)
    plan = plan_retry(_tools(desk), batch_id, ["failed"])
    values = {
        "batch": batch,
        "plan": plan,
        "price": f"{Decimal(plan.cost.micros) / MICROS:.2f} {plan.cost.currency}",
        "limit": str(Decimal(plan.cost.micros) / MICROS),
        "left": None if plan.left_micros is None else f"{show_micros(plan.left_micros)} {plan.cost.currency}",
        "is_short": plan.left_micros is not None and plan.left_micros < plan.cost.micros,
    }
    lines = (f"orchestrator batches retry {batch.id} --only failed",)
    return show(request, Page("batch_retry.html", "Try again", "batches", lines, values=values), visitor)


@router.post("/batches/{batch_id}/cancel")
def cancel(request: Request, desk: DeskOf, visitor: Cancelling, batch_id: str, reason: Why = "") -> Response:
    """Stop what is not paid for yet."""
    batch_actions.cancel(desk, visitor.caller, batch_id, schemas.Reason(reason=reason))
    return _return(request, batch_id, "cancel")


@router.post("/batches/{batch_id}/retry")
def retry(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    batch_id: str,
    *,
    reason: Why = "",
    may_charge: Annotated[bool, Form()] = False,
    max_cost: Annotated[Decimal, Form(ge=0, max_digits=12, decimal_places=6)] = Decimal(0),
) -> Response:
    """Try again what failed, for no more than what was shown."""
    asked = schemas.BatchRetryRequest(reason=reason, may_charge=may_charge, max_cost=max_cost if may_charge else None)
    answer = batch_actions.retry(desk, visitor.caller, batch_id, asked)
    shown_id = str(json.loads(bytes(answer.body))["id"])
    return _return(request, shown_id, "retry" if shown_id == batch_id else "child")


def _return(request: Request, batch_id: str, done: str) -> Response:
    return RedirectResponse(f"{base_of(request)}/batches/{batch_id}?done={done}", status_code=303, headers=headers_of())


def _tools(desk: Desk) -> RetryDesk:
    app = desk.app
    return RetryDesk(app.jobs, app.batches, app.reports, app.clock, app.rng, app.kinds, app.rules)

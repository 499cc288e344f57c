"""Cancelling and retrying all that a query finds: first what it comes to, then those jobs and no others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.routes.actions import AWAKE
from orchestrator.console.guard import Deciding, Looks, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, quoted, show
from orchestrator.domain.access import EVERYONE, Capability, Principal
from orchestrator.domain.query import parse_query, within
from orchestrator.services import bulk
from orchestrator.services.batches import show_micros
from orchestrator.services.bulk import BulkDesk, BulkPlan

router = APIRouter()

Action = Literal["cancel", "retry"]
Decider = Annotated[Visitor, Depends(Looks(Capability.DECIDE))]


@router.get("/bulk/{action}")
def ask(
    request: Request,
    desk: DeskOf,
    visitor: Decider,
    action: Action,
    q: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Show how many jobs, which of them cost anything, and what that is. Changes nothing."""
    plan = _plan(desk, visitor.caller, action, q)
    return _show(request, visitor, action, q, plan)


@router.post("/bulk/{action}")
def act(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    action: Action,
    q: Annotated[str, Form(max_length=2000)] = "",
    newest: Annotated[str, Form(max_length=100)] = "",
    paid: Annotated[str, Form(max_length=64)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Do it. Jobs that came since are left alone; when others would be paid for than were shown, it is asked again."""
    plan = _up_to(_plan(desk, visitor.caller, action, q), newest)
    if digest_of(plan) != paid:
        return _show(request, visitor, action, q, plan, has_changed=True)
    count = len(plan.free) + len(plan.paid) + len(plan.runs_on)
    owner = visitor.caller.scope or EVERYONE
    desk.note(visitor.caller, f"jobs.{action}", q[:200] or "all", owner=owner, reason=reason, count=count)
    change = bulk.cancel_planned if action == "cancel" else bulk.retry_planned
    done = change(_tools(desk), plan, actor=visitor.caller.actor, reason=reason)
    desk.wake(*AWAKE)
    moved, flagged = done.moved.total(), done.flagged_count
    address = f"{base_of(request)}/bulk/{action}/done?moved={moved}&flagged={flagged}&left={len(done.refused)}"
    return RedirectResponse(address, status_code=303, headers=headers_of())


@router.get("/bulk/{action}/done")
def done(
    request: Request, visitor: Decider, action: Action, *, moved: int = 0, flagged: int = 0, left: int = 0
) -> Response:
    """Say what came of it."""
    values = {"action": action, "moved": moved, "flagged": flagged, "left": left}
    return show(request, Page("bulk_done.html", "Done", "jobs", values=values), visitor)


def digest_of(plan: BulkPlan) -> str:
    """Return what stands for the jobs that would be paid for: agreeing to it agrees to these and no others."""
    return hashlib.sha256("\n".join(sorted(plan.paid)).encode()).hexdigest()


def _up_to(plan: BulkPlan, newest: str) -> BulkPlan:
    """Ids sort by creation: what is behind the newest that was shown was not there then."""
    return replace(
        plan,
        free=[job_id for job_id in plan.free if job_id <= newest],
        paid=[job_id for job_id in plan.paid if job_id <= newest],
        runs_on=[job_id for job_id in plan.runs_on if job_id <= newest],
    )


def _plan(desk: Desk, caller: Principal, action: Action, q: str) -> BulkPlan:
    wanted = within(parse_query(q, now=desk.app.clock.now(), kinds=desk.app.kinds), caller.scope)
    plan = bulk.plan_cancel if action == "cancel" else bulk.plan_retry
    return plan(_tools(desk), wanted)


def _tools(desk: Desk) -> BulkDesk:
    app = desk.app
    return BulkDesk(app.history, app.bulk, app.clock, app.kinds, app.rules)


def _show(
    request: Request, visitor: Visitor, action: Action, q: str, plan: BulkPlan, *, has_changed: bool = False
) -> Response:
    values = {
        "action": action,
        "q": q,
        "plan": plan,
        "price": f"{show_micros(plan.cost.micros)} {plan.cost.currency}",
        "newest": max([*plan.free, *plan.paid, *plan.runs_on], default=""),
        "paid": digest_of(plan),
        "has_changed": has_changed,
    }
    lines = (f"orchestrator jobs {action} --query {quoted(q)}",) if q.strip() else ()
    status = 409 if has_changed else 200
    page = Page("bulk.html", f"{action.title()} by query", "jobs", lines, status=status, values=values)
    return show(request, page, visitor)

"""The review queue: calls that nobody can explain, with the evidence, what is at stake, and the ways to settle them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.routes import actions
from orchestrator.console.choices import list_choices
from orchestrator.console.guard import Deciding, Reader, Visitor
from orchestrator.console.pages import Page, base_of, headers_of, quoted, show
from orchestrator.console.routes.one_job import DONE
from orchestrator.domain.job import Job
from orchestrator.domain.query import parse_query, within
from orchestrator.services.explain import advise
from orchestrator.services.review import review_object

router = APIRouter()

PAGE_SIZE = 20


@router.get("/review")
def review(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    after: Annotated[str | None, Query(max_length=100)] = None,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """List held jobs, newest first."""
    wanted = within(parse_query("status:needs_review", now=desk.app.clock.now()), visitor.caller.scope)
    found = desk.app.history.list_jobs(wanted, limit=PAGE_SIZE, after=read_cursor(after))
    values = {
        "held": [_tell(desk, visitor, job.id) for job in found.jobs],
        "more": found.jobs[-1].id if found.has_more else None,
        "done": DONE.get(done),
        "kinds": sorted(name for name, kind in desk.app.kinds.items() if any(map(kind.gives_task, kind.models))),
    }
    lines = ("orchestrator jobs review" + (f" --after {quoted(after)}" if after else ""),)
    return show(request, Page("review.html", "Review", "review", lines, values=values), visitor)


@router.post("/adopt")
def adopt(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    kind: Annotated[str, Form(max_length=64)] = "",
    task_id: Annotated[str, Form(max_length=1000)] = "",
    model: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Make a job of a task that was submitted elsewhere."""
    asked = schemas.AdoptRequest(kind=kind, task_id=task_id.strip(), model=model.strip() or None, reason=reason)
    made = actions.adopt(desk, visitor.caller, asked)
    job_id = made.headers["location"].rpartition("/")[2]
    return RedirectResponse(f"{base_of(request)}/jobs/{job_id}", status_code=303, headers=headers_of())


def _tell(desk: Desk, visitor: Visitor, job_id: str) -> dict[str, object]:
    app, now = desk.app, desk.app.clock.now()
    job: Job = app.history.get_job(job_id)
    records = app.history.list_submissions(job_id)
    choices = list_choices(job, now=now, rules=app.rules, kinds=app.kinds)
    return {
        "job": job,
        "review": review_object(job, records, now=now, rules=app.rules, kinds=app.kinds),
        "advice": advise(job, app.kinds),
        "choices": [one for one in choices if visitor.caller.may(one.capability)],
    }

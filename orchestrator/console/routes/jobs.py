"""The list of jobs: a query in the URL, newest first, page behind page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.api.answers import read_cursor
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.console.guard import Reader
from orchestrator.console.pages import Page, quoted, show
from orchestrator.domain.history import JobPage
from orchestrator.domain.query import QueryError, parse_query, within

router = APIRouter()

PAGE_SIZE = 40
VIEWS = (
    ("All", ""),
    ("Active", "status:active"),
    ("Held", "status:needs_review"),
    ("Failed", "status:failed"),
    ("Succeeded", "status:succeeded"),
    ("Last day", "created:>1d"),
)
HINTS = (
    *("status:queued", "status:processing", "status:archiving", "status:cancelled", "-status:succeeded"),
    *("created:>1h", "created:>7d", "finished:>1d", "cost:>0.5", "code:content_policy", "code:provider_failed"),
    *("tag:campaign=spring", "custom_id:scene-01", '"red kite"'),
)


@router.get("/jobs")
def list_jobs(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    q: Annotated[str, Query(max_length=2000)] = "",
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """List what a query finds. One that cannot be read is shown with the place where it goes wrong."""
    problem, found = None, JobPage((), has_more=False)
    try:
        wanted = within(parse_query(q, now=desk.app.clock.now(), kinds=desk.app.kinds), visitor.caller.scope)
        found = desk.app.history.list_jobs(wanted, limit=PAGE_SIZE, after=read_cursor(after))
    except QueryError as error:
        problem = error
    values = {
        "q": q,
        "after": after,
        "problem": problem,
        "jobs": desk.show_jobs(found.jobs),
        "more": found.jobs[-1].id if found.has_more else None,
        "views": VIEWS,
        "suggestions": _suggest(desk),
    }
    page = Page("jobs.html", "Jobs", "jobs", _lines(q, after), status=400 if problem else 200, values=values)
    return show(request, page, visitor)


def _lines(q: str, after: str | None) -> tuple[str, ...]:
    words = f" {quoted(q)}" if q.strip() else ""
    behind = f" --after {quoted(after)}" if after else ""
    return f"orchestrator jobs list{words}{behind}", f"orchestrator jobs export{words} -o csv"


def _suggest(desk: Desk) -> list[str]:
    models = [f"model:{model}" for kind in desk.app.kinds.values() for model in kind.models]
    return (
        [query for _, query in VIEWS if query] + [f"kind:{kind}" for kind in sorted(desk.app.kinds)] + models + [*HINTS]
    )

"""Usage: what was made and what it cost, by day, model, batch or tag."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.api.desk import DeskOf
from orchestrator.console.charts import share
from orchestrator.console.guard import Reader
from orchestrator.console.pages import Page, quoted, show
from orchestrator.domain.query import QueryError, parse_moment
from orchestrator.domain.usage import GroupBy
from orchestrator.services.usage import usage_object

router = APIRouter()

SINCE = (("Last day", "1d"), ("Last week", "7d"), ("Last 30 days", "30d"), ("All", ""))
MOST_ROWS = 500


@router.get("/usage")
def show_usage(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    by: GroupBy = GroupBy.DAY,
    since: Annotated[str, Query(max_length=40)] = "7d",
) -> Response:
    """Add up jobs created since a time, of the owner who looks."""
    problem, rows = None, []
    try:
        start = parse_moment("since", since, now=desk.app.clock.now()) if since else None
        rows = list(desk.app.usage.sum_usage(by, since=start, owner=visitor.caller.scope))
    except QueryError as error:
        problem = error.message
    most = max((row.final_micros for row in rows), default=0)
    shown = [{**usage_object(row, by), "share": share(row.final_micros, most, 100)} for row in rows[:MOST_ROWS]]
    values = {
        "rows": shown,
        "cut": len(rows) - len(shown),
        "by": str(by),
        "ways": [str(way) for way in GroupBy],
        "since": since,
        "spans": SINCE,
        "problem": problem,
    }
    line = f"orchestrator usage --by {by}" + (f" --since {quoted(since)}" if since else "")
    page = Page("usage.html", "Usage", "usage", (line,), status=400 if problem else 200, values=values)
    return show(request, page, visitor)

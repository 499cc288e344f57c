"""`/v1/usage`: what was asked for, what it cost and what came of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Reader
from orchestrator.api.desk import DeskOf
from orchestrator.domain.query import parse_moment
from orchestrator.domain.usage import GroupBy
from orchestrator.services.usage import list_usage

router = APIRouter(prefix="/v1", tags=["usage"])


@router.get("/usage", summary="Add up jobs and cost", responses=answers(schemas.UsageList, 400))
def get_usage(
    desk: DeskOf,
    caller: Reader,
    by: Annotated[
        GroupBy | None, Query(description="A row per model, batch, tag or UTC day; one for all without.")
    ] = None,
    since: Annotated[
        str | None, Query(max_length=64, description="Only jobs created since: 7d, a date, or a time with its zone.")
    ] = None,
) -> Response:
    """Add up the caller's jobs, their cost and the files that were archived.

    `cost.final` is what is known to be charged, `cost.estimate` the table price of every job. A job with several tags counts
    under each.
    """
    moment = parse_moment("since", since, now=desk.app.clock.now()) if since is not None else None
    rows = list(list_usage(desk.app.usage, by, since=moment, owner=caller.scope))
    return JSONResponse({"object": "list", "data": rows})

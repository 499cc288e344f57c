"""`/v1/jobs`: take a job in, list jobs, show one."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api import schemas
from orchestrator.api.answers import After, Limit, answers, list_of, read_cursor
from orchestrator.api.auth import Creator, Reader
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.taking import Got, Wanted, check, is_plain, take_all, want
from orchestrator.api.together import Together
from orchestrator.api.waiting import wait_for_end
from orchestrator.domain.access import Principal
from orchestrator.domain.job import Job, as_queued
from orchestrator.domain.query import parse_query, within
from orchestrator.services.access_views import check_object
from orchestrator.services.intake import CheckedRequest

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_IDEMPOTENCY_KEY = 255
MAX_WAIT_SECONDS = 60
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*([0-9]{1,4})(?:$|[,;\s])", re.ASCII)
Wait = Annotated[int, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the job to come to rest.")]


@router.post(
    "",
    status_code=202,
    summary="Create a job",
    responses={
        **answers(schemas.Job, 402, 408, 409, 413, status=202, words="Taken: it will be submitted once."),
        200: {"model": schemas.Check, "description": "With `dry_run=true`: the price; nothing is stored."},
    },
)
async def create_job(
    request: Request,
    desk: DeskOf,
    caller: Creator,
    body: schemas.JobRequest,
    *,
    dry_run: Annotated[bool, Query(description="Check and price it; store and pay nothing.")] = False,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=MAX_IDEMPOTENCY_KEY, min_length=1, description="The same key gives the same job, for 7 days."
        ),
    ] = None,
    prefer: Annotated[str | None, Header(description="`wait=30` waits for the job to come to rest.")] = None,
) -> Response:
    """Take a job in. Once it is answered with an id it survives the death of any process.

    With an `Idempotency-Key` the same body gives the same job and `Idempotent-Replayed: true`, another body 422, and
    409 when the first request with it is still being carried out after two seconds.
    """
    if dry_run:
        return await run_in_threadpool(lambda: JSONResponse(_price(check(desk, caller, body))))
    job, is_replay = await _take(request, desk, caller, body, idempotency_key)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if is_replay:
        headers["Idempotent-Replayed"] = "true"
    if (seconds := _seconds_to_wait(prefer)) is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        job = await wait_for_end(request, lambda: desk.app.history.get_job(job.id), seconds, known=job)
    return JSONResponse(desk.show_job(job), status_code=202, headers=headers)


@router.get("", summary="List jobs", responses=answers(schemas.JobList, 400))
def list_jobs(
    desk: DeskOf,
    caller: Reader,
    q: Annotated[str, Query(max_length=2000, description='Such as `status:failed created:>7d "red kite"`.')] = "",
    limit: Limit = 20,
    after: After = None,
    order: Annotated[Literal["desc", "asc"], Query(description="`desc`: newest first; `asc`: oldest first.")] = "desc",
) -> Response:
    """List jobs, newest first unless `order=asc`. A page goes on behind an id, so nothing is shown twice while jobs come and change."""
    wanted = within(parse_query(q, now=desk.app.clock.now(), kinds=desk.app.kinds), caller.scope)
    is_oldest_first = order == "asc"
    page = desk.app.history.list_jobs(wanted, limit=limit, after=read_cursor(after), is_oldest_first=is_oldest_first)
    rows = desk.show_jobs(page.jobs)
    answer = list_of(rows, limit=limit)
    return answer if not page.has_more else list_of([*rows, rows[-1]], limit=limit)


@router.get(
    "/{job_id}",
    summary="Show a job",
    responses={**answers(schemas.Job, 404), 304: {"description": "It is as `If-None-Match` says."}},
)
async def get_job(
    request: Request,
    desk: DeskOf,
    caller: Reader,
    job_id: str,
    wait: Wait = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Show a job. `wait` answers as soon as nothing of it moves by itself any more, held jobs included."""
    job = await run_in_threadpool(desk.get_job, job_id, caller)
    if wait:
        job = await wait_for_end(request, lambda: desk.app.history.get_job(job_id), wait)
    shown = (await run_in_threadpool(desk.show_jobs, [job]))[0]
    etag = _etag(shown)
    if if_none_match is not None and _is_same_version(etag, if_none_match):
        return Response(status_code=304, headers={"ETag": etag})
    return JSONResponse(shown, headers={"ETag": etag})


def _price(checked: CheckedRequest) -> dict[str, object]:
    return check_object(checked.estimate, line_count=1, faults=(), fault_count=0, warnings=checked.warnings)


async def _take(
    request: Request, desk: Desk, caller: Principal, body: schemas.JobRequest, key: str | None
) -> tuple[Job, bool]:
    """Return the job, and whether an earlier request with this key made it. Plain requests are taken in together; one
    with inputs to read and to store, or very long, keeps nobody waiting.
    """
    if is_plain(desk, body, len(await request.body())):
        take_together: Together[Wanted, Got] = request.app.state.take_together
        got = await take_together(want(caller, body, key))
    else:
        got = await run_in_threadpool(_take_one, desk, caller, body, key)
    if got.job is None:
        return await run_in_threadpool(desk.app.history.get_job, got.taken.job_id), True
    return as_queued(got.job, got.taken.at), False


def _take_one(desk: Desk, caller: Principal, body: schemas.JobRequest, key: str | None) -> Got:
    got = take_all(desk, [want(caller, body, key)])[0]
    if isinstance(got, Exception):
        raise got
    return got


def _seconds_to_wait(prefer: str | None) -> int | None:
    found = _PREFER_WAIT.search(prefer or "")
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else None


def _is_same_version(etag: str, wanted: str) -> bool:
    """RFC 9110 section 13.1.2: compared weakly, as something on the way may leave the mark of weakness out; `*` is any."""
    tags = [part.strip().removeprefix("W/") for part in wanted.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _etag(shown: dict[str, object]) -> str:
    """What changes by the clock alone (the words of the reason, fresh links) makes no other version of the job."""
    outputs = shown["outputs"]
    assert isinstance(outputs, list)
    lasting = [{name: value for name, value in row.items() if not name.startswith("url")} for row in outputs]
    kept = {name: value for name, value in shown.items() if name != "status_reason"} | {"outputs": lasting}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    return f'W/"{digest[:32]}"'

"""`/v1/batches`: job files over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api import schemas
from orchestrator.api.answers import After, Limit, answers, list_of, read_cursor
from orchestrator.api.auth import Creator, Reader
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.uploading import FILE_PART, MULTIPART, Received, received
from orchestrator.domain.access import Principal
from orchestrator.domain.job import Batch
from orchestrator.domain.ports import LaneName
from orchestrator.services.access_views import check_object
from orchestrator.services.batch_files import iter_jobs
from orchestrator.services.batch_views import batch_object, error_group_object
from orchestrator.services.forecast import find_known
from orchestrator.services.intake import CheckedFile, check_file, take_file
from orchestrator.services.jobfile.entries import Form, form_of
from orchestrator.services.views import Object, results_line

router = APIRouter(prefix="/v1/batches", tags=["batches"])

MICROS = 1_000_000
LINES = "application/x-ndjson"
PLAIN_TYPES = {LINES: Form.JSONL, "application/jsonl": Form.JSONL, "text/csv": Form.CSV, "application/yaml": Form.YAML}
FAULTS_SHOWN = 1_000
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {MULTIPART: FILE_PART, **dict.fromkeys(PLAIN_TYPES, _TEXT)}}
}
RESULTS: dict[int | str, dict[str, Any]] = {
    **answers(None, 404),
    200: {"description": "A results line per job, in input order.", "content": {LINES: _TEXT}},
}


@dataclass(frozen=True)
class Terms:
    """How a file is to be taken."""

    allow_partial: bool
    allow_unknown_model: bool
    force_new: bool
    max_cost_micros: int | None
    webhook: str | None


@router.post(
    "",
    status_code=202,
    summary="Create a batch, or check a file",
    responses={
        **answers(schemas.Batch, 400, 402, 408, 409, 413, 415, status=202, words="Taken, or known already."),
        200: {"model": schemas.Check, "description": "With `check=true`: what was found; nothing is stored."},
    },
    openapi_extra=BODY,
)
async def create_batch(
    request: Request,
    desk: DeskOf,
    caller: Creator,
    *,
    check: Annotated[bool, Query(description="Report every fault and the price; store and pay nothing.")] = False,
    allow_partial: Annotated[bool, Query(description="Leave bad lines out instead of refusing the file.")] = False,
    allow_unknown_model: Annotated[bool, Query(description="Let models through that are in no table.")] = False,
    force_new: Annotated[bool, Query(description="Pay for every line again, even if the file has run before.")] = False,
    max_cost: Annotated[Decimal | None, Query(ge=0, max_digits=12, decimal_places=6)] = None,
    webhook: Annotated[str | None, Query(max_length=2000, description="Hears of the batch and of every job.")] = None,
    format: Annotated[Literal["jsonl", "csv", "yaml"] | None, Query()] = None,  # noqa: A002 - as the command line's
) -> Response:
    """Take a job file in: the part `file` of a form, or the lines themselves. All lines or none, unless `allow_partial`.

    Files in it are ids of uploads. The same file again is the same batch, and nothing of it is paid twice.
    """
    limit = int(max_cost * MICROS) if max_cost is not None else None
    terms = Terms(allow_partial, allow_unknown_model, force_new, limit, webhook)
    plain = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with received(request, desk.app.settings.spool_dir, plain_types=tuple(PLAIN_TYPES)) as got:
        form = Form(format) if format else PLAIN_TYPES.get(plain) or form_of(got.name)
        act: Callable[..., Response] = _check if check else _take
        return await run_in_threadpool(act, desk, caller, got, terms, form)


@router.get("", summary="List batches", responses=answers(schemas.BatchList, 400))
def list_batches(desk: DeskOf, caller: Reader, limit: Limit = 20, after: After = None) -> Response:
    """List batches, newest first."""
    reports = desk.app.reports
    found = reports.list_batches(limit=limit + 1, after=read_cursor(after), owner=caller.scope)
    ids = [batch.id for batch in found]
    counts, costs = reports.count_states_of(ids), reports.sum_costs_of(ids)
    rows = [_public(batch_object(batch, counts[batch.id], costs[batch.id])) for batch in found]
    return list_of(rows, limit=limit)


@router.get("/{batch_id}", summary="Show a batch", responses=answers(schemas.Batch, 404))
def get_batch(desk: DeskOf, caller: Reader, batch_id: str) -> Response:
    """Show a batch: its jobs per state, its money, its family of retries."""
    return JSONResponse(show_batch(desk, desk.get_batch(batch_id, caller)))


@router.get("/{batch_id}/results", summary="Results of a batch", responses=RESULTS)
def get_results(
    desk: DeskOf,
    caller: Reader,
    batch_id: str,
    *,
    effective: Annotated[bool, Query(description="Of the batch and its retries the best of each line.")] = False,
) -> Response:
    """Stream a results line per job in the order of the file, whatever state it is in."""
    desk.get_batch(batch_id, caller)
    family = [batch.id for batch in desk.app.reports.list_family(batch_id)]
    lines = _lines(desk, family[0], family) if effective else _lines(desk, batch_id, ())
    return StreamingResponse(lines, media_type=LINES)


@router.get("/{batch_id}/errors", summary="Errors of a batch", responses=answers(schemas.ErrorGroups, 404))
def get_errors(desk: DeskOf, caller: Reader, batch_id: str) -> Response:
    """Say what went wrong, grouped by code: how many jobs, a few of their names, and what to do."""
    desk.get_batch(batch_id, caller)
    groups = [error_group_object(group, desk.app.kinds) for group in desk.app.reports.group_errors(batch_id)]
    return JSONResponse({"object": "list", "data": groups})


def show_batch(desk: Desk, batch: Batch) -> Object:
    """Return the batch object with its family."""
    reports = desk.app.reports
    counts, costs = reports.count_states_of([batch.id])[batch.id], reports.sum_costs_of([batch.id])[batch.id]
    shown = batch_object(batch, counts, costs, unpriced_count=reports.count_unpriced(batch.id))
    return {**_public(shown), "family": [member.id for member in reports.list_family(batch.id)]}


def _public(shown: Object) -> Object:
    """Where a local archive lies is the server's own business."""
    is_local = str(shown["archive_url"]).startswith("file:")
    return {**shown, "archive_url": None} if is_local else shown


def _lines(desk: Desk, batch_id: str, family: list[str] | tuple[str, ...]) -> Iterator[str]:
    app = desk.app
    for job in iter_jobs(app.reports, batch_id, family=family):
        line = results_line(
            job,
            now=app.clock.now(),
            kinds=app.kinds,
            sign=partial(desk.sign, job),
            sign_small=partial(desk.sign_small, job),
        )
        yield json.dumps(line) + "\n"


def _read(desk: Desk, caller: Principal, got: Received, terms: Terms, form: Form) -> CheckedFile:
    if terms.webhook is not None:
        desk.judge_webhook(terms.webhook)
    options = desk.options(caller, allow_unknown_model=terms.allow_unknown_model)
    reader = desk.reader(caller)
    return check_file(got.path, desk.app.kinds, options=options, name=got.name[:255], form=form, reader=reader)


def _check(desk: Desk, caller: Principal, got: Received, terms: Terms, form: Form) -> Response:
    checked = _read(desk, caller, got, terms, form)
    known = find_known(checked, desk.app.batches).count if checked.is_whole else 0
    return JSONResponse(
        check_object(
            checked.estimate,
            line_count=checked.line_count,
            faults=checked.faults[:FAULTS_SHOWN],
            fault_count=checked.fault_count,
            warnings=checked.warnings[:FAULTS_SHOWN],
            known_count=known,
        )
    )


def _take(desk: Desk, caller: Principal, got: Received, terms: Terms, form: Form) -> Response:
    checked = _read(desk, caller, got, terms, form)
    checked.require_good(is_partial=terms.allow_partial)
    desk.note(caller, "batch.create", checked.sha256, owner=caller.creates_for, count=checked.good_count)
    intake = take_file(
        checked,
        desk.taker(caller),
        is_forced=terms.force_new,
        max_cost_micros=terms.max_cost_micros,
        is_partial=terms.allow_partial,
        webhook=terms.webhook,
    )
    desk.wake(LaneName.SUBMIT)
    headers = {"Location": f"/v1/batches/{intake.batch.id}"}
    return JSONResponse(show_batch(desk, intake.batch), status_code=202, headers=headers)

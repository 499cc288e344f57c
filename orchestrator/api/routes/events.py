"""`/v1/jobs/{id}/events`: the history as a list, or live as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from orchestrator.api import schemas
from orchestrator.api.answers import answers, list_of
from orchestrator.api.auth import Reader
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.domain.access import AccessDenied, Principal
from orchestrator.domain.errors import Fault, InvalidParams, StepError
from orchestrator.domain.job import Job, JobEvent
from orchestrator.domain.states import ACTIVE
from orchestrator.services.access import find_principal
from orchestrator.services.views import event_object

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LOOK_SECONDS = 0.5
SILENCE_LOOKS = 30  # looks without news between two signs of life, so that nothing on the way closes the stream
STREAM = "text/event-stream"
LIVE: dict[int | str, dict[str, Any]] = {
    **answers(schemas.EventList, 404),
    200: {
        "model": schemas.EventList,
        "description": "Oldest first; with `Accept: text/event-stream` live, ending when the job has come to rest.",
        "content": {STREAM: {"schema": {"type": "string"}}},
    },
}


@router.get("/{job_id}/events", summary="A job's history", responses=LIVE)
async def list_events(
    request: Request,
    desk: DeskOf,
    caller: Reader,
    job_id: str,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[str | None, Header(description="Go on behind this sequence number.")] = None,
) -> Response:
    """Tell everything that ever happened to a job. An event's id is its sequence number in the job's history."""
    after = _read_sequence(last_event_id)
    await run_in_threadpool(desk.get_job, job_id, caller)
    if STREAM in accept:
        return StreamingResponse(_stream(request, desk, caller, job_id, after), media_type=STREAM)
    events = await run_in_threadpool(desk.app.history.list_events, job_id)
    rows = [event_object(event) for event in events if event.sequence > after]
    return list_of(rows, limit=len(rows))


def _read_sequence(text: str | None) -> int:
    if text is None or text == "":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidParams([Fault("invalid_event_id", "Last-Event-ID", "Last-Event-ID is a sequence number")])
    return int(text)


async def _stream(request: Request, desk: Desk, caller: Principal, job_id: str, after: int) -> AsyncIterator[str]:
    """Yield what is new until the job has come to rest and all of it is told. A database that is away is waited for.

    A job may run for days: who listens is asked for at every look, and nothing is told once their key is no good.
    """
    silent_looks = 0
    while not await request.is_disconnected():
        try:
            job, events = await run_in_threadpool(_look, desk, caller, job_id, after)
        except AccessDenied:
            return
        except StepError:
            job, events = None, ()
        for event in events:
            after = event.sequence
            yield _spell(event)
        if job is not None and job.state not in ACTIVE:
            yield "event: end\ndata: {}\n\n"
            return
        silent_looks = 0 if events else silent_looks + 1
        if silent_looks % SILENCE_LOOKS == 1:
            yield ": waiting\n\n"
        await anyio.sleep(LOOK_SECONDS)


def _look(desk: Desk, caller: Principal, job_id: str, after: int) -> tuple[Job, Sequence[JobEvent]]:
    """The state first: what moved the job there is then among the events."""
    if find_principal(desk.app.keys, caller.key_id) is None:
        raise AccessDenied
    job = desk.app.history.get_job(job_id)
    return job, [event for event in desk.app.history.list_events(job_id) if event.sequence > after]


def _spell(event: JobEvent) -> str:
    return f"id: {event.sequence}\nevent: {event.type}\ndata: {json.dumps(event_object(event))}\n\n"

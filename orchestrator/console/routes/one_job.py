"""The page of one job: what it made, why it stands where it stands, what happened, and what may be done about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.api import schemas
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.api.routes import actions
from orchestrator.api.routes.outputs import SANDBOXED, get_content, get_thumbnail
from orchestrator.console.choices import Choice, list_choices
from orchestrator.console.guard import Cancelling, Deciding, Reader
from orchestrator.console.media import read_transcripts, sources_of
from orchestrator.console.pages import Page, base_of, headers_of, show
from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.explain import advise, advise_waiting, describe
from orchestrator.services.views import event_object, submission_object
from orchestrator.services.webhook_views import delivery_object
from orchestrator.wiring import error_catalogue

router = APIRouter()

DELIVERIES = 20  # the newest of a job; its endpoints' pages have all
DONE = {
    "cancel": "Cancelled, or flagged if the provider has it already.",
    "retry": "It goes on.",
    "attach": "The task is attached: the job goes on with it.",
    "resubmit": "It will be submitted again.",
    "write_off": "Written off.",
}
Why = Annotated[str, Form(max_length=1000)]
Back = Annotated[str, Form(max_length=20)]


@router.get("/jobs/{job_id}")
def show_job(
    request: Request,
    desk: DeskOf,
    visitor: Reader,
    job_id: str,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show one job."""
    job = desk.get_job(job_id, visitor.caller)
    values = {**_tell(desk, job), **_transcripts(desk, job), "done": DONE.get(done)}
    values["choices"] = [one for one in _choices(desk, job) if visitor.caller.may(one.capability)]
    lines = (
        f"orchestrator jobs show {job.id}",
        f"orchestrator jobs why {job.id}",
        f"orchestrator jobs events {job.id}",
    )
    page = Page("job.html", job.custom_id or job.id, "jobs", lines, sources_of(desk, [job]), values=values)
    return show(request, page, visitor)


@router.get("/jobs/{job_id}/live")
def live(
    request: Request, desk: DeskOf, visitor: Reader, job_id: str, state: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """Give the part that refreshes; once the job is in another state the whole page is worth drawing again."""
    job = desk.get_job(job_id, visitor.caller)
    if job.state != state:
        return Response(status_code=204, headers={**headers_of(), "HX-Refresh": "true"})
    return show(request, Page("_standing.html", "Job", values=_tell(desk, job)), visitor)


@router.get("/outputs/{output_id}/content")
def content(desk: DeskOf, visitor: Reader, output_id: str) -> Response:
    """Lead to the bytes of an output as the API does."""
    answer = get_content(desk, visitor.caller, output_id)
    answer.headers["Content-Security-Policy"] = f"{SANDBOXED}; frame-ancestors 'none'"
    return answer


@router.get("/outputs/{output_id}/thumbnail")
def thumbnail(desk: DeskOf, visitor: Reader, output_id: str) -> Response:
    """Lead to its thumbnail, as the API does."""
    answer = get_thumbnail(desk, visitor.caller, output_id)
    answer.headers["Content-Security-Policy"] = f"{SANDBOXED}; frame-ancestors 'none'"
    return answer


@router.post("/jobs/{job_id}/cancel")
def cancel(
    request: Request, desk: DeskOf, visitor: Cancelling, job_id: str, reason: Why = "", back: Back = ""
) -> Response:
    """Cancel it."""
    actions.cancel(desk, visitor.caller, job_id, schemas.Reason(reason=reason))
    return _return(request, job_id, "cancel", back)


@router.post("/jobs/{job_id}/retry")
def retry(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    job_id: str,
    *,
    reason: Why = "",
    back: Back = "",
    may_charge: Annotated[bool, Form()] = False,
) -> Response:
    """Try it again; a new charge only where the box was ticked."""
    actions.retry(desk, visitor.caller, job_id, schemas.RetryRequest(reason=reason, may_charge=may_charge))
    return _return(request, job_id, "retry", back)


@router.post("/jobs/{job_id}/attach")
def attach(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    job_id: str,
    *,
    task_id: Annotated[str, Form(max_length=1000)] = "",
    unchecked: Annotated[bool, Form()] = False,
    reason: Why = "",
    back: Back = "",
) -> Response:
    """Give it the task that a person found."""
    asked = schemas.AttachRequest(task_id=task_id.strip(), reason=reason, unchecked=unchecked)
    actions.attach(desk, visitor.caller, job_id, asked)
    return _return(request, job_id, "attach", back)


@router.post("/jobs/{job_id}/resubmit")
def resubmit(
    request: Request,
    desk: DeskOf,
    visitor: Deciding,
    job_id: str,
    *,
    reason: Why = "",
    back: Back = "",
    may_charge: Annotated[bool, Form()] = False,
) -> Response:
    """Pay for it again, as the ticked box agrees to."""
    actions.resubmit(desk, visitor.caller, job_id, schemas.ResubmitRequest(reason=reason, may_charge=may_charge))
    return _return(request, job_id, "resubmit", back)


@router.post("/jobs/{job_id}/write_off")
def write_off(
    request: Request, desk: DeskOf, visitor: Deciding, job_id: str, reason: Why = "", back: Back = ""
) -> Response:
    """Give it up."""
    actions.write_off(desk, visitor.caller, job_id, schemas.Reason(reason=reason))
    return _return(request, job_id, "write_off", back)


def _return(request: Request, job_id: str, done: str, back: str) -> Response:
    base = base_of(request)
    address = f"{base}/review?done={done}" if back == "review" else f"{base}/jobs/{job_id}?done={done}"
    return RedirectResponse(address, status_code=303, headers=headers_of())


def _choices(desk: Desk, job: Job) -> list[Choice]:
    return list_choices(job, now=desk.app.clock.now(), rules=desk.app.rules, kinds=desk.app.kinds)


def _tell(desk: Desk, job: Job) -> dict[str, object]:
    app, now = desk.app, desk.app.clock.now()
    hold = app.progress.find_hold(job.id) if job.state is State.QUEUED else None
    sent = app.endpoints.list_deliveries(endpoint_id=None, states=(), limit=DELIVERIES, after=None, job_id=job.id)
    return {
        "job": job,
        "shown": desk.show_job(job, hold=hold),
        "why": describe(job, now=now, hold=hold),
        "advice": advise(job, app.kinds) or advise_waiting(job, error_catalogue(), hold=hold),
        "events": [event_object(event) for event in app.history.list_events(job.id)],
        "deliveries": [delivery_object(record) for record in sent],
        "submissions": [submission_object(record) for record in app.history.list_submissions(job.id)],
        "is_moving": job.state in ACTIVE,
    }


def _transcripts(desk: Desk, job: Job) -> dict[str, object]:
    """An archive that is away takes the words off the page, and nothing else; the page says so."""
    try:
        return {"transcripts": read_transcripts(desk, job), "archive_trouble": None}
    except Transient as error:
        return {"transcripts": {}, "archive_trouble": error.code}

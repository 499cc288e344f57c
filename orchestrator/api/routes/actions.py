"""`/v1/jobs/{id}/...`: what people ask of a job. Each is written into the audit log before it is done."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Canceller, Decider
from orchestrator.api.desk import Desk, DeskOf
from orchestrator.domain.access import Principal
from orchestrator.domain.errors import ConfigError, Conflict, Fault, InvalidParams, StepError
from orchestrator.domain.job import Job
from orchestrator.domain.ports import LaneName
from orchestrator.services.adoption import AdoptRequest, adopt_task
from orchestrator.services.asking import is_to_be_asked, require_known
from orchestrator.services.lifecycle import attach_task, cancel_job, resubmit_job, retry_job, write_off_job
from orchestrator.wiring import ask_provider

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["actions"])
ACTED = answers(schemas.Job, 404, 409)
AWAKE = (LaneName.SUBMIT, LaneName.POLL, LaneName.ARCHIVE)


@router.post("/adopt", status_code=201, summary="Adopt a task", responses=answers(schemas.Job, 409, status=201))
def adopt(desk: DeskOf, caller: Decider, body: schemas.AdoptRequest) -> Response:
    """Make a job of a task that was submitted elsewhere: polled and archived like any other, never paid here."""
    app = desk.app
    request = AdoptRequest(body.kind, body.task_id, desk.environment, body.model, body.custom_id, body.tags)
    desk.note(caller, "job.adopt", body.task_id, owner=caller.creates_for, reason=body.reason)
    adopted = adopt_task(
        app.jobs,
        request,
        desk.taker(caller),
        kinds=app.kinds,
        task_lives=app.settings.assumed_task_life,
        actor=caller.actor,
        reason=body.reason,
    )
    job = app.history.get_job(adopted.job_id)
    if not caller.sees(job.owner):
        raise Conflict(f"task {body.task_id} belongs to a job of another owner")
    desk.wake(LaneName.POLL)
    return JSONResponse(desk.show_job(job), status_code=201, headers={"Location": f"/v1/jobs/{job.id}"})


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=ACTED)
def cancel(desk: DeskOf, caller: Canceller, job_id: str, body: schemas.Reason | None = None) -> Response:
    """Stop a job that is not paid for yet. A task that the provider has runs on; its outputs are kept."""
    reason = body.reason if body else ""
    return _act(
        desk,
        caller,
        job_id,
        "job.cancel",
        reason,
        lambda: cancel_job(desk.app.jobs, job_id, actor=caller.actor, reason=reason),
    )


@router.post("/{job_id}/retry", summary="Retry a job", responses=ACTED)
def retry(desk: DeskOf, caller: Decider, job_id: str, body: schemas.RetryRequest | None = None) -> Response:
    """Take the first way forward that holds, what costs nothing first; a new charge only with `may_charge`."""
    asked = body or schemas.RetryRequest()
    return _act(
        desk,
        caller,
        job_id,
        "job.retry",
        asked.reason,
        lambda: retry_job(
            desk.app.jobs,
            job_id,
            rules=desk.app.rules,
            may_charge=asked.may_charge,
            actor=caller.actor,
            reason=asked.reason,
        ),
    )


@router.post("/{job_id}/attach", summary="Attach a task", responses=ACTED)
def attach(desk: DeskOf, caller: Decider, job_id: str, body: schemas.AttachRequest) -> Response:
    """Give a job the task that a person found in the provider's console; nothing is paid again.

    The provider is asked first whether it knows the task, which costs nothing; when it cannot be asked, the id is believed.
    """
    app = desk.app

    def perform() -> None:
        if not body.unchecked:
            _ask_first(desk, job_id, body.task_id)
        attach_task(
            app.jobs,
            job_id,
            body.task_id,
            kinds=app.kinds,
            rules=app.rules,
            rng=app.rng,
            actor=caller.actor,
            reason=body.reason,
        )

    return _act(desk, caller, job_id, "job.attach", body.reason, perform)


@router.post("/{job_id}/resubmit", summary="Resubmit a held job", responses=ACTED)
def resubmit(desk: DeskOf, caller: Decider, job_id: str, body: schemas.ResubmitRequest) -> Response:
    """Submit a held job again: a new charge, and if the earlier try was taken after all, that is paid too."""
    if not body.may_charge:
        raise InvalidParams([Fault("charge_not_agreed", "may_charge", "may_charge must be true: it is a new charge")])
    return _act(
        desk,
        caller,
        job_id,
        "job.resubmit",
        body.reason,
        lambda: resubmit_job(desk.app.jobs, job_id, rules=desk.app.rules, actor=caller.actor, reason=body.reason),
    )


@router.post("/{job_id}/write_off", summary="Write a held job off", responses=ACTED)
def write_off(desk: DeskOf, caller: Decider, job_id: str, body: schemas.Reason | None = None) -> Response:
    """Give a held job up: failed (written_off), until a task id turns up after all."""
    reason = body.reason if body else ""
    return _act(
        desk,
        caller,
        job_id,
        "job.write_off",
        reason,
        lambda: write_off_job(desk.app.jobs, job_id, actor=caller.actor, reason=reason),
    )


def _act(
    desk: Desk, caller: Principal, job_id: str, action: str, reason: str, perform: Callable[[], object]
) -> Response:
    """Look whether the job is theirs, write the line, do it, wake the lanes, show the job."""
    job: Job = desk.get_job(job_id, caller)
    desk.note(caller, action, job_id, owner=job.owner, reason=reason)
    try:
        perform()
    except Conflict as conflict:
        raise _without_commands(conflict) from conflict
    desk.wake(*AWAKE)
    return JSONResponse(desk.show_job(desk.app.history.get_job(job_id)))


def _ask_first(desk: Desk, job_id: str, task_id: str) -> None:
    """Raise Conflict for a task that the provider says it does not know."""
    job = desk.app.history.get_job(job_id)
    if not is_to_be_asked(job, task_id, desk.app.kinds):
        return
    try:
        ask_provider(desk.app, lambda provider: require_known(provider, job, task_id))
    except (ConfigError, StepError) as error:
        log.warning("task_not_asked_about", extra={"job_id": job_id, "task_id": task_id, "error": str(error)})


def _without_commands(conflict: Conflict) -> Conflict:
    """A hint to a command line is of no use here, and could name another owner's job."""
    is_plain = conflict.hint is not None and "orchestrator " not in conflict.hint and "--" not in conflict.hint
    hint = conflict.hint if is_plain else None
    return Conflict(conflict.message, param=conflict.param, hint=hint)

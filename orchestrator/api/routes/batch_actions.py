"""`/v1/batches/{id}/cancel`, `/retry` and `/budget`: what people ask of a whole batch."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from orchestrator.api import schemas
from orchestrator.api.answers import answers
from orchestrator.api.auth import Canceller, Decider
from orchestrator.api.desk import DeskOf
from orchestrator.api.routes.batches import MICROS, show_batch
from orchestrator.domain.advice import Source
from orchestrator.domain.errors import Conflict, Fault, InvalidParams
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import RetryDesk, RetryPlan, cancel_batch, plan_retry, retry_batch
from orchestrator.services.batches import show_micros
from orchestrator.services.family_budgets import give_budget
from orchestrator.wiring import error_catalogue

router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.post("/{batch_id}/cancel", summary="Cancel a batch", responses=answers(schemas.Batch, 404))
def cancel(desk: DeskOf, caller: Canceller, batch_id: str, body: schemas.Reason | None = None) -> Response:
    """Stop what is not paid for yet. What the provider has runs on; its outputs are kept."""
    app, reason = desk.app, body.reason if body else ""
    batch = desk.get_batch(batch_id, caller)
    count = app.batches.count_states(batch_id).by_state.get(State.QUEUED, 0)
    desk.note(caller, "batch.cancel", batch_id, owner=batch.owner, reason=reason, count=count)
    done = cancel_batch(app.cancels, batch_id, actor=caller.actor, reason=reason)
    desk.wake(LaneName.SWEEP)
    shown = show_batch(desk, app.batches.get(batch_id))
    return JSONResponse({**shown, "stopped_count": done.stopped_count, "runs_on_count": done.runs_on_count})


@router.post("/{batch_id}/retry", summary="Retry a batch", responses=answers(schemas.Batch, 402, 404, 409))
def retry(desk: DeskOf, caller: Decider, batch_id: str, body: schemas.BatchRetryRequest | None = None) -> Response:
    """Try again what did not succeed: first what costs nothing, the rest as new charges, if `may_charge`, in a child
    batch, which is then answered.
    """
    app, asked = desk.app, body or schemas.BatchRetryRequest()
    _check_only(asked.only)
    batch = desk.get_batch(batch_id, caller)
    tools = RetryDesk(app.jobs, app.batches, app.reports, app.clock, app.rng, app.kinds, app.rules)
    plan = plan_retry(tools, batch_id, asked.only)
    _require_agreement(plan, may_charge=asked.may_charge)
    count = len(plan.free) + plan.cost.count
    desk.note(caller, "batch.retry", batch_id, owner=batch.owner, reason=asked.reason, count=count)
    limit = int(asked.max_cost * MICROS) if asked.max_cost is not None else None
    done = retry_batch(tools, batch_id, asked.only, max_cost_micros=limit, actor=caller.actor, reason=asked.reason)
    desk.wake(LaneName.SUBMIT, LaneName.POLL, LaneName.ARCHIVE)
    shown = show_batch(desk, done.child or app.batches.get(batch_id))
    return JSONResponse({**shown, "free_count": done.free_count, "new_count": done.new_count})


@router.post("/{batch_id}/budget", summary="Change a budget", responses=answers(schemas.Batch, 402, 404))
def budget(desk: DeskOf, caller: Decider, batch_id: str, body: schemas.BatchBudgetRequest) -> Response:
    """Let a batch and all that try it again cost so much in all. Budgets of batches that it tries again are raised by what
    they lack for it (`raised`); 402 where what is charged and queued comes to more.
    """
    batch = desk.get_batch(batch_id, caller)
    desk.note(caller, "batch.budget", batch_id, owner=batch.owner, reason=body.reason)
    given = give_budget(desk.app.batches, batch_id, int(body.max_cost * MICROS))
    desk.wake(LaneName.SUBMIT)
    return JSONResponse({**show_batch(desk, desk.app.batches.get(batch_id)), "raised": list(given.raised)})


def _require_agreement(plan: RetryPlan, *, may_charge: bool) -> None:
    if plan.cost.count and not may_charge:
        price = f"{show_micros(plan.cost.micros)} {plan.cost.currency}"
        message = f"{plan.cost.count} of them would be new charges of about {price}"
        raise Conflict(message, param="may_charge", hint="agree with may_charge")


def _check_only(only: list[str]) -> None:
    codes = [entry.code for entry in error_catalogue() if entry.source is Source.JOB]
    for name in only:
        if name not in ("failed", "cancelled", *codes):
            message = f"{name[:100]!r} is nothing that a job ends with"
            raise InvalidParams([Fault("invalid_only", "only", message, "failed, cancelled, or a failure code")])

"""What a person may do about a job as it stands: the decisions themselves say what is possible and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.access import Capability
from orchestrator.domain.decide import decide_cancel, decide_resubmit, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.batches import show_micros
from orchestrator.services.lifecycle import last_final_answer

WRITTEN_OFF = "written_off"


@dataclass(frozen=True)
class Choice:
    """One button. `price`: what is to be agreed to first. `refused`: why it cannot be pressed now."""

    name: str
    label: str
    does: str
    capability: Capability = Capability.DECIDE
    price: str | None = None
    needs_task: bool = False
    is_grave: bool = False
    refused: str | None = None


def list_choices(job: Job, *, now: datetime, rules: Rules, kinds: Mapping[str, Kind]) -> list[Choice]:
    """Return them with what costs nothing first; `job` with its submissions and outputs."""
    if job.state in ACTIVE:
        return [] if job.is_cancelling else [_cancel(job, now)]
    if job.state is State.NEEDS_REVIEW:
        return list(_settle(job, now, rules, kinds))
    if job.state in (State.FAILED, State.CANCELLED):
        return [*_attach_late(job, kinds), _retry(job, now, rules)]
    return []


def _cancel(job: Job, now: datetime) -> Choice:
    is_paid = decide_cancel(job, now) is None
    does = (
        "The provider offers no cancel: a task that has begun runs on and is presumably charged; its outputs are kept."
        if is_paid
        else "Nothing is paid yet: it stops here and costs nothing."
    )
    return Choice("cancel", "Cancel", does, Capability.CANCEL, is_grave=True)


def _settle(job: Job, now: datetime, rules: Rules, kinds: Mapping[str, Kind]) -> Iterator[Choice]:
    free = _why_free(job, now, rules)
    if free is not None:
        yield Choice("retry", "Go on", f"{_sentence(free)} Costs nothing.")
    elif job.kind not in kinds or kinds[job.kind].gives_task(job.model):
        yield _attach()
    if free is None:
        refused = _refusal(lambda: decide_resubmit(job, rules, now))
        does = "A new charge. If the earlier try was taken after all, that is paid too."
        yield Choice("resubmit", "Submit again", does, price=_price(job), refused=refused)
    does = "Gives it up: failed (written_off). A task id that turns up later still brings it back."
    yield Choice("write_off", "Write off", does, is_grave=True)


def _attach_late(job: Job, kinds: Mapping[str, Kind]) -> Iterator[Choice]:
    if job.failure_code == WRITTEN_OFF and (job.kind not in kinds or kinds[job.kind].gives_task(job.model)):
        yield _attach()


def _attach() -> Choice:
    does = "If the provider's console shows its task: the job goes on with it, and nothing is paid again."
    return Choice("attach", "Attach the task", does, needs_task=True)


def _retry(job: Job, now: datetime, rules: Rules) -> Choice:
    free = _why_free(job, now, rules)
    if free is not None:
        return Choice("retry", "Retry", f"{_sentence(free)} Costs nothing.")
    refused = _refusal(lambda: decide_retry(job, rules, now, last_final_answer=last_final_answer(job), may_charge=True))
    return Choice("retry", "Retry", "Submits it again: a new charge.", price=_price(job), refused=refused)


def _why_free(job: Job, now: datetime, rules: Rules) -> str | None:
    try:
        return decide_retry(job, rules, now, last_final_answer=last_final_answer(job), may_charge=False).reason
    except Conflict:
        return None


def _refusal(decide: Callable[[], object]) -> str | None:
    try:
        decide()
    except Conflict as conflict:
        return conflict.message
    return None


def _price(job: Job) -> str:
    return f"{show_micros(job.price.micros)} {job.price.currency}" if job.price else "an amount that no table knows"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."

"""What a decision is made of. The database writes it in one guarded transaction; it adds nothing of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from orchestrator.domain.job import FinalAnswer, Job, OutputDraft
from orchestrator.domain.outcomes import OutputResult, PauseScope
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State, Trigger, check_transition


class JobPatch(TypedDict, total=False):
    """Columns of the job that change beside its state, due_at and lease. Names are the columns'."""

    provider_task_id: str | None
    submitted_at: datetime | None
    finished_at: datetime | None
    attempt_count: int
    ask_count: int
    poll_count: int
    death_count: int
    missing_since: datetime | None
    cancel_requested_at: datetime | None
    failure_code: str | None
    failure_message: str | None
    provider_code: str | None
    last_error: str | None
    cost_final_micros: int | None
    waiting_on_count: int


class PauseLane(StrEnum):
    """Submitting and polling pause apart: a submit answer sets only the first, a poll answer only the second."""

    SUBMIT = "submit"
    POLL = "poll"


@dataclass(frozen=True)
class Pause:
    """Stop one lane of one model or of a whole credential until a time; then one probe goes first."""

    scope: PauseScope
    lane: PauseLane
    until: datetime
    code: str
    message: str


@dataclass(frozen=True)
class Decision:
    """A transition with everything that belongs to the same write.

    `outputs` are upserted by index (archived ones stay as they are); `output_results` are applied to rows by id and
    `lost_output_ids` marked lost. `supersedes` marks the job's unknown submissions as decided; `forgets_asks` lets its outputs
    ask for fresh links from the start. `last_running_at` goes with a final answer: when the task was last known to run, as far
    as whoever heard of its end knows. `is_alarm` asks the caller to log an error after the commit.
    """

    source: State
    trigger: Trigger
    target: State
    due_at: datetime | None
    reason: str
    patch: JobPatch = field(default_factory=JobPatch)
    data: Mapping[str, object] = field(default_factory=dict)
    records_event: bool = True
    outputs: tuple[OutputDraft, ...] = ()
    output_results: tuple[OutputResult, ...] = ()
    asked_output_ids: tuple[str, ...] = ()
    lost_output_ids: tuple[str, ...] = ()
    final_answer: FinalAnswer | None = None
    last_running_at: datetime | None = None
    supersedes: bool = False
    forgets_asks: bool = False
    pause: Pause | None = None
    is_alarm: bool = False

    def __post_init__(self) -> None:
        check_transition(self.source, self.trigger, self.target)


def failed(
    job: Job,
    trigger: Trigger,
    now: datetime,
    *,
    code: str,
    message: str,
    provider_code: str | None = None,
    cost: int | None,
    final_answer: FinalAnswer | None = None,
    data: Mapping[str, object] | None = None,
) -> Decision:
    """Return the move to `failed`. `cost` is in micro-units; None when the charge is unknown."""
    patch = JobPatch(
        finished_at=now,
        failure_code=code,
        failure_message=message,
        provider_code=provider_code,
        last_error=message,
        cost_final_micros=cost,
    )
    return Decision(job.state, trigger, State.FAILED, None, message, patch, data or {}, final_answer=final_answer)


def provider_failed(job: Job, code: str | None, message: str, rules: Rules, now: datetime) -> Decision:
    """Return the move to `failed` on the provider's FAIL, whenever it came; whether it was charged is not known."""
    return failed(
        job,
        Trigger.PROVIDER_FAILED,
        now,
        code=rules.failure_code(code, "provider_failed"),
        message=message,
        provider_code=code,
        cost=None,
        final_answer=FinalAnswer.FAIL,
    )


def cancelled(job: Job, now: datetime, reason: str, *, cost: int | None) -> Decision:
    """Return the move to `cancelled`; what was archived stays archived."""
    patch = JobPatch(finished_at=now, cost_final_micros=cost, last_error=None)
    return Decision(job.state, Trigger.CANCELLED, State.CANCELLED, None, reason, patch)

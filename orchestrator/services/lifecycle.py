"""What people ask of a job: cancel, retry, attach, resubmit, write off. Each is an event with its actor and reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random

from orchestrator.domain.decide import (
    Decision,
    Evidence,
    choose_submission,
    decide_cancel,
    decide_resubmit,
    decide_retry,
    decide_write_off,
    settle_late,
)
from orchestrator.domain.errors import Conflict, Fault, InvalidParams
from orchestrator.domain.job import FinalAnswer, Job, Submission
from orchestrator.domain.kind import Kind
from orchestrator.domain.outcomes import TaskAccepted
from orchestrator.domain.ports import Applied, Attachment, Jobs
from orchestrator.domain.retry import Rules

log = logging.getLogger(__name__)

LONGEST_TASK_ID = 256


def cancel_job(jobs: Jobs, job_id: str, *, actor: str, reason: str) -> Applied:
    """Cancel a queued job, or flag one whose paid call has begun: the provider offers no cancel (zai-api.md 11).

    `decision` None means flagged: the task runs on, is presumably charged, and its outputs are kept. Raises NotFound,
    Conflict.
    """
    is_flagged = False

    def change(job: Job, now: datetime) -> Decision | None:
        nonlocal is_flagged
        is_flagged = job.cancel_requested_at is not None
        return decide_cancel(job, now)

    while True:  # a job that was throttled between the look and the flag is queued: it is cancelled by the next look
        applied = jobs.transact(job_id, change, actor=actor, reason=reason)
        if applied.decision is not None or is_flagged or jobs.flag_cancel(job_id, actor=actor, reason=reason):
            return applied


def retry_job(jobs: Jobs, job_id: str, *, rules: Rules, may_charge: bool, actor: str, reason: str) -> Applied:
    """Take the first way forward that holds; ways that cost nothing come first.

    Raises NotFound, and Conflict where the state forbids it or only a new charge is left that was not agreed to.
    """

    def change(job: Job, now: datetime) -> Decision:
        return decide_retry(job, rules, now, last_final_answer=last_final_answer(job), may_charge=may_charge)

    return jobs.transact(job_id, change, actor=actor, reason=reason)


def resubmit_job(jobs: Jobs, job_id: str, *, rules: Rules, actor: str, reason: str) -> Applied:
    """Pay again for a held job, as a person has agreed to; of two who press at once the second is told.

    Raises NotFound, and Conflict where the state or the waiting time forbids it.
    """
    return jobs.transact(job_id, lambda job, now: decide_resubmit(job, rules, now), actor=actor, reason=reason)


def write_off_job(jobs: Jobs, job_id: str, *, actor: str, reason: str) -> Applied:
    """Give a held job up: failed(written_off), until a task id turns up after all. Raises NotFound, Conflict."""
    return jobs.transact(job_id, lambda job, now: decide_write_off(job, now, reason=reason), actor=actor, reason=reason)


def attach_task(
    jobs: Jobs,
    job_id: str,
    task_id: str,
    *,
    kinds: Mapping[str, Kind],
    rules: Rules,
    rng: Random,
    actor: str,
    reason: str,
) -> Applied:
    """Store the task id that a person found as evidence, and move the job as any late evidence would.

    `decision` None: nothing moved; `is_extra_paid` when the job could not use it, else the job has it already. Raises
    NotFound, InvalidParams, and Conflict on immediate kinds, for another job's task, and where no call is unexplained.
    """
    check_task_id(task_id)

    def choose(job: Job) -> Submission | None:
        require_tasks(kinds, job.kind, job.model)
        return choose_submission(job, task_id)

    def settle(submission_id: str) -> Callable[[Job, datetime], Decision | None]:
        evidence = Evidence(submission_id, TaskAccepted(task_id))
        return lambda job, now: settle_late(job, evidence, rules, now, rng)

    life = max(kind.assumed_task_life for kind in kinds.values())  # of a model whose kind is not known yet
    attachment = Attachment(job_id, task_id, life, actor, reason or "attached by hand")
    applied = jobs.attach_task(attachment, choose=choose, settle=settle)
    if applied.is_extra_paid:
        log.error("extra_paid_task", extra={"job_id": job_id, "task_id": task_id, "actor": actor})
    return applied


def check_task_id(task_id: str) -> None:
    """Raise InvalidParams for what no provider would call a task: it must be a word that a URL can carry."""
    if not task_id.isascii() or not task_id.isprintable() or " " in task_id or not 0 < len(task_id) <= LONGEST_TASK_ID:
        message = f"a task id has 1 to {LONGEST_TASK_ID} printable characters and no blank"
        raise InvalidParams([Fault("invalid_task_id", "task_id", message)])


def require_tasks(kinds: Mapping[str, Kind], kind: str, model: str) -> None:
    """Raise Conflict for a kind or model whose requests are answered at once: there is no task to ask about."""
    if kind in kinds and not kinds[kind].gives_task(model):
        raise Conflict(
            f"{kind} jobs of {model} are answered at once: there is no task id to ask the provider about",
            hint="resubmit the job (a new charge) or write it off",
        )


def needs_new_charge(job: Job, rules: Rules, now: datetime) -> bool:
    """Return True when only a new paid call can bring `job` (failed or cancelled, outputs loaded) forward."""
    try:
        decide_retry(job, rules, now, last_final_answer=last_final_answer(job), may_charge=False)
    except Conflict:
        return True
    return False


def last_final_answer(job: Job) -> FinalAnswer | None:
    """Return the provider's last word on the task that the job asks about."""
    about_task = [s for s in job.submissions if s.task_id is not None and s.task_id == job.provider_task_id]
    return about_task[-1].final_answer if about_task else None

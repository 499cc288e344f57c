"""What people ask of a job: cancel it, retry it. Each is an event with its actor and reason."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.decide import Decision, decide_cancel, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import FinalAnswer, Job
from orchestrator.domain.ports import Applied, Jobs


def cancel_job(jobs: Jobs, job_id: str, *, actor: str, reason: str) -> Applied:
    """Cancel a queued job, or flag one whose paid call has begun: the provider offers no cancel (zai-api.md 11).

    `decision` None means flagged: the task runs on, is presumably charged, and its outputs are kept. Raises NotFound,
    Conflict.
    """
    applied = jobs.transact(job_id, decide_cancel, actor=actor, reason=reason)
    if applied.decision is None:
        jobs.flag_cancel(job_id, actor=actor, reason=reason)
    return applied


def retry_job(jobs: Jobs, job_id: str, *, may_charge: bool, actor: str, reason: str) -> Applied:
    """Take the first way forward that holds; ways that cost nothing come first.

    Raises NotFound, and Conflict where the state forbids it or only a new charge is left that was not agreed to.
    """

    def change(job: Job, now: datetime) -> Decision:
        return decide_retry(job, now, last_final_answer=_last_final_answer(job), may_charge=may_charge)

    return jobs.transact(job_id, change, actor=actor, reason=reason)


def needs_new_charge(job: Job, now: datetime) -> bool:
    """Return True when only a new paid call can bring `job` (failed or cancelled, outputs loaded) forward."""
    try:
        decide_retry(job, now, last_final_answer=_last_final_answer(job), may_charge=False)
    except Conflict:
        return True
    return False


def _last_final_answer(job: Job) -> FinalAnswer | None:
    about_task = [s for s in job.submissions if s.task_id is not None and s.task_id == job.provider_task_id]
    return about_task[-1].final_answer if about_task else None

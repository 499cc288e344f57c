"""Asking the provider about a task before anybody relies on its id: a question costs nothing (zai-api.md 4.6)."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.decide import choose_submission
from orchestrator.domain.errors import Conflict, Gone
from orchestrator.domain.job import Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import PollQuestion, Provider
from orchestrator.services.lifecycle import check_task_id, require_tasks


def is_to_be_asked(job: Job, task_id: str, kinds: Mapping[str, Kind]) -> bool:
    """Say whether the provider is to be asked before the job gets this task: not about one that is its own already.

    Raises InvalidParams and Conflict where the id or the job's state forbids it: then that is what is told.
    """
    check_task_id(task_id)
    require_tasks(kinds, job.kind, job.model)
    choose_submission(job, task_id)
    return all(submission.task_id != task_id for submission in job.submissions)


async def require_known(provider: Provider, job: Job, task_id: str) -> None:
    """Return when the provider has a task of this id, in whatever state.

    Raises Conflict when it knows none: a slip of the pen would lead the job away from the task that was paid for.
    StepErrors say that nobody could be asked.
    """
    try:
        await provider.poll(PollQuestion(job.kind, job.model, task_id))
    except Gone as error:
        raise Conflict(
            f"the provider knows no task {task_id} ({error.code}: {error.message})",
            hint="look at the id again; --unchecked attaches it all the same",
        ) from error

"""Where a task id that a person pasted belongs: the submission it is evidence about (design section 6)."""

from __future__ import annotations

from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job, Submission, Verdict
from orchestrator.domain.states import State

OPEN_TO_ANY = frozenset({State.NEEDS_REVIEW, State.QUEUED})
"""Where an id acts although no call of ours explains it; failed(written_off) too."""


def choose_submission(job: Job, task_id: str) -> Submission | None:
    """Return the submission that `task_id` is evidence about; None when it needs one of its own, as an adopted task.

    Where the job has an unexplained call the id is kept in every state, and acts where late evidence acts. Without one
    it is nobody's here: a Conflict that names `jobs adopt`. Raises Conflict also where asking again costs nothing.
    """
    own = next((s for s in job.submissions if s.task_id == task_id), None)
    if own is not None:
        return own
    if job.state is State.NEEDS_REVIEW and any(s.is_paid_and_open for s in job.submissions):
        raise Conflict(
            f"{job.id} has the paid task {job.provider_task_id}, which has not ended",
            hint=f"orchestrator jobs retry {job.id} asks about it again and costs nothing",
        )
    unexplained = [s for s in job.submissions if s.verdict is Verdict.UNKNOWN]
    if unexplained:
        return max(unexplained, key=lambda s: (s.is_unsettled, s.number))
    if job.state is State.SUBMITTING:
        raise Conflict(
            f"{job.id} is being submitted right now", hint="its answer is on the way; look again in a minute"
        )
    if job.state in OPEN_TO_ANY or (job.state is State.FAILED and job.failure_code == "written_off"):
        return None
    raise Conflict(
        f"{job.id} is {job.state} and has no unexplained submission: task {task_id} cannot be its",
        hint=f"orchestrator jobs adopt --task-id {task_id} --kind {job.kind} makes a job of its own of it",
    )

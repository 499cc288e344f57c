"""What people do meanwhile: cancel, retry, attach, resubmit, write off - at any moment, often the wrong one."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.errors import RequestError
from orchestrator.domain.states import State
from orchestrator.services.lifecycle import attach_task, cancel_job, resubmit_job, retry_job, write_off_job
from tests.simulation.world import World

WHO = {"actor": "someone", "reason": "as people do"}


def act(world: World) -> str:
    """Do one thing to one job; what is refused is no fault. Returns what was done."""
    rng = world.rng
    return act_on(world, rng.choice(sorted(world.jobs)), rng.choice(sorted(ACTIONS)))


def act_on(world: World, job_id: str, name: str) -> str:
    """Do this to that job; what is refused is no fault. Returns what was done."""
    try:
        ACTIONS[name](world, job_id)
    except RequestError as error:
        return f"{name} {job_id}: {type(error).__name__}"
    return f"{name} {job_id}"


def cancel(world: World, job_id: str) -> None:
    """Cancel it, or flag it."""
    if world.rng.random() < 0.3:  # rarely: a cancelled job shows little more
        cancel_job(world.app.jobs, job_id, **WHO)


def retry(world: World, job_id: str) -> None:
    """Retry it, agreeing to a new charge half of the time."""
    may_charge = world.rng.random() < 0.5
    applied = retry_job(world.app.jobs, job_id, rules=world.app.rules, may_charge=may_charge, **WHO)
    if applied.decision is not None and applied.decision.target is State.QUEUED:
        assert may_charge, f"{job_id} was queued again although nobody had agreed to pay"
        world.agreed[job_id] = world.agreed.get(job_id, 0) + 1


def resubmit(world: World, job_id: str) -> None:
    """Agree to pay again."""
    applied = resubmit_job(world.app.jobs, job_id, rules=world.app.rules, **WHO)
    if applied.decision is not None and applied.decision.target is State.QUEUED:
        world.agreed[job_id] = world.agreed.get(job_id, 0) + 1


def write_off(world: World, job_id: str) -> None:
    """Give a held job up."""
    write_off_job(world.app.jobs, job_id, **WHO)


def attach(world: World, job_id: str) -> None:
    """Paste the id of a task that the provider's console shows for one of the job's calls."""
    calls = {record.submission.id for record in world.app.history.list_submissions(job_id)}
    tasks = [task.id for task in world.account.tasks.values() if task.request_id in calls and not task.is_sync]
    if tasks:
        app = world.app
        task_id = world.rng.choice(tasks)
        attach_task(app.jobs, job_id, task_id, kinds=app.kinds, rules=app.rules, rng=app.rng, **WHO)


ACTIONS: dict[str, Callable[[World, str], None]] = {
    "attach": attach,
    "cancel": cancel,
    "resubmit": resubmit,
    "retry": retry,
    "write_off": write_off,
}

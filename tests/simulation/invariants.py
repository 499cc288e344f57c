"""What must be so after every step, and what must be so in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.domain.audit import Finding
from orchestrator.domain.job import Job, JobEvent, Verdict
from orchestrator.domain.ports.audit import Call
from orchestrator.domain.states import ACTIVE, State, Trigger, check_transition
from tests.acceptance.runs import AFTER_A_KILL
from tests.health import find_anything
from tests.simulation.world import MODELS, World

EXTRA_PAID = "extra_paid_task"
PAID_AND_IDLE = "paid_and_idle"
STRAYED = "object_orphaned"  # stored just before a death, named by no row (docs/operations.md)


def check_provider(world: World) -> None:
    """No request is sent twice, and no model runs more tasks than it has slots."""
    account = world.account
    twice = {request: count for request, count in account.posts.items() if count > 1}
    assert not twice, f"sent twice: {twice}"
    beyond = {model: account.worst[model] for model in MODELS if account.worst[model] > world.slots}
    assert not beyond, f"more tasks at once than {world.slots}: {beyond}"


def check_charges(world: World) -> None:
    """A job is charged once, and once more for each time that somebody agreed to it; every charge has its intent.

    Only a new charge can break this: a submission is never removed, and what was agreed to is not taken back.
    """
    if len(world.account.tasks) == world.charges_checked:
        return
    world.charges_checked = len(world.account.tasks)
    calls = _calls(world)
    missing = [request for request in world.account.charges() if request not in calls]
    assert not missing, f"charged without an intent in the job table: {missing}"
    charged: Counter[str] = Counter()
    for request, count in world.account.charges().items():
        charged[calls[request].job_id] += count
    for job_id, count in charged.items():
        if count > 1:
            allowed = 1 + world.agreed.get(job_id, 0) + count_policy(world, job_id)
            assert count <= allowed, f"{job_id} was charged {count} times, agreed were {allowed}"


def check_jobs(world: World) -> None:
    """No job is lost."""
    found = {job.id for batch in world.batches for job in world.app.history.iter_members(batch)}
    assert found == world.jobs, f"lost: {world.jobs - found}"


def check_policy(world: World) -> None:
    """ON_UNKNOWN=resubmit pays again for a job as often as it was told to, and no more."""
    counts = {job_id: count_policy(world, job_id) for job_id in sorted(world.jobs)}
    beyond = {job_id: count for job_id, count in counts.items() if count > world.resubmit_max}
    assert not beyond, f"submitted again more often than {world.resubmit_max}: {beyond}"


def check_histories(world: World) -> None:
    """Every history is whole and tells moves that the table of states lists, up to the state the job is in.

    Only those of jobs that have changed since they were last read are read again.
    """
    for job in (job for batch in world.batches for job in world.app.history.iter_members(batch)):
        if world.histories.get(job.id) != job:
            _check_history(world.app.history.list_events(job.id), job)
            world.histories[job.id] = job


def _check_history(events: Sequence[JobEvent], job: Job) -> None:
    assert [event.sequence for event in events] == list(range(1, len(events) + 1)), f"gaps in the history of {job.id}"
    state: State | None = None
    for event in events:
        if event.from_state is not event.to_state:
            assert event.from_state is state, f"{event.id} of {job.id} begins in {event.from_state}, not in {state}"
            assert event.to_state is not None
            check_transition(event.from_state, Trigger(event.type), event.to_state)
            state = event.to_state
    assert state is job.state, f"{job.id} is {job.state}, its history ends in {state}"


def check_end(world: World) -> None:
    """Nothing is at work any more; what was paid for is known, or its job says that a person must look."""
    states = {job.id: job.state for batch in world.batches for job in world.app.history.iter_members(batch)}
    active = {job: str(state) for job, state in states.items() if state in ACTIVE}
    assert not active, f"never ended: {active}"
    calls = _calls(world)
    for task in world.account.tasks.values():
        call = calls[task.request_id]
        is_linked = call.verdict == Verdict.ANSWERED if task.is_sync else call.task_id == task.id
        explained = is_linked or call.verdict in (Verdict.UNKNOWN, Verdict.FAILED)
        assert explained, f"{task.id} of {call.job_id} was paid for and is unknown here: {call}"
    kept = world.app.audit.find_calls(world.account.kept)
    unknown = [call for call in kept.values() if call.verdict == Verdict.UNKNOWN]
    forgotten = [call.id for call in unknown if not _is_attached_elsewhere(world, call)]
    assert not forgotten, f"answered, kept in a journal, and yet unknown: {forgotten}"
    found = find_anything(world.app, ledger=world.account.ledger())
    bad = [finding for finding in found if not _is_to_be_expected(world, finding)]
    assert not bad, "\n".join(f"{finding.code}: {finding.words}" for finding in bad)


def _is_attached_elsewhere(world: World, call: Call) -> bool:
    """A person gave its task's id to another call of the job: its own answer names a task that is held then (A13)."""
    own = {task.id for task in world.account.tasks.values() if task.request_id == call.id}
    return any(record.submission.task_id in own for record in world.app.history.list_submissions(call.job_id))


def _is_to_be_expected(world: World, finding: Finding) -> bool:
    """What is held is told, and so is the charge that somebody agreed to and that turned out to be one too many."""
    if finding.code == EXTRA_PAID:
        return world.agreed.get(finding.subject, 0) + count_policy(world, finding.subject) > 0
    if finding.code == PAID_AND_IDLE:  # somebody wrote a held job off whose task runs on: their word, and it is told
        return world.app.history.get_job(finding.subject).failure_code == "written_off"
    return finding.code in AFTER_A_KILL | {STRAYED}


def _calls(world: World) -> dict[str, Call]:
    return dict(world.app.audit.find_calls(set(world.account.charges())))


def count_policy(world: World, job_id: str) -> int:
    """Return how often ON_UNKNOWN=resubmit has submitted a job again."""
    return sum(event.actor == "policy" and event.type == "resubmit" for event in world.app.history.list_events(job_id))

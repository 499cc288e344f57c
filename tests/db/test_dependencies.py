"""Jobs that wait for others: released, failed and brought back by how those stand, whoever moves them and when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import update

from orchestrator.db.rows import JOBS
from orchestrator.domain.decide import decide_cancel, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import NewJob
from orchestrator.domain.outcomes import (
    AnswerComplete,
    ArchiveStep,
    OutputsReady,
    OutputStored,
    ProviderFailed,
    Rejected,
    TaskAccepted,
    Unknown,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.factories import HOUR, make_batch, make_draft, make_file, make_new_job
from tests.fixtures.clock import START

MANY = {"slots": {"*": 1000}}


def named(name: str, *parents: str, **changes: object) -> NewJob:
    """Return a job of this custom_id that depends on those."""
    return make_new_job(custom_id=name, depends_on=parents, **changes)


def succeed(driver: Driver, job_id: str) -> None:
    """Lead a job that may be submitted to the good end."""
    row = next(row for row in driver.claim(**MANY) if row.job.id == job_id)
    driver.report(row, AnswerComplete((make_draft(),)))
    held = driver.hold(LaneName.ARCHIVE, job_id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    assert driver.state(job_id) is State.SUCCEEDED


def fail(driver: Driver, job_id: str) -> None:
    """Lead a job that may be submitted to the provider's refusal."""
    row = next(row for row in driver.claim(**MANY) if row.job.id == job_id)
    driver.report(row, Rejected("1210", "no"))
    assert driver.state(job_id) is State.FAILED


def cancel(driver: Driver, job_id: str) -> None:
    """Cancel a queued job as a person does."""
    driver.jobs.transact(job_id, decide_cancel, actor="local", reason="")


def retry(driver: Driver, job_id: str) -> None:
    """Retry a job by hand, a new charge agreed to."""
    driver.jobs.transact(
        job_id,
        lambda job, now: decide_retry(job, driver.rules, now, last_final_answer=None, may_charge=True),
        actor="local",
        reason="",
    )


def count(driver: Driver, job_id: str) -> int:
    """Return for how many jobs it waits by its row."""
    return int(driver.row(JOBS, job_id)["waiting_on_count"])


def test_a_child_waits_until_every_parent_has_succeeded(driver: Driver) -> None:
    """No claim takes a job before those that it depends on have succeeded; then it is due, and its history says so."""
    one, two, child = named("one"), named("two"), named("child", "one", "two")
    driver.add(child, one, two)
    assert driver.get(child.id).due_at is None
    assert count(driver, child.id) == 2
    succeed(driver, one.id)
    assert driver.state(two.id) is State.SUBMITTING
    assert (count(driver, child.id), driver.get(child.id).due_at) == (1, None)
    driver.batches.finish_intake(driver.get(child.id).batch_id or "")
    row = driver.jobs.find_submissions_of("host-1")[0]
    driver.report(row, AnswerComplete((make_draft(),)))
    held = driver.hold(LaneName.ARCHIVE, two.id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    assert (count(driver, child.id), driver.get(child.id).due_at) == (0, driver.clock.now())
    assert driver.events(child.id) == ["accepted", "dependencies_met"]
    assert [row.job.id for row in driver.claim(**MANY)] == [child.id]


def test_not_before_holds_after_the_parents(driver: Driver) -> None:
    """A child whose own time is later waits for it."""
    later = START + 48 * HOUR
    parent, child = named("parent"), named("child", "parent", not_before=later)
    driver.add(parent, child)
    succeed(driver, parent.id)
    assert driver.get(child.id).due_at == later


def test_a_failed_parent_fails_all_that_hangs_on_it(driver: Driver) -> None:
    """A job whose parent fails is never paid: it fails too, and so does what depends on it, at no cost."""
    parent, child, grandchild = named("p"), named("c", "p"), named("g", "c")
    other = named("other")
    driver.add(grandchild, child, parent, other)
    fail(driver, parent.id)
    for job_id in (child.id, grandchild.id):
        job = driver.get(job_id)
        assert (job.state, job.failure_code, job.cost_final_micros) == (State.FAILED, "dependency_failed", 0)
        assert driver.events(job_id) == ["accepted", "dependency_failed"]
        assert job.submission_count == 0
    assert driver.state(other.id) is State.SUBMITTING
    assert driver.get(child.id).failure_message == "p, which it depends on, did not succeed"


def test_a_cancelled_parent_fails_its_children(driver: Driver) -> None:
    """Cancelling a job fails those that need it."""
    parent, child = named("p"), named("c", "p")
    driver.add(parent, child)
    cancel(driver, parent.id)
    assert driver.get(child.id).failure_code == "dependency_failed"


def test_a_held_parent_makes_its_children_wait(driver: Driver) -> None:
    """While nobody knows what became of the parent, its children wait; the late truth lets them go."""
    parent, child = named("p"), named("c", "p")
    driver.add(parent, child)
    row = driver.claim_one()
    driver.report(row, Unknown("read_timeout", "no answer"))
    assert driver.state(parent.id) is State.NEEDS_REVIEW
    assert (driver.state(child.id), driver.get(child.id).due_at) == (State.QUEUED, None)
    driver.report_late(row.submission.id, TaskAccepted("task-9"))
    driver.finish_poll(parent.id, OutputsReady((make_draft(),)))
    held = driver.hold(LaneName.ARCHIVE, parent.id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    assert driver.get(child.id).due_at is not None


def test_a_retried_parent_brings_its_children_back(driver: Driver) -> None:
    """A parent that a person retries brings back what had failed for it, down the chain, and nothing else."""
    parent, child, grandchild = named("p"), named("c", "p"), named("g", "c")
    stopped = named("s", "p")
    batch = driver.add(parent, child, grandchild, stopped)
    cancel(driver, stopped.id)
    fail(driver, parent.id)
    assert driver.batches.finish_done() == [batch.id]
    retry(driver, parent.id)
    assert driver.batches.get(batch.id).finished_at is None
    for job_id in (child.id, grandchild.id):
        job = driver.get(job_id)
        assert (job.state, job.due_at, job.failure_code, count(driver, job_id)) == (State.QUEUED, None, None, 1)
        assert driver.events(job_id)[-1] == "retried"
    assert driver.state(stopped.id) is State.CANCELLED
    succeed(driver, parent.id)
    succeed(driver, child.id)
    succeed(driver, grandchild.id)


def test_a_child_of_two_dead_parents_comes_back_with_the_second(driver: Driver) -> None:
    """One parent that is still dead keeps a child failed."""
    one, two, child = named("one"), named("two"), named("child", "one", "two")
    driver.add(one, two, child)
    cancel(driver, one.id)
    cancel(driver, two.id)
    retry(driver, one.id)
    assert driver.state(child.id) is State.FAILED
    retry(driver, two.id)
    assert driver.state(child.id) is State.QUEUED
    assert count(driver, child.id) == 2


def test_a_cancelled_child_that_is_retried_waits_again(driver: Driver) -> None:
    """A child that a person cancelled and retries is not submitted before its parent has succeeded."""
    parent, child = named("p"), named("c", "p")
    driver.add(parent, child)
    cancel(driver, child.id)
    retry(driver, child.id)
    assert (driver.state(child.id), driver.get(child.id).due_at, count(driver, child.id)) == (State.QUEUED, None, 1)
    succeed(driver, parent.id)
    assert driver.get(child.id).due_at is not None


def test_parents_that_ended_during_the_intake_are_seen(driver: Driver) -> None:
    """What ends before the last line is in counts all the same: children inserted meanwhile go or fail at once."""
    good, bad = named("good"), named("bad")
    happy, sad = named("happy", "good"), named("sad", "bad")
    batch = make_batch()
    driver.batches.create(batch)
    numbered = [replace(job, line_number=line) for line, job in enumerate((good, bad, happy, sad), start=1)]
    driver.batches.add_jobs(batch.id, numbered[:2], actor="local")
    succeed_first = next(row for row in driver.claim(**MANY) if row.job.id == good.id)
    driver.report(succeed_first, AnswerComplete((make_draft(),)))
    held = driver.hold(LaneName.ARCHIVE, good.id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    bad_row = next(row for row in driver.jobs.find_submissions_of("host-1") if row.job.id == bad.id)
    driver.report(bad_row, Rejected("1210", "no"))
    driver.batches.add_jobs(batch.id, numbered[2:], actor="local")
    assert driver.get(happy.id).due_at is None
    driver.batches.finish_intake(batch.id)
    assert driver.get(happy.id).due_at is not None
    assert driver.get(sad.id).failure_code == "dependency_failed"
    driver.batches.finish_intake(batch.id)
    assert driver.events(happy.id) == ["accepted", "dependencies_met"]


def test_a_child_may_depend_on_a_job_of_an_earlier_batch(driver: Driver) -> None:
    """A line that an earlier job answers is a parent like any other."""
    parent = named("p")
    driver.add(parent)
    succeed(driver, parent.id)
    batch, child = make_batch(), named("c", "p", line_number=2)
    driver.batches.create(batch)
    driver.batches.link_existing(batch.id, [(1, "p", parent.id)])
    driver.batches.add_jobs(batch.id, [child], actor="local")
    driver.batches.finish_intake(batch.id)
    assert driver.get(child.id).due_at is not None
    assert driver.state(child.id) is State.QUEUED


def test_a_provider_failure_fails_the_children(driver: Driver) -> None:
    """The provider's FAIL of the parent's task ends its children as well."""
    parent, child = named("p"), named("c", "p")
    driver.add(parent, child)
    driver.report(driver.claim_one(), TaskAccepted("task-1"))
    driver.finish_poll(parent.id, ProviderFailed("1301", "no"))
    assert driver.get(child.id).failure_code == "dependency_failed"


def test_a_child_of_a_dead_parent_is_not_retried_by_hand(driver: Driver) -> None:
    """Its retry is refused and names the parent: nothing could come of it."""
    parent, child = named("p"), named("c", "p")
    driver.add(parent, child)
    fail(driver, parent.id)
    with pytest.raises(Conflict, match="depends on p, which is failed") as refused:
        retry(driver, child.id)
    assert parent.id in (refused.value.hint or "")


def test_the_sweep_settles_what_waits_for_nothing(driver: Driver) -> None:
    """A job that waits although its parents have ended is let go or failed, and nothing else is touched."""
    good, bad, open_ = named("good"), named("bad"), named("open")
    happy, sad, waiting = named("happy", "good"), named("sad", "bad"), named("waiting", "open")
    driver.add(good, bad, open_, happy, sad, waiting)
    assert driver.jobs.settle_stragglers(limit=10) == 0
    forge = {"failure_code": "content_policy", "due_at": None, "finished_at": START}
    with driver.database.begin_write() as connection:
        done = update(JOBS).where(JOBS.c.id == good.id)
        connection.execute(done.values(state="succeeded", due_at=None, finished_at=START))
        connection.execute(update(JOBS).where(JOBS.c.id == bad.id).values(state="failed", **forge))
    assert driver.jobs.settle_stragglers(limit=10) == 2
    assert driver.get(happy.id).due_at is not None
    assert driver.get(sad.id).failure_code == "dependency_failed"
    assert count(driver, waiting.id) == 1
    assert driver.jobs.settle_stragglers(limit=10) == 0


def at_once(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all let go together; what they raise comes out."""
    start = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("round_", range(8))
def test_two_parents_that_end_at_once_let_the_child_go(driver: Driver, round_: int) -> None:
    """Whoever is second sees the first: the child is never left waiting for two jobs that have succeeded."""
    one, two, child = named("one"), named("two"), named("child", "one", "two")
    driver.add(one, two, child)
    for row in driver.claim(**MANY):
        driver.report(row, AnswerComplete((make_draft(),)))
    held = driver.jobs.claim_due(LaneName.ARCHIVE, limit=2, lease=HOUR).rows
    ends = [ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in job.outputs)) for job in held]
    decided = [(job, driver.decide(job, end)) for job, end in zip(held, ends, strict=True)]
    at_once(*(lambda pair=pair: driver.jobs.apply([pair]) for pair in decided))
    assert (count(driver, child.id), driver.get(child.id).due_at is None) == (0, False)
    assert driver.events(child.id) == ["accepted", "dependencies_met"]


@pytest.mark.parametrize("round_", range(8))
def test_a_parent_that_ends_while_the_intake_ends_is_seen(driver: Driver, round_: int) -> None:
    """The end of an intake and the end of a parent cannot miss each other."""
    parent, child = named("p"), named("c", "p")
    batch = make_batch()
    driver.batches.create(batch)
    numbered = [replace(job, line_number=line) for line, job in enumerate((parent, child), start=1)]
    driver.batches.add_jobs(batch.id, numbered, actor="local")
    at_once(lambda: cancel(driver, parent.id), lambda: driver.batches.finish_intake(batch.id))
    assert driver.get(child.id).failure_code == "dependency_failed"


@pytest.mark.parametrize("round_", range(8))
def test_a_retry_and_a_cancel_at_once_leave_one_truth(driver: Driver, round_: int) -> None:
    """One parent is retried while the other is cancelled: the child is failed by the dead one, whoever was first."""
    one, two, child = named("one"), named("two"), named("child", "one", "two")
    driver.add(one, two, child)
    cancel(driver, one.id)
    at_once(lambda: retry(driver, one.id), lambda: cancel(driver, two.id))
    assert driver.get(child.id).failure_code == "dependency_failed"
    retry(driver, two.id)
    assert (driver.state(child.id), count(driver, child.id)) == (State.QUEUED, 2)

"""What one transaction about a dependency does while another is under way. PostgreSQL only: SQLite has one writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orchestrator.db import persons
from orchestrator.db.applying import apply_decisions
from orchestrator.db.engine import Database, open_database
from orchestrator.domain.decide import Decision, decide_cancel
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import AnswerComplete, ArchiveStep, OutputStored
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from tests.db.driver import LEASE, Driver
from tests.db.test_races import wait_for_lock
from tests.factories import make_batch, make_draft, make_file, make_new_job
from tests.fixtures.clock import FakeClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_url_factory: Callable[[], str], clock: FakeClock) -> Iterator[Database]:
    """Give a database of its own: every backend in it belongs to the test."""
    database = open_database(postgres_url_factory(), clock=clock, asks_server_time=False)
    yield database
    database.close()


def test_an_intake_that_met_the_end_of_a_parent_lets_the_child_go(driver: Driver) -> None:
    """The parent's end has looked for children and found none; the intake must wait for it, and see it."""
    parent, child = make_new_job(custom_id="p"), make_new_job(custom_id="c", depends_on=("p",))
    batch = make_batch()
    driver.batches.create(batch)
    driver.batches.add_jobs(batch.id, [replace(parent, line_number=1), replace(child, line_number=2)], actor="local")
    (decided,) = archive_all(driver)
    with ThreadPoolExecutor(1) as pool:
        with driver.database.begin_write() as connection:
            apply_decisions(connection, [decided], database=driver.database)
            waiting = pool.submit(driver.batches.finish_intake, batch.id)
            wait_for_lock(driver.database, waiting, may_end=True)
        waiting.result(timeout=60)
    assert driver.get(child.id).due_at is not None


def archive_all(driver: Driver) -> list[tuple[Job, Decision]]:
    """Lead every job that may be submitted to where only its last write is missing; return those writes."""
    for row in driver.claim(slots={"*": 1000}):
        driver.report(row, AnswerComplete((make_draft(),)))
    held = driver.jobs.claim_due(LaneName.ARCHIVE, limit=9, lease=LEASE).rows
    steps = [ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in job.outputs)) for job in held]
    return [(job, driver.decide(job, step)) for job, step in zip(held, steps, strict=True)]


def test_a_cancel_that_met_an_intake_under_way_fails_the_child(driver: Driver) -> None:
    """The intake was first: the cancel waits for it and finds the child that it entered."""
    parent, child = make_new_job(custom_id="p"), make_new_job(custom_id="c", depends_on=("p",))
    driver.add(parent, child)
    with ThreadPoolExecutor(1) as pool:
        with driver.database.begin_write() as connection:
            persons.transact(connection, child.id, lambda job, now: None, actor="", reason="", database=driver.database)
            waiting = pool.submit(driver.jobs.transact, parent.id, decide_cancel, actor="local", reason="")
            wait_for_lock(driver.database, waiting, may_end=True)
        waiting.result(timeout=60)
    assert driver.get(child.id).failure_code == "dependency_failed"


def test_the_second_of_two_parents_sees_the_first(driver: Driver) -> None:
    """Each counts once it holds the child's row: the one that waited lets the child go."""
    one, two = make_new_job(custom_id="one"), make_new_job(custom_id="two")
    child = make_new_job(custom_id="child", depends_on=("one", "two"))
    driver.add(one, two, child)
    decided = archive_all(driver)
    with ThreadPoolExecutor(1) as pool:
        with driver.database.begin_write() as connection:
            apply_decisions(connection, decided[:1], database=driver.database)
            waiting = pool.submit(driver.jobs.apply, decided[1:])
            wait_for_lock(driver.database, waiting, may_end=True)
        waiting.result(timeout=60)
    job = driver.get(child.id)
    assert (job.state, job.waiting_on_count, job.due_at is None) == (State.QUEUED, 0, False)

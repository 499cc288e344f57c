"""The rules that the database itself keeps: a write that breaks one never lands, whoever writes it."""

from __future__ import annotations

import pytest
from sqlalchemy import Table, update

from orchestrator.db.events import EVENTS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, table_of
from orchestrator.db.tables import BatchRow
from orchestrator.domain.errors import Permanent
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import NotSent
from tests.db.driver import Driver
from tests.factories import HOUR
from tests.fixtures.clock import START

MAKERS = {
    "queued": lambda d: d.get(d.add_many(1)[0]),
    "processing": lambda d: d.add_processing(),
    "archiving": lambda d: d.add_archiving(),
    "succeeded": lambda d: d.add_succeeded(),
    "needs_review": lambda d: d.add_held(),
}


def make(driver: Driver, state: str) -> Job:
    """Return a job in `state`."""
    job = MAKERS[state](driver)
    assert isinstance(job, Job)
    return job


def write(driver: Driver, table: Table, job_id: str, values: dict[str, object]) -> None:
    """Write past every guard of ours."""
    key = table.c.id if table is JOBS else table.c.job_id
    driver.database.write(lambda c: c.execute(update(table).where(key == job_id).values(values)))


@pytest.mark.parametrize(
    ("state", "values", "name"),
    [
        ("queued", {"state": "waiting"}, "state_known"),
        ("queued", {"state": "succeeded", "due_at": None}, "final_is_finished"),
        ("queued", {"finished_at": START}, "final_is_finished"),
        ("succeeded", {"finished_at": None}, "final_is_finished"),
        ("succeeded", {"due_at": START}, "resting_is_not_due"),
        ("succeeded", {"lease_token": "x"}, "resting_is_not_due"),
        ("needs_review", {"due_at": START}, "resting_is_not_due"),
        ("needs_review", {"lease_token": "x"}, "resting_is_not_due"),
        ("queued", {"due_at": None}, "active_is_due"),
        ("processing", {"due_at": None, "waiting_on_count": 1}, "active_is_due"),
        ("archiving", {"due_at": None}, "active_is_due"),
        ("queued", {"failure_code": "x"}, "failed_has_code"),
        ("succeeded", {"state": "failed"}, "failed_has_code"),
        ("processing", {"provider_task_id": None}, "processing_has_task"),
        ("queued", {"priority": 10}, "priority_range"),
        ("queued", {"price_micros": None}, "price_has_currency"),
    ],
)
def test_jobs(driver: Driver, state: str, values: dict[str, object], name: str) -> None:
    """Design section 6: the CHECKs, each broken once."""
    job = make(driver, state)
    with pytest.raises(Permanent, match=name):
        write(driver, JOBS, job.id, values)
    assert driver.get(job.id) == job


def test_a_job_that_waits_for_others_need_not_be_due(driver: Driver) -> None:
    """depends_on: no due_at until the last of them has succeeded."""
    (job_id,) = driver.add_many(1)
    write(driver, JOBS, job_id, {"due_at": None, "waiting_on_count": 1})
    assert driver.claim() == ()


@pytest.mark.parametrize(
    ("table", "values", "name"),
    [
        (SUBMISSIONS, {"verdict_at": None}, "verdict_has_time"),
        (SUBMISSIONS, {"final_at": None}, "final_has_answer"),
        (SUBMISSIONS, {"task_id": None}, "accepted_has_task"),
        (OUTPUTS, {"key": None}, "archived_has_key"),
        (OUTPUTS, {"source_url": "https://cdn.example/0"}, "archived_has_no_link"),
    ],
)
def test_ledger_and_outputs(driver: Driver, table: Table, values: dict[str, object], name: str) -> None:
    """The ledger and the outputs keep rules of their own."""
    job = driver.add_succeeded()
    with pytest.raises(Permanent, match=name):
        write(driver, table, job.id, values)


def test_submissions_of_a_job_are_numbered(driver: Driver) -> None:
    """Two of one number could both be the newest."""
    (job_id,) = driver.add_many(1)
    driver.report(driver.claim_one(), NotSent("connect_failed", "refused"))
    driver.clock.advance(HOUR)
    driver.claim_one()
    with pytest.raises(Permanent, match="number"):
        write(driver, SUBMISSIONS, job_id, {"number": 1})


def test_events_of_a_job_are_numbered(driver: Driver) -> None:
    """Two writers of one job cannot both have written its next event."""
    job = driver.add_processing()
    with pytest.raises(Permanent, match="sequence"):
        write(driver, EVENTS, job.id, {"sequence": 1})


def test_a_batch_finishes_after_its_intake(driver: Driver) -> None:
    """A half-read file is never called finished."""
    batches = table_of(BatchRow)
    batch = driver.add()
    broken = update(batches).where(batches.c.id == batch.id).values(intake_done_at=None, finished_at=START)
    with pytest.raises(Permanent, match="finished_after_intake"):
        driver.database.write(lambda c: c.execute(broken))

"""Leases of a dead process are given back by its exact name, whatever characters stand in it (decision 0002)."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from orchestrator.db.rows import JOBS
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import PauseScope, PollFailed, StillRunning
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR

OTHERS = ["host-1x", "host-", "xhost-1", "host_1", "host%", "%", "_______", "HOST-1"]


def lease(driver: Driver, lane: LaneName, process: str, limit: int = 1) -> tuple[Job, ...]:
    return driver.jobs.claim_due(lane, limit=limit, lease=LEASE, process=process).rows


@pytest.mark.parametrize("name", OTHERS)
def test_another_processs_rows_stay_leased(driver: Driver, name: str) -> None:
    """Names that are a part of it or read as a pattern of LIKE match nobody else."""
    driver.add_processing()
    driver.clock.advance(HOUR)
    (job,) = lease(driver, LaneName.POLL, "host-1")
    assert driver.jobs.release_dead(name) == 0
    assert driver.get(job.id).lease_token == job.lease_token
    assert driver.jobs.release_dead("host-1") == 1


@pytest.mark.parametrize("name", ["a_b", "a%b", "a\\b", "a/b", "a'b", "a b:c", "ä"])
def test_odd_names_are_found_again(driver: Driver, name: str) -> None:
    """A host may be called anything: its own rows are given back, those of its look-alike are not."""
    for task in ("task-1", "task-2"):
        driver.add_processing(task)
    driver.clock.advance(HOUR)
    (mine,) = lease(driver, LaneName.POLL, name)
    (other,) = lease(driver, LaneName.POLL, "axb")
    assert driver.jobs.release_dead(name) == 1
    assert driver.get(mine.id).lease_token is None
    assert driver.get(other.id).lease_token == other.lease_token


def test_both_leased_lanes_give_back_and_each_row_counts_a_death(driver: Driver) -> None:
    """Fault B9: a row that kills its workers is found out although its lease never lapsed."""
    polled, archived = driver.add_processing("task-1"), driver.add_archiving(task_id="task-2")
    driver.clock.advance(HOUR)
    assert len(lease(driver, LaneName.POLL, "host-1", 9)) == 1
    assert len(lease(driver, LaneName.ARCHIVE, "host-1", 9)) == 1
    assert driver.jobs.release_dead("host-1") == 2
    for job_id in (polled.id, archived.id):
        job = driver.get(job_id)
        assert (job.lease_token, job.due_at, job.death_count) == (None, driver.clock.now(), 1)
    assert driver.jobs.release_dead("host-1") == 0


def test_a_paid_call_is_never_given_back(driver: Driver) -> None:
    """A submission of a dead process becomes unknown by evidence; nothing puts it back into the queue."""
    (job_id,) = driver.add_many(1)
    row = driver.claim_one(process="host-1")
    assert driver.jobs.release_dead("host-1") == 0
    assert driver.state(job_id) is State.SUBMITTING
    assert [found.job.id for found in driver.jobs.find_submissions_of("host-1")] == [row.job.id]
    assert driver.jobs.find_submissions_of("host_1") == ()


def test_not_even_under_a_token_of_its_own_name(driver: Driver) -> None:
    """Submit tokens carry no name today; the state alone must keep a paid call from being given back."""
    (job_id,) = driver.add_many(1)
    driver.claim_one(process="host-1")
    named = update(JOBS).where(JOBS.c.id == job_id).values(lease_token="host-1:token")
    driver.database.write(lambda connection: connection.execute(named))
    assert driver.jobs.release_dead("host-1") == 0
    assert driver.get(job_id).lease_token == "host-1:token"


def test_what_the_dead_one_held_it_cannot_write_any_more(driver: Driver) -> None:
    """Should it live after all, its token fences it out."""
    job = driver.add_processing()
    driver.clock.advance(HOUR)
    (held,) = lease(driver, LaneName.POLL, "host-1")
    driver.jobs.release_dead("host-1")
    assert driver.apply(held, StillRunning("PROCESSING")).is_fenced
    assert driver.get(job.id).poll_count == 0


def test_a_dead_probe_lets_another_go_first(driver: Driver) -> None:
    """A pause whose probe died is probed by somebody else, not waited on for ever."""
    driver.add_processing("task-1")
    driver.clock.advance(HOUR)
    (first,) = lease(driver, LaneName.POLL, "host-1")
    driver.apply(first, PollFailed("1302", "too many", scope=PauseScope.MODEL))
    driver.clock.advance(HOUR)
    (probe,) = lease(driver, LaneName.POLL, "host-1")
    driver.jobs.release_dead("host-1")
    driver.clock.advance(LEASE)
    (again,) = lease(driver, LaneName.POLL, "host-2")
    assert again.id == probe.id
    assert again.lease_token != probe.lease_token

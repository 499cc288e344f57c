"""Many at once: no job twice, no slot too many, and counts that see what others just committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.db import submit_claim
from orchestrator.db.engine import Database, open_database
from orchestrator.db.jobs import SqlJobs
from orchestrator.domain.decide import Decision, JobPatch
from orchestrator.domain.outcomes import Rejected, TaskAccepted
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR, make_window
from tests.fixtures.clock import FakeClock

THREADS = 8


def run_together(work: Callable[[int], list[str]]) -> list[str]:
    """Run `work` in several threads at once and return all they got."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [item for part in pool.map(work, range(THREADS)) for item in part]


def test_no_job_is_submitted_twice_and_no_limit_exceeded(driver: Driver) -> None:
    """Promises 2 and 10: eight processes on one queue, slots freed and taken all the time."""
    ids = driver.add_many(60)
    limit = 5

    def work(number: int) -> list[str]:
        mine = []
        for _ in range(200):
            rows = driver.claim(slots={"*": limit}, limit=2, process=f"host-{number}")
            assert len(in_flight(driver)) <= limit
            for row in rows:
                mine.append(row.job.id)
                driver.report(row, Rejected("1214", "no"))
            if not rows and not driver.jobs.find_next_due(LaneName.SUBMIT):
                break
        return mine

    assert Counter(run_together(work)) == Counter(ids)


def in_flight(driver: Driver) -> list[str]:
    """Return the jobs being submitted right now."""
    from orchestrator.db.rows import JOBS

    return [row["id"] for row in driver.rows(JOBS, JOBS.c.state == State.SUBMITTING)]


def test_claims_at_the_same_moment_share_the_slots(driver: Driver) -> None:
    """Eight claims at once take exactly the free slots between them."""
    driver.add_many(50)
    taken = run_together(lambda _: [row.job.id for row in driver.claim(slots={"*": 5})])
    assert len(taken) == len(set(taken)) == 5


@pytest.mark.parametrize("lane", [LaneName.POLL, LaneName.ARCHIVE])
def test_no_row_is_leased_twice(driver: Driver, lane: LaneName) -> None:
    """Every due row is leased by exactly one claim."""
    make = driver.add_processing if lane is LaneName.POLL else driver.add_archiving
    ids = [make(task_id=f"task-{n}").id for n in range(12)]
    driver.clock.advance(HOUR)

    def work(_: int) -> list[str]:
        mine: list[str] = []
        while rows := driver.jobs.claim_due(lane, limit=2, lease=LEASE).rows:
            mine += [job.id for job in rows]
        return mine

    assert Counter(run_together(work)) == Counter(ids)


def test_one_decision_wins(driver: Driver) -> None:
    """A21: two reviewers press resubmit; one submission follows."""
    held = driver.add_held()
    again = Decision(State.NEEDS_REVIEW, Trigger.RESUBMIT, State.QUEUED, driver.clock.now(), "", JobPatch())

    def press(_: int) -> list[str]:
        def change(job: object, _now: object) -> Decision | None:
            return again if getattr(job, "state", None) is State.NEEDS_REVIEW else None

        applied = driver.jobs.transact(held.id, change, actor="ann", reason="")
        return ["won"] if applied.decision else []

    assert run_together(press) == ["won"]
    assert driver.events(held.id).count("resubmit") == 1


def test_the_same_evidence_from_many_places_lands_once(driver: Driver) -> None:
    """The worker, the journal and a person bring the same id together."""
    held = driver.add_held()
    submission_id = held.submissions[0].id

    def bring(_: int) -> list[str]:
        return ["won"] if driver.report_late(submission_id, TaskAccepted("task-1")).decision else []

    assert run_together(bring) == ["won"]
    assert driver.events(held.id)[-1] == "late_task_id"


def test_a_claim_that_waited_sees_what_was_committed_meanwhile(
    postgres_url_factory: Callable[[], str], clock: FakeClock
) -> None:
    """The count is a statement of its own, begun after the locks are held (measured: 10 with limit 5 otherwise).

    PostgreSQL only: SQLite has one writer, so nobody waits inside a claim.
    """
    url = postgres_url_factory()
    database, other = (open_database(url, clock=clock, asks_server_time=False) for _ in range(2))
    driver, window = Driver(database, clock), make_window(slots={"*": 5})
    driver.add_many(20)
    driver.claim(slots={"*": 0})  # so that the rows to be locked exist
    with ThreadPoolExecutor(1) as pool:
        with database.begin_write() as connection:
            first, _ = submit_claim.claim_submissions(connection, window, database=database)
            waiting = pool.submit(SqlJobs(other).claim_submissions, window)
            wait_for_lock(database, waiting)
        second = waiting.result(timeout=20).rows
    for each in (database, other):
        each.close()
    assert (len(first), len(second)) == (5, 0)


def wait_for_lock(database: Database, waiting: Future[Any]) -> None:
    """Return once a backend of this database waits for a lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    tick = Event()
    for _ in range(2000):
        with database.engine.connect() as connection:
            if connection.execute(query).scalar_one():
                return
        assert not waiting.done(), "the second claim did not wait for the first one's locks"
        tick.wait(0.005)
    raise AssertionError("nobody waits")


def test_a_finish_sees_a_job_woken_meanwhile(driver: Driver) -> None:
    """Late truth and the sweep meet: the batch is either still running or opened again, never finished and active."""
    for number in range(5):
        held = driver.add_held()
        submission_id = held.submissions[0].id

        def work(
            index: int, submission_id: str = submission_id, batch_id: str = held.batch_id or "", task: int = number
        ) -> list[str]:
            if index == 0:
                driver.report_late(submission_id, TaskAccepted(f"task-{task}"))
            else:
                driver.batches.finish_done()
            return []

        run_together(work)
        assert driver.batches.get(held.batch_id or "").finished_at is None

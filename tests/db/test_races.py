"""Many at once: no job twice, no slot too many, and counts that see what others just committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.db import submit_claim
from orchestrator.db.batches import close_done
from orchestrator.db.engine import Database, open_database
from orchestrator.db.settling import apply_reports
from orchestrator.domain.decide import Decision, Evidence, JobPatch, settle_late
from orchestrator.domain.job import Job, Verdict
from orchestrator.domain.outcomes import Rejected, TaskAccepted
from orchestrator.domain.ports import EvidenceReport, LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import ANSWERED, LEASE, Driver
from tests.factories import HOUR, make_window
from tests.fixtures.clock import FakeClock

THREADS = 8


def run_together(work: Callable[[int], list[str]]) -> list[str]:
    """Run `work` in several threads at once and return all they got."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [item for part in pool.map(work, range(THREADS)) for item in part]


def test_no_job_is_submitted_twice_and_no_limit_exceeded(driver: Driver) -> None:
    """Promises 2 and 10, G1, G5: eight processes on one queue, slots freed and taken all the time, counted from rows."""
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
    """B5: every due row is leased by exactly one claim."""
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


class TestWaiting:
    """What one transaction does while another holds what it needs.

    PostgreSQL only: SQLite has one writer, so nobody waits inside a transaction.
    """

    @pytest.fixture
    def database(self, postgres_url_factory: Callable[[], str], clock: FakeClock) -> Iterator[Database]:
        """Give a database of its own: every backend in it belongs to the test."""
        database = open_database(postgres_url_factory(), clock=clock, asks_server_time=False)
        yield database
        database.close()

    def test_a_claim_that_waited_sees_what_was_committed_meanwhile(self, driver: Driver) -> None:
        """The count is a statement of its own, begun after the locks are held (measured: 10 with limit 5 otherwise)."""
        window = make_window(slots={"*": 5})
        driver.add_many(20)
        driver.claim(slots={"*": 0})  # so that the rows to be locked exist
        with ThreadPoolExecutor(1) as pool:
            with driver.database.begin_write() as connection:
                first, _ = submit_claim.claim_submissions(connection, window, database=driver.database)
                waiting = pool.submit(driver.jobs.claim_submissions, window)
                wait_for_lock(driver.database, waiting)
            second = waiting.result(timeout=60).rows
        assert (len(first), len(second)) == (5, 0)

    def test_late_truth_that_met_a_finish_opens_the_batch_again(self, driver: Driver) -> None:
        """The finish was first: the batch must not stay finished with an active job in it."""
        held = driver.add_held()
        with ThreadPoolExecutor(1) as pool:
            with driver.database.begin_write() as connection:
                assert close_done(connection, driver.database) == [held.batch_id]
                waiting = pool.submit(driver.report_late, held.submissions[0].id, TaskAccepted("task-1"))
                wait_for_lock(driver.database, waiting)
            waiting.result(timeout=60)
        assert driver.batches.get(held.batch_id or "").finished_at is None

    def test_a_finish_that_met_late_truth_leaves_the_batch_running(self, driver: Driver) -> None:
        """Late truth was first: the finish must not judge by what it saw before."""
        held = driver.add_held()
        outcome = TaskAccepted("task-1")
        about = Evidence(held.submissions[0].id, outcome)

        def settle(job: Job, now: datetime) -> Decision | None:
            return settle_late(job, about, driver.rules, now, driver.rng)

        report = EvidenceReport(held.submissions[0].id, ANSWERED, outcome, Verdict.ACCEPTED, None, settle)
        with ThreadPoolExecutor(1) as pool:
            with driver.database.begin_write() as connection:
                apply_reports(connection, [report], database=driver.database)
                waiting = pool.submit(driver.batches.finish_done)
                wait_for_lock(driver.database, waiting, may_end=True)
            assert waiting.result(timeout=60) == []
        assert driver.batches.get(held.batch_id or "").finished_at is None


def wait_for_lock(database: Database, waiting: Future[Any], *, may_end: bool = False) -> None:
    """Return once a backend of this database waits for a lock, or, with `may_end`, once the work is done."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    tick = Event()
    for _ in range(2000):
        with database.engine.connect() as connection:
            if connection.execute(query).scalar_one():
                return
        if waiting.done():
            assert may_end, "it did not wait for the locks of the first transaction"
            return
        tick.wait(0.005)
    raise AssertionError("nobody waits")

"""A change of many jobs at once while a submit claim is under way. PostgreSQL only: SQLite has one writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

import pytest

from orchestrator.db import engine
from orchestrator.db.bulk import SqlBulkJobs
from orchestrator.db.engine import Database, open_database
from orchestrator.domain.decide import Decision, decide_retry
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import Rejected
from orchestrator.domain.ports import ClaimedSubmission
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.db.test_races import wait_for_lock
from tests.factories import make_batch, make_new_job
from tests.fixtures.clock import FakeClock

pytestmark = pytest.mark.postgres
ROOMY = {"*": 1000}


@pytest.fixture
def database(postgres_url_factory: Callable[[], str], clock: FakeClock) -> Iterator[Database]:
    """Give a database of its own: every backend in it belongs to the test."""
    database = open_database(postgres_url_factory(), clock=clock, asks_server_time=False)
    yield database
    database.close()


def test_a_bulk_retry_and_a_claim_under_a_budget_do_not_wait_for_each_other(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim holds the batch for its budget and wants a job that the retry holds; the retry must have the batch too
    by then, not want it. No transaction may be repeated here, so that a deadlock is told.
    """
    monkeypatch.setattr(engine, "TRIES", 1)
    refused, queued = make_new_job(), make_new_job()
    driver.add(refused, queued, batch=make_batch(max_cost_micros=10**9))
    driver.report(driver.claim_one(slots=ROOMY, limit=1), Rejected("1214", "no"))
    claims: list[Future[tuple[ClaimedSubmission, ...]]] = []

    def meet_a_claim(job: Job, now: datetime) -> Decision:
        if not claims:
            claims.append(pool.submit(driver.claim, slots=ROOMY))
            wait_for_lock(driver.database, claims[0])
        return decide_retry(job, driver.rules, now, last_final_answer=None, may_charge=True)

    with ThreadPoolExecutor(1) as pool:
        bulk = SqlBulkJobs(driver.database)
        changed = bulk.change_group([refused.id, queued.id], meet_a_claim, actor="ann", reason="")
        taken = claims[0].result(timeout=60)
    assert changed.moved == {refused.id: State.QUEUED}
    assert list(changed.refused) == [queued.id]
    assert queued.id in {row.job.id for row in taken}

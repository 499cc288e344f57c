"""A transaction that somebody forgot: no vacuum removes what dies meanwhile, and claims must not pay for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from orchestrator.db.engine import Database
from orchestrator.db.low_water import LowWater
from orchestrator.db.rows import JOBS as JOB_ROWS
from orchestrator.domain.ports import LaneName
from tests.db.driver import LEASE, Driver

JOBS = 100
ROUNDS = 40  # each leaves two dead versions of every row: leased, and given another time
SECOND = timedelta(seconds=1)
YEAR = timedelta(days=365)
FEW_PAGES = 20
FETCHED = text(
    "SELECT sum(pg_stat_get_xact_blocks_fetched(c.oid)) FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid "
    "WHERE c.oid = 'jobs'::regclass OR i.indrelid = 'jobs'::regclass"
)
"""Pages of the table and its indexes that this transaction has looked at, cached or not: no clock has a say in it."""


@pytest.fixture
def database_url(postgres_url_factory: object) -> str:
    """Give a fresh database: pages that another test has left would be counted too."""
    assert callable(postgres_url_factory)
    url: str = postgres_url_factory()
    return url


@contextmanager
def pages_read(database: Database) -> Iterator[list[int]]:
    """Collect for each transaction of the block how many pages of jobs it looked at."""
    counts: list[int] = []

    def begin(connection: Connection) -> None:  # what earlier transactions have not reported yet is in it
        connection.info["fetched"] = connection.execute(FETCHED).scalar_one()

    def count(connection: Connection) -> None:
        counts.append(int(connection.execute(FETCHED).scalar_one() - connection.info["fetched"]))

    event.listen(database.engine, "begin", begin)
    event.listen(database.engine, "commit", count)
    yield counts
    event.remove(database.engine, "begin", begin)
    event.remove(database.engine, "commit", count)


@contextmanager
def forgotten_transaction(database: Database) -> Iterator[None]:
    """Hold a snapshot open, as a dump does, or somebody who has gone to lunch."""
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(select(JOB_ROWS.c.id).limit(1)).all()
        yield


@pytest.mark.postgres
def test_claims_do_not_pay_for_what_no_vacuum_may_remove(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """C9: Behind thousands of dead versions a claim looks at about as many pages as before there were any."""
    ids = _add(driver)
    with forgotten_transaction(driver.database):
        before = _find_nothing(driver)
        for _ in range(ROUNDS):
            _put(driver, ids, driver.clock.now())
            driver.clock.advance(SECOND)
            assert len(driver.jobs.claim_due(LaneName.POLL, limit=JOBS + 1, lease=LEASE).rows) == JOBS
        _put(driver, ids, driver.clock.now() + YEAR)
        behind = _find_nothing(driver)
        monkeypatch.setattr(LowWater, "find_begin", lambda *_, **__: None)
        whole = _find_nothing(driver)
    assert behind <= before + FEW_PAGES, (before, behind)
    assert whole > before + 10 * FEW_PAGES, (before, whole)  # the dead are really there: this is a look at all of them


def _add(driver: Driver) -> list[str]:
    """Add jobs that a provider is at work on, due in a year."""
    template = driver.row(JOB_ROWS, driver.add_processing().id)
    ids = [f"busy-{number:04}" for number in range(JOBS)]
    own = {"due_at": driver.clock.now() + YEAR, "lease_token": None}
    rows = [{**template, **own, "id": job_id, "provider_task_id": job_id} for job_id in ids]
    with driver.database.begin_write() as connection:
        connection.execute(insert(JOB_ROWS), rows)
        connection.execute(update(JOB_ROWS).where(JOB_ROWS.c.id == template["id"]).values(own))
        connection.execute(text("ANALYZE jobs"))
    return ids


def _put(driver: Driver, ids: list[str], due_at: datetime) -> None:
    """Let these go, due then: a version of each dies."""
    with driver.database.begin_write() as connection:
        connection.execute(update(JOB_ROWS).where(JOB_ROWS.c.id.in_(ids)).values(due_at=due_at, lease_token=None))


def _find_nothing(driver: Driver) -> int:
    """Look ahead as a lane does, then claim what is not there; return how many pages the claim looked at."""
    driver.clock.advance(SECOND)
    driver.jobs.find_next_due(LaneName.POLL)
    with pages_read(driver.database) as counts:
        assert not driver.jobs.claim_due(LaneName.POLL, limit=JOBS + 1, lease=LEASE).rows
    assert counts
    return sum(counts)

"""A transaction that somebody forgot: no vacuum removes what dies meanwhile, and claims must not pay for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from orchestrator.db import low_water
from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS
from orchestrator.domain.ports import LaneName
from tests.db.driver import LEASE, Driver
from tests.fixtures.clock import FakeClock

JOBS_IN_FLIGHT = 200
ROUNDS = 25  # each leaves two dead versions of every row: leased, and given another time
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
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

    def count(connection: Connection) -> None:
        counts.append(int(connection.execute(FETCHED).scalar_one()))

    event.listen(database.engine, "commit", count)
    yield counts
    event.remove(database.engine, "commit", count)


@contextmanager
def forgotten_transaction(database: Database) -> Iterator[None]:
    """Hold a snapshot open, as a dump does, or somebody who has gone to lunch."""
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(select(JOBS.c.id).limit(1)).all()
        yield


@pytest.mark.postgres
def test_claims_do_not_pay_for_what_no_vacuum_may_remove(
    driver: Driver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9: The hundredth claim behind an open transaction reads as many pages as the first, to a small factor."""
    _put_in_flight(driver)
    with forgotten_transaction(driver.database):
        first = _claim(driver)
        _go_on(driver, clock)
        for _ in range(ROUNDS):
            _claim(driver)
            _go_on(driver, clock)
        last = _claim(driver)
        _go_on(driver, clock)
        monkeypatch.setattr(low_water, "CLAIM_PATIENCE_SECONDS", 0)  # every claim looks from the first row on
        whole = _claim(driver)
    assert last < 3 * first, (first, last)
    assert whole > 3 * last, (last, whole)  # what it would be to look at everything: the dead are really there


def _put_in_flight(driver: Driver) -> None:
    template = driver.row(JOBS, driver.add_processing().id)
    due_at = driver.clock.now()
    rows = [
        {**template, "id": f"job-{n:04}", "provider_task_id": f"task-{n}", "due_at": due_at}
        for n in range(JOBS_IN_FLIGHT - 1)
    ]
    with driver.database.begin_write() as connection:
        connection.execute(insert(JOBS), rows)
        connection.execute(update(JOBS).values(due_at=due_at))
    driver.clock.advance(SECOND)


def _claim(driver: Driver) -> int:
    """Claim all that is in flight, behind a look ahead as in a lane; return how many pages the claim took."""
    driver.jobs.find_next_due(LaneName.POLL)
    with pages_read(driver.database) as counts:
        claimed = driver.jobs.claim_due(LaneName.POLL, limit=JOBS_IN_FLIGHT + 1, lease=LEASE).rows
    assert len(claimed) == JOBS_IN_FLIGHT
    return sum(counts)


def _go_on(driver: Driver, clock: FakeClock) -> None:
    """Every task runs on: its row is let go, and due again in a minute."""
    clock.advance(SECOND)
    with driver.database.begin_write() as connection:
        connection.execute(update(JOBS).values(due_at=clock.now() + MINUTE, lease_token=None))
    clock.advance(2 * MINUTE)

"""Poll claims begin where the last one ended: every way in which a row could be hidden by that, and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import Connection, select, update

from orchestrator.db.engine import Database
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.low_water import CLAIM_PATIENCE_SECONDS, FULL_LOOK_SECONDS, MARGIN, Look, LowWater
from orchestrator.db.pauses import MODEL_LIMITS, Scope
from orchestrator.db.rows import JOBS
from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import LaneName
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR
from tests.fixtures.clock import START, FakeClock

T = TypeVar("T")

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
FULL_LOOK = timedelta(seconds=FULL_LOOK_SECONDS)
PATIENCE = timedelta(seconds=CLAIM_PATIENCE_SECONDS)


def claim(driver: Driver, limit: int = 100, jobs: SqlJobs | None = None) -> list[str]:
    """Claim polls; return the ids."""
    found: tuple[Job, ...] = (jobs or driver.jobs).claim_due(LaneName.POLL, limit=limit, lease=LEASE).rows
    return [job.id for job in found]


def look(driver: Driver) -> datetime | None:
    """Look ahead as the lane does."""
    return driver.jobs.find_next_due(LaneName.POLL)


def put(driver: Driver, job_id: str, due_at: datetime) -> None:
    """Write a free row that is due then, as another process may commit it."""
    values = {"due_at": due_at, "lease_token": None}
    with driver.database.begin_write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(values))


def pause_polls(driver: Driver, model: str, until: datetime | None) -> None:
    """Write a pause, or its end, as another process may commit it."""
    values = {"poll_paused_until": until, "poll_probe_id": None}
    with driver.database.begin_write() as connection:
        connection.execute(update(MODEL_LIMITS).where(MODEL_LIMITS.c.model == model).values(values))


@pytest.fixture
def hidden(driver: Driver) -> str:
    """Give a row that is due, below where the next claim begins."""
    job_id = driver.add_processing().id
    driver.clock.advance(HOUR)
    assert claim(driver) == [job_id]
    put(driver, job_id, driver.clock.now() - 10 * MINUTE)
    return job_id


class TestHidden:
    """A row below the low water waits for a look from the first row, and that comes soon."""

    def test_the_look_ahead_finds_it(self, driver: Driver, hidden: str) -> None:
        """Committed late, let go by whoever held its lock, dated by another clock: found, and claimed at once."""
        driver.clock.advance(FULL_LOOK - SECOND)
        assert (claim(driver), look(driver)) == ([], None)
        driver.clock.advance(SECOND)
        assert look(driver) == driver.row(JOBS, hidden)["due_at"]
        assert claim(driver) == [hidden]

    def test_a_lane_too_busy_to_look_ahead_finds_it(self, driver: Driver, hidden: str) -> None:
        driver.clock.advance(PATIENCE - SECOND)
        assert claim(driver) == []
        driver.clock.advance(SECOND)
        assert claim(driver) == [hidden]

    def test_a_fresh_process_finds_it(self, driver: Driver, hidden: str) -> None:
        """What is remembered is one process's own."""
        assert claim(driver, jobs=SqlJobs(driver.database)) == [hidden]

    def test_a_full_look_that_finds_nothing_lower_hides_nothing(self, driver: Driver) -> None:
        """It must not move the low water up: rows due between the last claim and the look are unclaimed."""
        job = driver.add_processing()
        claim(driver)
        assert job.due_at is not None
        driver.clock.advance(max(job.due_at - driver.clock.now(), FULL_LOOK) + MINUTE)
        assert look(driver) == job.due_at
        assert claim(driver) == [job.id]


class TestNeverHidden:
    """What happens every day is found by the next claim, whatever it remembers."""

    def test_due_now_and_committed_after_the_claim(self, driver: Driver, hidden: str) -> None:
        """A release asked the time before the claim did."""
        put(driver, hidden, driver.clock.now() - timedelta(seconds=0.4))
        assert claim(driver) == [hidden]

    def test_a_lease_that_lapses(self, driver: Driver) -> None:
        """The holder is another process; its lease ends after our last claim, so that ours still comes by."""
        job_id = driver.add_processing().id
        driver.clock.advance(HOUR)
        assert claim(driver, jobs=SqlJobs(driver.database)) == [job_id]
        for _ in range(6):
            assert claim(driver) == []
            driver.clock.advance(LEASE / 6)
            look(driver)
        assert claim(driver) == [job_id]

    def test_a_window_smaller_than_what_is_due(self, driver: Driver) -> None:
        """The next claim goes on where this one stopped, rows of the same instant included, none passed by."""
        ids = [driver.add_processing(f"task-{n}").id for n in range(6)]
        driver.clock.advance(HOUR)
        assert set(claim(driver)) == set(ids)
        for place, job_id in enumerate(ids):
            put(driver, job_id, driver.clock.now() + MINUTE * (place // 4))
        driver.clock.advance(HOUR)
        assert [sorted(claim(driver, limit=2)) for _ in range(4)] == [ids[:2], ids[2:4], ids[4:], []]

    def test_a_pause_that_is_over(self, driver: Driver) -> None:
        """Claims passed its rows by for as long as it lasted."""
        paused, other = driver.add_processing("t1", model="a").id, driver.add_processing("t2", model="b").id
        claim(driver)
        pause_polls(driver, "a", START + 10 * HOUR)
        driver.clock.advance(HOUR)
        assert (claim(driver), look(driver)) == ([other], driver.clock.now() + LEASE)
        driver.clock.advance(SECOND)
        assert claim(driver) == []
        pause_polls(driver, "a", None)
        assert claim(driver) == [paused]

    def test_the_probe_of_a_pause(self, driver: Driver) -> None:
        """It is taken from the pause's oldest rows, then the rest of them."""
        paused = [driver.add_processing(f"t{n}", model="a").id for n in range(3)]
        pause_polls(driver, "a", START + HOUR)
        driver.clock.advance(HOUR - SECOND)
        assert claim(driver) == []
        driver.clock.advance(SECOND)
        (probe,) = claim(driver)
        pause_polls(driver, "a", None)
        assert {probe, *claim(driver)} == set(paused)

    def test_a_window_that_the_probe_fills(self, driver: Driver) -> None:
        """Nothing else was looked through."""
        paused, other = driver.add_processing("t1", model="a").id, driver.add_processing("t2", model="b").id
        claim(driver)
        pause_polls(driver, "a", START + HOUR)
        driver.clock.advance(HOUR)
        assert (claim(driver, limit=1), claim(driver)) == ([paused], [other])

    def test_a_claim_that_was_rolled_back(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it took is due as before: nothing of it is remembered."""
        job_id = driver.add_processing().id
        claim(driver)
        driver.clock.advance(PATIENCE - SECOND)
        put(driver, job_id, driver.clock.now() - 2 * MARGIN)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "write", lose_the_commit)
            with pytest.raises(Transient):
                claim(driver)
        assert claim(driver) == [job_id]


def lose_the_commit(database: Database, work: Callable[[Connection], T]) -> T:
    """Do all of it, then lose it."""
    with database.begin_write() as connection:
        work(connection)
        raise Transient("database_unavailable", "the connection broke before the commit")


@pytest.mark.postgres
def test_a_row_that_somebody_held_locked(driver: Driver) -> None:
    """A claim passes it by, and what locked it changes nothing: found by the next full look."""
    if driver.database.is_sqlite:
        pytest.skip("one writer at a time: nothing is ever passed by")
    job_id = driver.add_processing().id
    driver.clock.advance(HOUR)
    with driver.database.begin_write() as connection:
        connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update())
        assert claim(driver) == []
    driver.clock.advance(FULL_LOOK)
    assert look(driver) == driver.row(JOBS, job_id)["due_at"]
    assert claim(driver) == [job_id]


class TestLowWater:
    """The memory itself."""

    A, B = Scope("default", "a"), Scope("default", "b")

    def test_it_begins_a_margin_before_the_end_of_the_newest_look(self) -> None:
        low_water = LowWater(FakeClock())
        assert low_water.find_begin(set(), START, patience=1) is None
        low_water.note_claim(Look(None, START))
        assert low_water.find_begin(set(), START, patience=1) == START - MARGIN

    def test_a_clock_set_back_begins_from_the_first_row(self) -> None:
        """Rows written since are dated below what was looked through."""
        low_water = LowWater(FakeClock())
        low_water.note_claim(Look(None, START))
        assert low_water.find_begin(set(), START - SECOND, patience=1) is None

    def test_only_a_scope_that_opened_asks_for_more(self) -> None:
        low_water = LowWater(FakeClock())
        low_water.note_claim(Look(None, START, {self.A}))
        assert low_water.find_begin({self.A, self.B}, START, patience=1) is not None
        assert low_water.find_begin({self.B}, START, patience=1) is None
        assert low_water.find_begin(set(), START, patience=1) is None

    def test_the_look_ahead_moves_it_down_and_never_up(self) -> None:
        low_water = LowWater(FakeClock())
        low_water.note_claim(Look(None, START))
        low_water.note_first(START + HOUR)
        assert low_water.find_begin(set(), START, patience=1) == START - MARGIN
        low_water.note_first(START - HOUR)
        assert low_water.find_begin(set(), START, patience=1) == START - HOUR - MARGIN

    def test_a_look_from_the_first_row_starts_the_patience_anew(self) -> None:
        clock = FakeClock()
        low_water = LowWater(clock)
        low_water.note_claim(Look(None, START))
        clock.advance(SECOND)
        assert low_water.find_begin(set(), START, patience=1) is None
        low_water.note_claim(Look(START, START))
        assert low_water.find_begin(set(), START, patience=1) is None
        low_water.note_claim(Look(None, START))
        assert low_water.find_begin(set(), START, patience=1) is not None

"""Leases of the poll and archive lanes: taken in order, renewed, given back, lapsed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS
from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job, Role
from orchestrator.domain.outcomes import StillRunning
from orchestrator.domain.poison import InFlight
from orchestrator.domain.ports import LaneName
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR, make_draft
from tests.fixtures.clock import START


def claim(driver: Driver, lane: LaneName = LaneName.POLL, limit: int = 100, **terms: Any) -> tuple[Job, ...]:  # noqa: ANN401 - any by name
    """Lease due rows; `terms` are further ones."""
    return driver.jobs.claim_due(lane, limit=limit, lease=LEASE, **terms).rows


def test_only_due_rows_are_leased_and_only_once(driver: Driver) -> None:
    """A claim sets a token and the lease's end; the same row is not due again before it."""
    job = driver.add_processing()
    assert claim(driver) == ()
    driver.clock.advance(HOUR)
    (leased,) = claim(driver)
    assert (leased.id, leased.due_at) == (job.id, driver.clock.now() + LEASE)
    assert leased.lease_token
    assert claim(driver) == ()


def test_polls_go_by_due_at(driver: Driver) -> None:
    """The longest overdue question is asked first."""
    jobs = [driver.add_processing(f"task-{n}") for n in range(3)]
    by_due_at = sorted(jobs, key=lambda job: job.due_at or START)
    driver.clock.advance(HOUR)
    assert [claim(driver, limit=1)[0].id for _ in jobs] == [job.id for job in by_due_at]


def test_archives_go_by_expiry_class_by_class(driver: Driver) -> None:
    """Promise 7: what dies first is fetched first; rows come with their outputs."""
    late = driver.add_archiving(make_draft(expires_at=START + 3 * HOUR), task_id="t1")
    none = driver.add_archiving(make_draft(expires_at=None), task_id="t2")
    soon = driver.add_archiving(
        make_draft(expires_at=START + 2 * HOUR), make_draft(1, role=Role.COVER, expires_at=START + HOUR), task_id="t3"
    )
    image = driver.add_archiving(task_id="t4", archive_class="other")
    rows = claim(driver, LaneName.ARCHIVE, archive_class="video")
    assert [job.id for job in rows] == [soon.id, late.id, none.id]
    assert [output.index for output in rows[0].outputs] == [1, 0]
    assert [job.id for job in claim(driver, LaneName.ARCHIVE, archive_class="other")] == [image.id]


def test_the_first_claimed_archives_are_those_that_expire_first(driver: Driver) -> None:
    """With a small window the order decides who is taken, not only how they are listed."""
    driver.add_archiving(make_draft(expires_at=START + 3 * HOUR), task_id="t1")
    soon = driver.add_archiving(make_draft(expires_at=START + 2 * HOUR), task_id="t2")
    assert [job.id for job in claim(driver, LaneName.ARCHIVE, limit=1)] == [soon.id]


def test_a_renewed_lease_holds_and_a_lost_one_is_told(driver: Driver) -> None:
    """One statement extends all; what is not returned is no longer ours."""
    ids = [driver.add_processing(f"task-{n}").id for n in range(2)]
    driver.clock.advance(HOUR)
    tokens = {job.id: job.lease_token or "" for job in claim(driver)}
    driver.clock.advance(LEASE / 2)
    kept = driver.jobs.renew({ids[0]: tokens[ids[0]], ids[1]: "stale"}, lease=LEASE)
    assert kept == {ids[0]}
    driver.clock.advance(LEASE / 2)
    assert [job.id for job in claim(driver)] == [ids[1]]


def test_a_lapsed_lease_counts_as_a_death(driver: Driver) -> None:
    """A row found with a token died in somebody's hands; an apply forgets it."""
    job = driver.add_processing()
    driver.clock.advance(HOUR)
    for deaths in range(3):
        (leased,) = claim(driver)
        assert leased.death_count == deaths
        driver.clock.advance(LEASE)
    (leased,) = claim(driver)
    driver.apply(leased, StillRunning("PROCESSING"))
    assert driver.get(job.id).death_count == 0


def test_a_released_row_is_due_now_and_no_death(driver: Driver) -> None:
    """A graceful stop costs nobody anything."""
    driver.add_processing()
    driver.clock.advance(HOUR)
    (leased,) = claim(driver)
    driver.jobs.release({leased.id: leased.lease_token or ""})
    (again,) = claim(driver)
    assert (again.death_count, again.lease_token != leased.lease_token) == (0, True)


def test_a_stale_token_releases_nothing(driver: Driver) -> None:
    """Giving back what is another's would let a third take it too."""
    driver.add_processing()
    driver.clock.advance(HOUR)
    (leased,) = claim(driver)
    driver.jobs.release({leased.id: "stale"})
    assert claim(driver) == ()


def test_a_dead_processs_rows_are_given_back_at_once(driver: Driver) -> None:
    """Whoever finds its journal unlocked need not wait for its leases; each row counts a death."""
    ids = [driver.add_processing(f"task-{n}").id for n in range(2)]
    driver.clock.advance(HOUR)
    for process in ("host-1", "host-12"):
        driver.jobs.claim_due(LaneName.POLL, limit=1, lease=LEASE, process=process)
    assert driver.jobs.release_dead("host-1") == 1
    (job,) = claim(driver)
    assert (job.id in ids, job.death_count) == (True, 1)
    assert driver.jobs.release_dead("host_1") == 0


def test_submit_leases_are_neither_renewed_nor_released(driver: Driver) -> None:
    """A paid call ends by itself or lapses; nothing may put it back into the queue."""
    driver.add_many(1)
    row = driver.claim_one()
    held = {row.job.id: row.job.lease_token or ""}
    assert driver.jobs.renew(held, lease=LEASE) == frozenset()
    driver.jobs.release(held)
    assert driver.get(row.job.id).due_at == row.job.due_at


def test_look_ahead_of_the_leased_lanes(driver: Driver) -> None:
    """Leases' ends count: that is when a dead worker's row can be taken over."""
    assert driver.jobs.find_next_due(LaneName.POLL) is None
    assert driver.jobs.find_next_due(LaneName.ARCHIVE) is None
    job = driver.add_processing()
    assert driver.jobs.find_next_due(LaneName.POLL) == job.due_at
    driver.clock.advance(HOUR)
    claim(driver)
    assert driver.jobs.find_next_due(LaneName.POLL) == driver.clock.now() + LEASE


def test_lanes_without_leases_are_a_mistake(driver: Driver) -> None:
    """The submit lane has its own claim."""
    with pytest.raises(ValueError, match="submit"):
        claim(driver, LaneName.SUBMIT)


class TestSweeps:
    """Maintenance tasks: one runner at a time, due again after each run."""

    EVERY, SWEEP_LEASE = timedelta(seconds=30), timedelta(seconds=120)

    def take(self, driver: Driver, name: str = "spool") -> str | None:
        return driver.jobs.claim_sweep(name, every=self.EVERY, lease=self.SWEEP_LEASE)

    def test_one_runner_at_a_time(self, driver: Driver) -> None:
        token = self.take(driver)
        assert token is not None
        assert self.take(driver) is None
        assert self.take(driver, "orphans") is not None
        driver.jobs.finish_sweep("spool", token, every=self.EVERY, result="3 files removed")
        assert self.take(driver) is None
        driver.clock.advance(self.EVERY)
        assert self.take(driver) is not None

    def test_due_are_those_that_a_claim_would_give(self, driver: Driver) -> None:
        """Also one that was never run, and one whose runner's lease has lapsed."""
        names = ["orphans", "spool"]
        assert driver.jobs.find_due_sweeps(names) == ("orphans", "spool")
        token = self.take(driver)
        assert driver.jobs.find_due_sweeps(names) == ("orphans",)
        driver.clock.advance(self.SWEEP_LEASE)
        assert driver.jobs.find_due_sweeps(names) == ("orphans", "spool")
        driver.jobs.finish_sweep("spool", token or "", every=self.EVERY, result="nothing")
        assert driver.jobs.find_due_sweeps(names) == ("orphans",)

    def test_a_dead_runners_task_is_taken_over(self, driver: Driver) -> None:
        """C6: and the dead one, should it come back, ends nothing."""
        stale = self.take(driver)
        driver.clock.advance(self.SWEEP_LEASE)
        assert self.take(driver) is not None
        driver.jobs.finish_sweep("spool", stale or "", every=self.EVERY, result="late")
        driver.clock.advance(self.EVERY)
        assert self.take(driver) is None


class TestSuspects:
    """B9: rows that a worker died of are few at once, or alone in the lane of their process."""

    def add(self, driver: Driver, count: int, deaths: int = 0) -> set[str]:
        """Insert due jobs in `processing` that have seen so many deaths."""
        ids = {driver.add_processing(f"task-{deaths}-{n}").id for n in range(count)}
        with driver.database.begin_write() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id.in_(ids)).values(death_count=deaths, due_at=START))
        return ids

    def test_one_death_ten_at_once(self, driver: Driver) -> None:
        """And clean rows only fill that window up."""
        suspects = self.add(driver, 12, deaths=1)
        clean = self.add(driver, 3)
        first = claim(driver)
        assert len(first) == 10
        assert {job.id for job in first} < suspects
        held = InFlight.of([job.death_count for job in first])
        assert claim(driver, in_flight=held) == ()
        driver.jobs.release({job.id: job.lease_token or "" for job in first})  # a release forgets deaths
        rest = claim(driver)
        assert {job.id for job in rest} <= suspects | clean
        assert len(rest) == 10

    def test_two_deaths_alone(self, driver: Driver) -> None:
        """Neither beside clean rows nor beside another suspect; nothing is taken beside it."""
        suspects = self.add(driver, 2, deaths=2)
        clean = self.add(driver, 3)
        assert claim(driver, in_flight=InFlight(1, 0)) == ()
        (alone,) = claim(driver)
        assert alone.id in suspects
        assert claim(driver, in_flight=InFlight(1, 2)) == ()
        driver.apply(alone, StillRunning("PROCESSING"))
        (other,) = claim(driver)
        assert {alone.id, other.id} == suspects
        driver.apply(other, StillRunning("PROCESSING"))
        assert {job.id for job in claim(driver)} >= clean

    def test_suspects_go_before_older_clean_rows(self, driver: Driver) -> None:
        """Or a lane with enough to do would never come to them."""
        self.add(driver, 5)
        suspects = self.add(driver, 1, deaths=2)
        assert {job.id for job in claim(driver)} == suspects

    def test_what_is_put_back_is_due_and_free_and_no_death(self, driver: Driver) -> None:
        """Another process may take it at once."""
        self.add(driver, 1, deaths=2)
        (clean,) = self.add(driver, 1)
        claim(driver)
        row = driver.row(JOBS, clean)
        assert (row["lease_token"], row["death_count"], row["due_at"]) == (None, 0, driver.clock.now())

    def test_a_lapse_counts_before_it_is_judged(self, driver: Driver) -> None:
        """Two rows whose holder died twice: one at a time."""
        self.add(driver, 2, deaths=1)
        assert len(claim(driver)) == 2
        driver.clock.advance(LEASE)
        assert [job.death_count for job in claim(driver)] == [2]

    def test_an_archive_lane_is_told_to_run_empty(self, driver: Driver) -> None:
        """Only the class in which a row waits for it."""
        job = driver.add_archiving(task_id="t1")
        driver.add_archiving(task_id="t2", archive_class="other")
        with driver.database.begin_write() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(death_count=2))
        terms = {"limit": 5, "lease": LEASE, "in_flight": InFlight(1, 0)}
        claimed = driver.jobs.claim_due(LaneName.ARCHIVE, archive_class="video", **terms)  # type: ignore[arg-type]
        assert (claimed.rows, claimed.is_kept_waiting) == ((), True)
        other = driver.jobs.claim_due(LaneName.ARCHIVE, archive_class="other", **terms)  # type: ignore[arg-type]
        assert (len(other.rows), other.is_kept_waiting) == (1, False)
        nothing = driver.jobs.claim_due(LaneName.ARCHIVE, archive_class="other", **terms)  # type: ignore[arg-type]
        assert (nothing.rows, nothing.is_kept_waiting) == ((), False)

    def test_an_outage_is_no_death(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        """The holder could not renew while the database was away; a later lapse counts again."""
        job = driver.add_processing()
        driver.clock.advance(HOUR)
        claim(driver)
        driver.clock.advance(LEASE / 2)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "write", refuse)
            for _ in range(3):
                with pytest.raises(Transient):
                    claim(driver)
                driver.clock.advance(LEASE)
        (again,) = claim(driver)
        assert (again.id, again.death_count) == (job.id, 0)
        driver.clock.advance(3 * LEASE)
        (later,) = claim(driver)
        assert later.death_count == 1


def refuse(*_: object) -> None:
    raise Transient("database_unavailable", "connection refused")

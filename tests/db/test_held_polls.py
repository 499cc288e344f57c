"""Renewal of held polls in one statement: leases, counts, deaths, and what a pause takes away."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.db.pauses import MODEL_LIMITS
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import OutputsReady, PauseScope, PollFailed
from orchestrator.domain.ports import HeldPoll, LaneName, Renewed
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR, make_draft

LIMITED = PollFailed("1302", "slow down", retry_after=timedelta(minutes=10), scope=PauseScope.MODEL)
SOON = timedelta(seconds=9)


def claim(driver: Driver, count: int) -> list[Job]:
    """Lead jobs to `processing`, let them come due and lease them, in the order of ids."""
    for number in range(count):
        driver.add_processing(f"task-{number}")
    return lease_due(driver)


def lease_due(driver: Driver) -> list[Job]:
    """Lease all that comes due, in the order of ids."""
    driver.clock.advance(HOUR)
    rows = driver.jobs.claim_due(LaneName.POLL, limit=100, lease=LEASE, process="host-1").rows
    return sorted(rows, key=lambda job: job.id)


def held(job: Job, **changes: object) -> HeldPoll:
    return HeldPoll(job.id, job.lease_token or "", **changes)  # type: ignore[arg-type]


def renew(driver: Driver, *rows: HeldPoll) -> Renewed:
    return driver.jobs.renew_polls(rows, lease=LEASE)


def test_what_is_ours_is_extended_and_told(driver: Driver) -> None:
    """A stale token, a row that has moved on, an unknown id: not ours."""
    kept, stale, moved = claim(driver, 3)
    driver.apply(moved, OutputsReady((make_draft(),)))
    driver.clock.advance(LEASE / 2)
    renewed = renew(driver, held(kept), HeldPoll(stale.id, "another's"), held(moved), HeldPoll("job_none", "x"))
    assert renewed == Renewed(frozenset({kept.id}), driver.clock.now())
    assert driver.get(kept.id).due_at == driver.clock.now() + LEASE
    assert driver.get(stale.id).due_at == driver.clock.now() + LEASE / 2


def test_counts_are_stored_and_deaths_forgotten_where_there_was_an_answer(driver: Driver) -> None:
    """A row that has not answered since its claim may still be what kills its workers."""
    claim(driver, 2)
    driver.clock.advance(2 * LEASE)
    good, silent = lease_due(driver)
    assert (good.death_count, silent.death_count) == (1, 1)
    renew(driver, held(good, due_at=driver.clock.now() + SOON, poll_count=7), held(silent))
    assert (driver.get(good.id).poll_count, driver.get(good.id).death_count) == (7, 0)
    assert (driver.get(silent.id).poll_count, driver.get(silent.id).death_count) == (0, 1)


def test_paused_rows_are_given_back_with_their_own_next_time(driver: Driver) -> None:
    """They stay due; an unasked one is due now; other models go on."""
    driver.add_processing("task-x", model="cogview-4", kind="image")
    other, refused, asked, unasked = claim(driver, 3)
    driver.apply(refused, LIMITED)
    next_time = driver.clock.now() + SOON
    renewed = renew(driver, held(asked, due_at=next_time, poll_count=3), held(unasked), held(other))
    assert renewed.job_ids == {other.id}
    rows = [driver.get(job.id) for job in (asked, unasked)]
    assert [(row.due_at, row.lease_token, row.poll_count) for row in rows] == [
        (next_time, None, 3),
        (driver.clock.now(), None, 0),
    ]


def test_a_pause_that_has_passed_still_holds_all_but_its_probe(driver: Driver) -> None:
    """Until one answer has ended it, nobody of the scope asks."""
    refused, other = claim(driver, 2)
    driver.apply(refused, LIMITED)
    driver.clock.advance(timedelta(minutes=20))
    taken = driver.jobs.claim_due(LaneName.POLL, limit=5, lease=LEASE)
    (probe,) = taken.rows
    assert taken.probe_ids == {probe.id}
    rest = next(job for job in (refused, other) if job.id != probe.id)
    stray = driver.get(rest.id)
    renewed = renew(driver, held(probe), HeldPoll(stray.id, stray.lease_token or "x"))
    assert renewed.job_ids == {probe.id}
    assert driver.rows(MODEL_LIMITS)[0]["poll_probe_id"] == probe.id


def test_a_claim_without_pauses_names_no_probes(driver: Driver) -> None:
    driver.add_processing()
    driver.clock.advance(HOUR)
    claimed = driver.jobs.claim_due(LaneName.POLL, limit=5, lease=LEASE)
    assert (len(claimed.rows), claimed.probe_ids) == (1, frozenset())

"""Sums of money go by the ledger: a job that was paid for twice has two charges, whatever its row says."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.db.batch_reports import SqlBatchReports
from orchestrator.db.overview import SqlOverview
from orchestrator.db.progress import SqlProgress
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import ProviderFailed, TaskAccepted, TaskMissing, ThrottledNow
from orchestrator.domain.states import State
from orchestrator.services.lifecycle import retry_job
from tests.db.driver import Driver

PRICE = 200_000


def lose_and_retry(driver: Driver) -> Job:
    """Pay for a job whose result is lost, and queue it for a new charge."""
    job = driver.add_processing()
    while driver.state(job.id) is State.PROCESSING:
        driver.clock.advance(timedelta(days=1))
        driver.finish_poll(job.id, TaskMissing("404", "no such task"))
    retry_job(driver.jobs, job.id, rules=driver.rules, may_charge=True, actor="ann", reason="")
    return driver.get(job.id)


def sums(driver: Driver, job: Job) -> tuple[int, int]:
    """Return what its batch cost by the batch's page and by the summary of a run: they always agree."""
    assert job.batch_id is not None
    (costs,) = SqlBatchReports(driver.database).sum_costs_of([job.batch_id])[job.batch_id]
    (spent,) = SqlProgress(driver.database).sum_spending(job.batch_id)
    assert (costs.final_micros, costs.unknown_count) == (spent.spent_micros, spent.unknown_count)
    return costs.final_micros, costs.unknown_count


def paid_today(driver: Driver, owner: str | None = None) -> dict[str, int]:
    seen = SqlOverview(driver.database).read_overview(owner=owner, is_slot_held_until_final=True)
    return dict(seen.cost_today)


def test_a_batch_counts_every_charge(driver: Driver) -> None:
    """The first charge is there before the second, stays beside it, and stays when nobody knows what the second cost."""
    job = lose_and_retry(driver)
    assert sums(driver, job) == (PRICE, 0)
    driver.report(driver.claim_one(), TaskAccepted("second"))
    assert driver.get(job.id).cost_final_micros == PRICE
    assert sums(driver, job) == (2 * PRICE, 0)
    driver.finish_poll(job.id, ProviderFailed("1234", "it failed"))
    assert sums(driver, job) == (PRICE, 1)


def test_calls_that_were_refused_cost_nothing(driver: Driver) -> None:
    """A call that was throttled is in the ledger too, and adds nothing to the one that was taken."""
    driver.add_many(1)
    row = driver.claim_one()
    driver.report(row, ThrottledNow("1302", "slow down"))
    driver.clock.advance(timedelta(hours=1))
    driver.report(driver.claim_one(), TaskAccepted("second"))
    job = driver.get(row.job.id)
    assert job.submission_count == 2
    assert sums(driver, job) == (PRICE, 0)


def test_paid_today_is_what_was_called_today(driver: Driver) -> None:
    """The first charge is of its own day; a second one today counts today, and nobody else's with an owner."""
    job = lose_and_retry(driver)
    assert paid_today(driver) == {}
    driver.report(driver.claim_one(), TaskAccepted("second"))
    assert paid_today(driver) == {"USD": PRICE}
    assert (paid_today(driver, job.owner), paid_today(driver, "somebody")) == ({"USD": PRICE}, {})

"""Fairness: a batch of 50,000 lines does not make a small one wait for more than two slot releases (G7)."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, literal, literal_column, select, text

from orchestrator.db.batch_sums import MEMBERS
from orchestrator.db.rows import JOBS
from orchestrator.domain.outcomes import Rejected
from orchestrator.domain.ports import ClaimedSubmission
from tests.db.driver import Driver
from tests.factories import make_new_job

LINES = 50_000
MOST_RELEASES = 2
ONE_SLOT = {"*": 1}


def add_large(driver: Driver, *, models: tuple[str, ...] = ("cogvideox-3",), priority: int = 5) -> str:
    """Insert a batch of 50,000 queued jobs, a share for each model; the database copies its first ones itself."""
    batch = driver.add(*[make_new_job(model=model, priority=priority) for model in models])
    numbers = select(literal(1).label("number")).cte("numbers", recursive=True)
    last = LINES // len(models)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < last))
    new_id = JOBS.c.id + "-" + literal_column("CAST(numbers.number AS TEXT)")
    values = [new_id if column.name == "id" else column for column in JOBS.c]
    copies = select(*values).select_from(JOBS.join(numbers, literal(value=True))).where(JOBS.c.batch_id == batch.id)
    with driver.database.begin_write() as connection:
        connection.execute(insert(JOBS).from_select([column.name for column in JOBS.c], copies))
        if not driver.database.is_sqlite:
            connection.execute(text("ANALYZE jobs"))
    return batch.id


def count_releases(driver: Driver, wanted: str, held: ClaimedSubmission, **window: object) -> int:
    """Let slots go one by one until the job `wanted` is taken; return how many it took."""
    for number in range(1, MOST_RELEASES + 2):
        driver.report(held, Rejected("1214", "no"))
        driver.clock.advance(driver.rules.throttled.base)
        rows = driver.claim(slots=ONE_SLOT, **window)
        if wanted in {row.job.id for row in rows}:
            return number
        held = next(row for row in rows if row.job.model == held.job.model)
    return MOST_RELEASES + 1


def test_a_line_that_comes_late_waits_for_no_more_than_two_releases(driver: Driver) -> None:
    """G7: the large batch has the only slot and has had many turns before."""
    large = add_large(driver)
    held = driver.claim_one(slots=ONE_SLOT)
    for _ in range(3):
        driver.report(held, Rejected("1214", "no"))
        driver.clock.advance(driver.rules.throttled.base)
        held = driver.claim_one(slots=ONE_SLOT)
    assert held.job.batch_id == large
    (small,) = driver.add_many(1)
    assert count_releases(driver, small, held) <= MOST_RELEASES


def test_several_small_batches_take_turns_with_the_large_one(driver: Driver) -> None:
    """G7: each waits for those that came before it, never for the large batch's rest."""
    add_large(driver)
    held = driver.claim_one(slots=ONE_SLOT)
    small = [driver.add_many(1)[0] for _ in range(3)]
    order = []
    for _ in range(5):
        driver.report(held, Rejected("1214", "no"))
        driver.clock.advance(driver.rules.throttled.base)
        held = driver.claim_one(slots=ONE_SLOT)
        order.append(held.job.id)
    assert order[:3] == small


def test_several_models_are_no_way_around_it(driver: Driver) -> None:
    """G7: turns are kept per model; a large batch of three models delays nobody in any of them."""
    models = ("cogvideox-3", "glm-image", "viduq1-text")
    add_large(driver, models=models)
    taken = {row.job.model: row for row in driver.claim(slots=ONE_SLOT)}
    assert set(taken) == set(models)
    for model in models:
        (small,) = driver.add_many(1, model=model)
        assert count_releases(driver, small, taken[model]) <= MOST_RELEASES


def test_a_run_of_linked_lines_does_not_wait_behind_their_own_batch(driver: Driver) -> None:
    """G7: a small file that names the last job of the large batch; its run takes that job at the first release."""
    large = add_large(driver)
    held = driver.claim_one(slots=ONE_SLOT)
    query = select(JOBS.c.id).where(JOBS.c.batch_id == large).order_by(JOBS.c.id.desc()).limit(1)
    last = driver.database.read(lambda c: c.execute(query).scalar_one())
    mine = driver.add()
    driver.batches.link_existing(mine.id, [(1, "x", last)])
    assert driver.rows(MEMBERS, MEMBERS.c.batch_id == mine.id)[0]["linked_from"] == large
    assert count_releases(driver, last, held, batch_id=mine.id) <= MOST_RELEASES


@pytest.mark.parametrize(("priority", "most"), [(6, 1), (9, 1)])
def test_priority_overtakes_the_large_batch(driver: Driver, priority: int, most: int) -> None:
    """A line of higher priority has the next slot, however long the queue and whoever had the last turn."""
    add_large(driver)
    held = driver.claim_one(slots=ONE_SLOT)
    (urgent,) = driver.add_many(1, priority=priority)
    assert count_releases(driver, urgent, held) == most


def test_a_lower_priority_waits(driver: Driver) -> None:
    """Priority is before fairness: that is what it is for, and what it costs."""
    add_large(driver)
    held = driver.claim_one(slots=ONE_SLOT)
    (patient,) = driver.add_many(1, priority=4)
    assert count_releases(driver, patient, held) > MOST_RELEASES

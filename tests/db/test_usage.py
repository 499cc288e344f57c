"""Usage: what is added up is what the jobs say, once, on both databases."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from orchestrator.db.usage import SqlUsage
from orchestrator.domain.ids import JOB, make_id
from orchestrator.domain.outcomes import (
    ArchiveStep,
    OutputStored,
    ProviderFailed,
    Rejected,
    TaskAccepted,
    TaskMissing,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.domain.usage import GroupBy, UsageRow
from orchestrator.services.lifecycle import retry_job
from orchestrator.services.usage import list_usage
from tests.db.driver import Driver
from tests.factories import make_file, make_new_job
from tests.fixtures.clock import START

PRICE = 200_000


def rows(driver: Driver, by: GroupBy | None = None, **asked: object) -> dict[tuple[str | None, str | None], UsageRow]:
    """Return usage by group and currency."""
    since, owner = asked.get("since"), asked.get("owner")
    found = SqlUsage(driver.database).sum_usage(by, since=since, owner=owner)  # type: ignore[arg-type]
    return {(row.group, row.currency): row for row in found}


def fill(driver: Driver) -> None:
    """One archived with two outputs' worth of bytes, one refused, one held, one queued, one without a price."""
    job = driver.add_archiving(task_id="t1", tags={"campaign": "spring", "client": "acme"})
    held = driver.hold(LaneName.ARCHIVE, job.id)
    file = make_file(byte_count=1_500, duration_seconds=5.5)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, file) for output in held.outputs)))
    driver.add_many(1, tags={"campaign": "spring"})
    driver.report(driver.claim_one(), Rejected("1214", "no"))
    driver.add_held(model="cogview-4")
    driver.add_many(1, model="cogview-4", price=None)


def test_all_of_it_is_added_up_per_currency(driver: Driver) -> None:
    """Final is what is known to be charged; a held job's charge is unknown; outputs are counted once."""
    fill(driver)
    priced = rows(driver)[None, "USD"]
    assert (priced.job_count, priced.succeeded_count, priced.failed_count, priced.held_count) == (3, 1, 1, 1)
    assert (priced.estimate_micros, priced.final_micros, priced.unknown_count) == (3 * PRICE, PRICE, 1)
    assert (priced.output_count, priced.byte_count, priced.media_seconds) == (1, 1_500, 5.5)
    unpriced = rows(driver)[None, None]
    assert (unpriced.job_count, unpriced.active_count, unpriced.estimate_micros) == (1, 1, 0)


def test_a_job_that_was_paid_for_twice_counts_twice(driver: Driver) -> None:
    """A result that got lost was charged, and so is the next one: no money leaves the bill when a job is retried."""
    job = driver.add_processing(tags={"campaign": "spring"})
    while driver.state(job.id) is State.PROCESSING:
        driver.clock.advance(timedelta(days=1))
        driver.finish_poll(job.id, TaskMissing("404", "no such task"))
    assert driver.get(job.id).failure_code == "result_lost"
    retry_job(driver.jobs, job.id, rules=driver.rules, may_charge=True, actor="ann", reason="")
    assert rows(driver)[None, "USD"].final_micros == PRICE
    driver.report(driver.claim_one(), TaskAccepted("second"))
    for by, group in ((None, None), (GroupBy.MODEL, "cogvideox-3"), (GroupBy.TAG, "campaign=spring")):
        assert (rows(driver, by)[group, "USD"].job_count, rows(driver, by)[group, "USD"].final_micros) == (1, 2 * PRICE)
    driver.finish_poll(job.id, ProviderFailed("1234", "it failed"))
    assert (rows(driver)[None, "USD"].final_micros, rows(driver)[None, "USD"].unknown_count) == (PRICE, 1)


def test_groups(driver: Driver) -> None:
    """By model, tag (a job counts under each of its own), batch and day."""
    fill(driver)
    by_model = rows(driver, GroupBy.MODEL)
    assert {key: row.job_count for key, row in by_model.items()} == {
        ("cogvideox-3", "USD"): 2,
        ("cogview-4", "USD"): 1,
        ("cogview-4", None): 1,
    }
    by_tag = rows(driver, GroupBy.TAG)
    assert {group: row.job_count for (group, _), row in by_tag.items()} == {"campaign=spring": 2, "client=acme": 1}
    assert by_tag["client=acme", "USD"].byte_count == by_tag["campaign=spring", "USD"].byte_count == 1_500
    assert [row.job_count for row in rows(driver, GroupBy.BATCH).values()] == [1, 1, 1, 1]
    assert [group for group, _ in rows(driver, GroupBy.DAY)] == [f"{START:%Y-%m-%d}"] * 2


def test_since_and_owner_leave_others_out(driver: Driver) -> None:
    """A bill is about a time, and about somebody."""
    driver.add(make_new_job(id=make_id(JOB, now=driver.clock.now(), rng=Random(1))))
    driver.clock.advance(timedelta(days=3))
    driver.add(make_new_job(id=make_id(JOB, now=driver.clock.now(), rng=Random(2)), owner="bob"))
    since = driver.clock.now() - timedelta(days=1)
    assert rows(driver)[None, "USD"].job_count == 2
    assert rows(driver, since=since)[None, "USD"].job_count == 1
    assert rows(driver, owner="bob")[None, "USD"].job_count == 1
    assert rows(driver, since=driver.clock.now() + timedelta(seconds=1)) == {}
    assert len(rows(driver, GroupBy.DAY)) == 2


def test_it_is_shown_with_amounts(driver: Driver) -> None:
    """Money in words of money, not of micro-units."""
    fill(driver)
    (first, *_) = list_usage(SqlUsage(driver.database), GroupBy.MODEL, since=None)
    assert (first["by"], first["group"], first["seconds"]) == ("model", "cogvideox-3", 5.5)
    assert first["cost"] == {"currency": "USD", "estimate": "0.40", "final": "0.20", "unknown_count": 0}

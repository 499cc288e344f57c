"""Batches as they are shown: pages, families, the best of a line, groups of errors, files that are due."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.db.batch_reports import SqlBatchReports
from orchestrator.domain.decide import decide_cancel
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Batch
from orchestrator.domain.outcomes import Rejected, TaskAccepted
from tests.db.driver import Driver
from tests.db.test_plans import explained
from tests.factories import make_batch, make_new_job


@pytest.fixture
def reports(driver: Driver) -> SqlBatchReports:
    """Give the reports of the driver's database."""
    return SqlBatchReports(driver.database)


def add_rejected(driver: Driver, code: str = "1214", **changes: object) -> str:
    """Insert a batch of one job and let the provider refuse it; return the job's id."""
    (job_id,) = driver.add_many(1, **changes)
    row = next(row for row in driver.claim(slots={"*": 1000}) if row.job.id == job_id)
    driver.report(row, Rejected(code, "no"))
    return job_id


def add_child(driver: Driver, parent: Batch, line: int) -> tuple[Batch, str]:
    """Insert a batch that tries one line of another again."""
    child = make_batch(parent_id=parent.id)
    job = make_new_job(line_number=line)
    driver.batches.create(child)
    driver.batches.add_jobs(child.id, [job], actor="local")
    driver.batches.finish_intake(child.id)
    return child, job.id


def test_batches_are_listed_newest_first_page_by_page(driver: Driver, reports: SqlBatchReports) -> None:
    """Keyset pages: the next one begins behind the last id."""
    batches = [driver.add(make_new_job()) for _ in range(3)]
    first = reports.list_batches(limit=2)
    rest = reports.list_batches(limit=2, after=first[-1].id)
    assert [b.id for b in (*first, *rest)] == [b.id for b in reversed(batches)]


def test_states_and_costs_are_counted_per_batch(driver: Driver, reports: SqlBatchReports) -> None:
    """One read for a page of batches; a batch without members counts nothing; a held charge is unknown."""
    refused, held = driver.get(add_rejected(driver)).batch_id or "", driver.add_held().batch_id or ""
    empty = driver.add().id
    counts = reports.count_states_of([refused, held, empty])
    assert {k: dict(v.by_state) for k, v in counts.items()} == {
        refused: {"failed": 1},
        held: {"needs_review": 1},
        empty: {},
    }
    costs = reports.sum_costs_of([refused, held, empty])
    assert [(c.currency, c.estimate_micros, c.final_micros, c.unknown_count) for c in costs[refused]] == [
        ("USD", 200_000, 0, 0)
    ]
    assert costs[held][0].unknown_count == 1
    assert costs[empty] == []
    driver.add(make_new_job(price=None), batch=(batch := make_batch()))
    assert reports.count_unpriced(batch.id) == 1


def test_a_familys_order_is_not_that_of_ids(driver: Driver, reports: SqlBatchReports) -> None:
    """Ids of one millisecond sort by chance: whoever takes the first for the root must get the root."""
    younger, older = make_batch(), make_batch()
    driver.add(make_new_job(), batch=older)
    driver.add(make_new_job(), batch=replace(younger, parent_id=older.id))
    assert younger.id < older.id
    assert [batch.id for batch in reports.list_family(younger.id)] == [older.id, younger.id]


def test_a_family_is_found_from_any_of_its_batches(driver: Driver, reports: SqlBatchReports) -> None:
    """The root first, then whoever tries it again, over generations."""
    root = driver.add(make_new_job())
    child, _ = add_child(driver, root, 1)
    grandchild, _ = add_child(driver, child, 1)
    driver.add(make_new_job())
    for member in (root, child, grandchild):
        assert [b.id for b in reports.list_family(member.id)] == [root.id, child.id, grandchild.id]
    with pytest.raises(NotFound):
        reports.list_family("batch_none")


def test_the_best_of_each_line_is_chosen(driver: Driver, reports: SqlBatchReports) -> None:
    """What succeeded or still moves beats what failed; of two that failed the newest; lines stay in order."""
    root = driver.add(*(make_new_job() for _ in range(3)))
    rows = {row.job.line_number: row for row in driver.claim(slots={"*": 1000})}
    driver.report(rows[1], TaskAccepted("task-1"))
    for line in (2, 3):
        driver.report(rows[line], Rejected("1214", "no"))
    child = make_batch(parent_id=root.id)
    again = [make_new_job(line_number=line) for line in (2, 3)]
    driver.batches.create(child)
    driver.batches.add_jobs(child.id, again, actor="local")
    tries = {row.job.line_number: row for row in driver.claim(slots={"*": 1000})}
    driver.report(tries[2], Rejected("1214", "no"))
    driver.report(tries[3], TaskAccepted("task-3"))
    family = [root.id, child.id]
    best = reports.list_best(root.id, family)
    assert [line.line_number for line in best] == [1, 2, 3]
    assert [line.job.id for line in best] == [rows[1].job.id, again[0].id, again[1].id]
    assert [line.line_number for line in reports.list_best(root.id, family, after_line=1, limit=1)] == [2]
    driver.jobs.transact(driver.add_many(1)[0], decide_cancel, actor="ann", reason="")
    assert [line.job.id for line in reports.list_lines(root.id, after_line=2)] == [rows[3].job.id]


def test_a_cancelled_retry_does_not_hide_the_failure(driver: Driver, reports: SqlBatchReports) -> None:
    """Failed tells more than cancelled, although it is older."""
    failed = add_rejected(driver)
    root = driver.batches.get(driver.get(failed).batch_id or "")
    child, job_id = add_child(driver, root, 1)
    driver.jobs.transact(job_id, decide_cancel, actor="ann", reason="")
    (best,) = reports.list_best(root.id, [root.id, child.id])
    assert best.job.id == failed


def test_errors_are_grouped_by_what_they_end_with(driver: Driver, reports: SqlBatchReports) -> None:
    """The most frequent first, with the names of a few; what succeeded or still runs is no error."""
    jobs = [make_new_job(custom_id=f"s-{n}") for n in range(1, 7)]
    batch = driver.add(*jobs)
    rows = {row.job.id: row for row in driver.claim(slots={"*": 1000})}
    for job in jobs[:4]:
        driver.report(rows[job.id], Rejected("1214", "no"))
    driver.report(rows[jobs[4].id], Rejected("1301", "unsafe"))
    groups = reports.group_errors(batch.id)
    assert [(g.code, g.provider_code, g.count, g.example_ids) for g in groups] == [
        ("invalid_params", "1214", 4, ("s-1", "s-2", "s-3")),
        ("content_policy", "1301", 1, ("s-5",)),
    ]


def test_files_are_due_from_each_finish_until_they_are_written(driver: Driver, reports: SqlBatchReports) -> None:
    """A running batch is not due; a finished one is until a mark that names this very finish."""
    held = driver.add_held()
    batch_id = held.batch_id or ""
    assert reports.list_files_due() == []
    driver.batches.finish_done()
    (due,) = reports.list_files_due()
    assert due.id == batch_id
    assert due.finished_at is not None
    assert reports.list_files_due(after=batch_id) == []
    assert reports.mark_files_written(batch_id, finished_at=due.finished_at)
    assert reports.list_files_due() == []


def test_a_writer_that_was_overtaken_leaves_the_files_due(driver: Driver, reports: SqlBatchReports) -> None:
    """Its copies may lie over newer ones: whoever marks an older finish makes the files due again."""
    held = driver.add_held()
    driver.batches.finish_done()
    (due,) = reports.list_files_due()
    assert due.finished_at is not None
    driver.report_late(held.submissions[0].id, Rejected("1214", "no"))
    driver.clock.advance(timedelta(seconds=5))
    driver.batches.finish_done()
    (again,) = reports.list_files_due()
    assert again.finished_at is not None
    assert reports.mark_files_written(due.id, finished_at=again.finished_at)
    assert not reports.mark_files_written(due.id, finished_at=due.finished_at)
    assert [batch.id for batch in reports.list_files_due()] == [due.id]


@pytest.mark.plans
def test_reads_of_a_batch_seek_their_rows(driver: Driver, reports: SqlBatchReports) -> None:
    """Lists and pages go through keys and indexes: no sort of all batches, no walk through all jobs."""
    batch = driver.add(*(make_new_job() for _ in range(20)))
    with explained(driver.database) as plans:
        reports.list_lines(batch.id, after_line=3, limit=5)
        reports.list_best(batch.id, [batch.id], after_line=3, limit=5)
        reports.group_errors(batch.id)
        reports.count_states_of([batch.id])
    whole = "\n--\n".join(plans)
    assert "Seq Scan on jobs" not in whole, whole
    assert "SCAN jobs" not in whole, whole
    assert "SCAN batch_members" not in whole, whole

"""Cancelling, retrying and exporting what a query finds: what was shown, exactly those jobs, in groups."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator

import pytest

from orchestrator.db import history
from orchestrator.db.bulk import SqlBulkJobs
from orchestrator.domain.errors import RequestError
from orchestrator.domain.outcomes import ProviderFailed, Rejected
from orchestrator.domain.query import Filter, parse_query
from orchestrator.domain.states import State
from orchestrator.services import bulk, export
from orchestrator.services.bulk import BulkDesk, BulkDone
from orchestrator.services.export import EXPORT_COLUMNS, export_jobs
from orchestrator.wiring import kinds_by_name
from tests.db.driver import Driver
from tests.factories import make_new_job

PRICE = 200_000


@pytest.fixture
def desk(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> BulkDesk:
    """Give a desk whose groups are small."""
    monkeypatch.setattr(bulk, "GROUP", 3)
    jobs = SqlBulkJobs(driver.database)
    return BulkDesk(driver.history, jobs, driver.clock, kinds_by_name(), driver.rules)


def query(driver: Driver, text: str) -> Filter:
    return parse_query(text, now=driver.clock.now())


def add_rejected(driver: Driver, count: int) -> list[str]:
    """Add jobs that the provider refused."""
    ids = driver.add_many(count)
    for row in driver.claim(slots={"*": 1000}):
        driver.report(row, Rejected("1214", "no"))
    return ids


def exported(driver: Driver, form: str) -> Iterator[str]:
    return export_jobs(driver.history, Filter(), now=driver.clock.now(), kinds=kinds_by_name(), form=form)


def states(driver: Driver, ids: list[str]) -> set[State]:
    return {driver.state(job_id) for job_id in ids}


class TestCancel:
    """What is not paid stops, what is paid is flagged, what has ended is left alone."""

    def test_what_a_query_finds_is_stopped_in_groups(self, driver: Driver, desk: BulkDesk) -> None:
        """More jobs than a group holds; the others of the table are not touched."""
        ended = driver.add_succeeded("t2", tags={"a": "b"})
        paid = driver.add_processing("t1", tags={"a": "b"})
        queued = driver.add_many(7, tags={"a": "b"})
        (other,) = driver.add_many(1)
        seen: list[int] = []
        plan = bulk.plan_cancel(desk, query(driver, "tag:a=b"))
        assert (sorted(plan.free), plan.runs_on) == (queued, [paid.id])
        assert plan.cost.micros == PRICE * len(queued)
        assert plan.refused == {"succeeded": 1}

        def advance(done: BulkDone) -> None:
            seen.append(done.moved.total())

        done = bulk.cancel_planned(desk, plan, actor="ann", reason="spring is over", advance=advance)
        assert done.moved == {State.CANCELLED: len(queued)}
        assert done.flagged_count == 1
        assert states(driver, queued) == {State.CANCELLED}
        assert driver.get(paid.id).is_cancelling
        assert driver.state(other) is State.QUEUED
        assert driver.state(ended.id) is State.SUCCEEDED
        assert len(seen) >= 3
        event = driver.history.list_events(plan.runs_on[0])[-1]
        assert (event.actor, event.reason) == ("ann", "spring is over")

    def test_what_moved_since_the_look_is_told(self, driver: Driver, desk: BulkDesk) -> None:
        """Between the question and the answer jobs end; that stops nobody else."""
        first, second = driver.add_many(2)
        plan = bulk.plan_cancel(desk, Filter())
        for row in driver.claim(slots={"*": 1}):
            driver.report(row, Rejected("1214", "no"))
        done = bulk.cancel_planned(desk, plan, actor="ann", reason="")
        failed = first if driver.state(first) is State.FAILED else second
        assert list(done.refused) == [failed]
        assert done.moved == {State.CANCELLED: 1}


class TestRetry:
    """Nothing is paid for that was not shown; what costs nothing is not paid for."""

    def test_new_charges_are_counted_and_only_those_are_made(self, driver: Driver, desk: BulkDesk) -> None:
        """A job that fails after the look is not paid for again by it."""
        shown = add_rejected(driver, 4)
        plan = bulk.plan_retry(desk, query(driver, "status:failed"))
        assert (sorted(plan.paid), plan.free, plan.cost.micros) == (sorted(shown), [], 4 * PRICE)
        later = add_rejected(driver, 1)
        done = bulk.retry_planned(desk, plan, actor="ann", reason="again")
        assert done.moved == {State.QUEUED: 4}
        assert states(driver, shown) == {State.QUEUED}
        assert states(driver, later) == {State.FAILED}

    def test_what_can_go_on_for_nothing_is_never_paid_for(self, driver: Driver, desk: BulkDesk) -> None:
        """Its task can still be asked about; if that is over by the time of the answer, it is left alone."""
        held = driver.add_processing("t1")
        driver.finish_poll(held.id, ProviderFailed(None, "gave up"))
        plan = bulk.plan_retry(desk, query(driver, "status:failed"))
        assert (plan.free, plan.paid) == ([], [held.id])
        plan.free, plan.paid = plan.paid, []
        done = bulk.retry_planned(desk, plan, actor="ann", reason="")
        assert "new charge" in done.refused[held.id]
        assert driver.state(held.id) is State.FAILED

    def test_of_two_at_once_the_second_pays_nothing(self, driver: Driver, desk: BulkDesk) -> None:
        """Both were shown the same jobs: each is queued once."""
        (job_id,) = add_rejected(driver, 1)
        plan = bulk.plan_retry(desk, Filter())
        assert bulk.retry_planned(desk, plan, actor="ann", reason="").moved == {State.QUEUED: 1}
        assert list(bulk.retry_planned(desk, plan, actor="bob", reason="").refused) == [job_id]

    def test_held_jobs_are_left_to_review(self, driver: Driver, desk: BulkDesk) -> None:
        """A retry could pay twice: it is refused, and counted."""
        driver.add_held()
        plan = bulk.plan_retry(desk, Filter())
        assert (plan.free, plan.paid, plan.refused) == ([], [], {"needs_review": 1})

    def test_too_many_are_refused_before_anything(
        self, driver: Driver, desk: BulkDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their ids are kept in memory: there is an end to that."""
        monkeypatch.setattr(bulk, "MOST_JOBS", 3)
        driver.add_many(4)
        with pytest.raises(RequestError, match="more than 3 jobs"):
            bulk.plan_cancel(desk, Filter())


class TestExport:
    """Every job that matches, page by page, and no cell that a spreadsheet would run."""

    def test_both_forms_hold_every_job(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        """More than a page; newest first."""
        monkeypatch.setattr(history, "PAGE", 2)
        ids = driver.add_many(5)
        rows = list(csv.DictReader(io.StringIO("".join(exported(driver, "csv")))))
        lines = [json.loads(line) for line in exported(driver, "jsonl")]
        assert [row["id"] for row in rows] == [line["id"] for line in lines] == ids[::-1]
        assert tuple(rows[0]) == EXPORT_COLUMNS

    def test_nothing_is_read_ahead_of_the_reader(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        """Memory does not grow with the history: a page is read when its first line is asked for."""
        monkeypatch.setattr(history, "PAGE", 2)
        driver.add_many(9)
        reads: list[object] = []
        monkeypatch.setattr(driver.history, "_read_within", counted(driver.history._read_within, reads))
        lines = exported(driver, "jsonl")
        assert not reads
        next(lines)
        assert len(reads) == 1
        assert len([next(lines) for _ in range(3)]) == 3
        assert len(reads) == 2

    @pytest.mark.parametrize(
        "start", ["=", "+", "-", "@", "\t", "\r", "\n=", "  =", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
    )
    def test_no_formula_runs(self, driver: Driver, start: str) -> None:
        """I8: what people call jobs and ask for is text, whatever it begins with."""
        driver.add(make_new_job(custom_id=f"{start}cmd|' /C calc'!A0", input={"prompt": f"{start}HYPERLINK(1)"}))
        (row,) = csv.DictReader(io.StringIO("".join(exported(driver, "csv")), newline=""))
        assert row["custom_id"].startswith("'")
        assert row["input.prompt"].startswith("'")

    def test_a_plain_cell_is_left_as_it_is(self) -> None:
        """Only what would run is prefixed."""
        assert export.safe_cell("a red kite = good") == "a red kite = good"
        assert export.safe_cell("2026-11-01") == "2026-11-01"


def counted(read: Callable[..., object], reads: list[object]) -> Callable[..., object]:
    def work(*arguments: object) -> object:
        reads.append(arguments)
        return read(*arguments)

    return work

"""Trying again never pays for what is done, and stays within the budget of the whole family (promises 2 and 10)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from orchestrator.cli.run import _retry_failed
from orchestrator.db.batches import SqlBatches
from orchestrator.db.outbox import LINKS
from orchestrator.domain.errors import BudgetError
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import cancel_batch, plan_retry
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, Intake, check_file, take_file
from orchestrator.services.lanes.sweep import finish_batches
from orchestrator.wiring import kinds_by_name
from tests.services.bench import Bench
from tests.services.desk import VIDEO
from tests.services.test_batch_actions import REFUSED, desk_of, end_refused, retry

PRICE = 200_000


def child_of(bench: Bench, batch_id: str, *only: str) -> Batch:
    """Try a batch again, where something has to be paid for again."""
    child = retry(bench, batch_id, *only)
    assert child is not None
    return child


def test_a_time_to_begin_is_kept(bench: Bench) -> None:
    """A line that must wait until next month does so in the batch that tries it again."""
    with bench.process() as context:
        begin = (bench.clock.now() + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
        batch = bench.take({**VIDEO, "not_before": begin})
        cancel_batch(bench.app.cancels, batch, actor="a", reason="")
        retry(bench, batch, "cancelled")
        bench.submit(context)
        assert bench.posts() == 0


def test_run_retry_failed_leaves_alone_what_a_child_has_done(bench: Bench) -> None:
    """The batch's own job has failed, its line has succeeded."""
    with bench.process() as context:
        batch = end_refused(bench, context, 1)
        bench.faults()
        child = child_of(bench, batch)
        bench.submit(context)
        bench.let_due(child.id)
        bench.poll(context)
        bench.archive(context)
        assert bench.only(child.id).state is State.SUCCEEDED
        before = bench.posts()
        _retry_failed(bench.app, batch, is_sure=True)
        bench.submit(context)
        assert bench.posts() == before


def test_run_retry_failed_keeps_to_what_the_family_has_left(bench: Bench) -> None:
    """A20: a child has spent the budget; the parent's own failed line is not paid for beside it."""
    with bench.process() as context:
        batch = end_refused(bench, context, 2)
        bench.app.batches.set_budget(batch, PRICE)
        bench.advance(5)
        with pytest.raises(BudgetError, match="of the budget is left"):
            _retry_failed(bench.app, batch, is_sure=True)
        assert [job.state for job in bench.jobs(batch)] == [State.FAILED, State.FAILED]


def test_siblings_share_what_is_left(bench: Bench) -> None:
    """A20: a child's child and a second child draw on one budget."""
    with bench.process() as context:
        bench.faults({"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"})
        batch = bench.take(*[REFUSED] * 4)
        bench.submit(context)
        finish_batches(context)
        bench.app.batches.set_budget(batch, 4 * PRICE)
        bench.faults(
            {"fault": "content_policy", "phase": "submit", "model": "cogvideox-3", "times": 2}, {"fault": "fail"}
        )
        bench.advance(5)
        child = child_of(bench, batch)
        for _ in range(4):
            bench.submit(context)
            bench.let_due(child.id)
            bench.poll(context)
        bench.advance(5)
        child_of(bench, batch, "content_policy")
        assert plan_retry(desk_of(bench), batch, ["provider_failed"]).left_micros == 0
        with pytest.raises(BudgetError):
            retry(bench, child.id, "provider_failed")


def test_a_forced_intake_that_was_killed_is_gone_on_with(bench: Bench) -> None:
    """H2: twice the file was asked for, the second time with a kill in between; twice it is there."""
    path = bench.folder / "f.jsonl"
    path.write_text("".join(json.dumps({**REFUSED, "custom_id": f"c{n}"}) + "\n" for n in range(1001)))
    store = bench.app.stores.open(bench.app.settings.archive)

    class Killed(SqlBatches):
        count = 0

        def add_jobs(self, batch_id: str, jobs: list[NewJob], **more: object) -> int:  # type: ignore[override]
            if self.count == 1:
                raise KeyboardInterrupt
            self.count += 1
            return super().add_jobs(batch_id, jobs, **more)  # type: ignore[arg-type]

    def take(batches: SqlBatches, *, is_forced: bool) -> Intake:
        checked = check_file(path, kinds_by_name(), options=CheckOptions("test"))
        app = bench.app
        taker = Taker(batches, store, app.clock, app.rng, app.settings.spool_dir)
        return take_file(checked, taker, is_forced=is_forced)

    take(bench.app.batches, is_forced=False)
    bench.advance(5)
    with pytest.raises(KeyboardInterrupt):
        take(Killed(bench.app.batches._database), is_forced=True)
    bench.advance(5)
    take(bench.app.batches, is_forced=True)
    batches = bench.app.reports.list_batches(limit=10)
    assert sorted(bench.app.batches.count_states(batch.id).total for batch in batches) == [1001, 1001]


def test_whoever_hears_of_a_batch_hears_of_its_children(bench: Bench) -> None:
    """A webhook that was given with the batch is not forgotten by a retry."""
    with bench.process() as context:
        batch = end_refused(bench, context, 1)
        bench.app.batches.link_webhook(batch, "https://example.com/hook")
        bench.faults()
        bench.advance(5)
        child = child_of(bench, batch)
    query = select(LINKS.c.endpoint_id).where(LINKS.c.batch_id.in_([batch, child.id]))
    linked = bench.app.jobs._database.read(lambda connection: connection.execute(query).scalars().all())
    assert len(linked) == 2
    assert len(set(linked)) == 1


def test_whoever_hears_of_a_line_hears_of_its_retry(bench: Bench) -> None:
    """A webhook that stood on a line of the file is not forgotten either."""
    with bench.process() as context:
        bench.faults({"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"})
        batch = bench.take({**REFUSED, "webhook": "https://example.com/hook"}, REFUSED)
        bench.submit(context)
        child = child_of(bench, batch)
    again = [job.id for job in bench.jobs(child.id)]
    query = select(LINKS.c.job_id).where(LINKS.c.job_id.in_(again))
    linked = bench.app.jobs._database.read(lambda connection: connection.execute(query).scalars().all())
    assert linked == again[:1]

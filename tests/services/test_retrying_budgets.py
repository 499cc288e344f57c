"""What a batch may cost covers its retries: a child is held to what is left, or gets what it is given (A20)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.db.batches import SqlBatches
from orchestrator.domain.errors import BudgetError
from orchestrator.domain.job import Batch
from orchestrator.services.batch_actions import cancel_batch, plan_retry, retry_batch
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lifecycle import retry_job
from tests.services.bench import Bench
from tests.services.desk import VIDEO
from tests.services.test_batch_actions import desk_of, end_refused, retry, retry_until_the_kill

PRICE = 200_000


def test_a_child_is_held_to_what_is_left_and_has_no_budget_of_its_own(bench: Bench) -> None:
    """One charged, one refused without a charge: the rest is for the child; a budget of its own would be one more to
    raise.
    """
    with bench.process() as context:
        batch = bench.take(VIDEO, {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}})
        bench.faults({"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"})
        price = next(job.price for job in bench.jobs(batch) if job.model == "viduq1-text")
        assert price is not None
        bench.app.batches.set_budget(batch, price.micros + PRICE)
        bench.submit(context)
        assert plan_retry(desk_of(bench), batch, ["failed"]).left_micros == PRICE
        child = retry(bench, batch)
        assert child is not None
        assert child.max_cost_micros is None
        bench.faults()
        bench.submit(context)
        assert bench.only(child.id).submission_count == 1
        assert plan_retry(desk_of(bench), batch, ["failed"]).left_micros == 0


def test_what_the_retries_took_is_not_left_for_the_next(bench: Bench) -> None:
    """A second retry may not spend the same money; --max-cost gives other money."""
    with bench.process() as context:
        batch = end_refused(bench, context, 1)
        bench.app.batches.set_budget(batch, PRICE)
        bench.faults({"fault": "fail"})  # charged, and lost
        first = retry(bench, batch)
        assert first is not None
        bench.submit(context)
        bench.let_due(first.id)
        bench.poll(context)
        assert plan_retry(desk_of(bench), batch, ["failed"]).left_micros == 0
        with pytest.raises(BudgetError):
            retry(bench, batch)
        second = retry(bench, batch, max_cost=PRICE)
        assert second is not None
        assert (second.generation, second.max_cost_micros) == (2, PRICE)
        assert bench.app.batches.get(batch).max_cost_micros == 2 * PRICE
        bench.faults()
        bench.submit(context)
        assert bench.only(second.id).submission_count == 1  # the money that it was given is there


def test_a_batch_without_a_budget_has_children_without_one(bench: Bench) -> None:
    """Nothing is invented."""
    with bench.process() as context:
        child = retry(bench, end_refused(bench, context))
        assert child is not None
        assert child.max_cost_micros is None


def test_a_budget_given_to_a_retry_that_was_killed_holds_for_the_child_that_was_begun(bench: Bench) -> None:
    """The child has the budget of its making; another one is taken over."""
    with bench.process() as context:
        batch = end_refused(bench, context)
        with pytest.raises(KeyboardInterrupt):
            retry_until_the_kill(bench, batch)
        child = retry(bench, batch, max_cost=3 * PRICE)
        assert child is not None
        assert bench.app.batches.get(child.id).max_cost_micros == 3 * PRICE


def test_a_budget_given_twice_to_one_child_raises_its_parents_once(bench: Bench) -> None:
    """What the begun child has queued is part of the amount that was named, not beside it."""
    with bench.process() as context:
        batch = end_refused(bench, context)
        bench.app.batches.set_budget(batch, 2 * PRICE)
        with pytest.raises(KeyboardInterrupt):
            retry_until_the_kill(bench, batch)
        retry(bench, batch, max_cost=3 * PRICE)
        assert bench.app.batches.get(batch).max_cost_micros == 3 * PRICE


def test_an_amount_for_one_line_pays_for_no_other(bench: Bench) -> None:
    """Two that the budget holds back stay unfunded when the third is given money: what was agreed is what is spent."""
    with bench.process() as context:
        lines = [{"kind": "video", "body": {"model": "cogvideox-3", "prompt": f"kite {number}"}} for number in range(3)]
        batch = bench.take(*lines)
        bench.app.batches.set_budget(batch, 3 * PRICE)
        bench.faults({"fault": "fail"})
        run_rounds(bench, context, batch)
        bench.faults()
        for job in bench.jobs(batch)[:2]:
            retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="ann", reason="")
        child = retry(bench, batch, max_cost=PRICE)
        assert child is not None
        assert bench.app.batches.get(batch).max_cost_micros == 4 * PRICE
        run_rounds(bench, context, batch, child.id)
        charged = [bench.app.batches.price_unpaid(each).charged_micros for each in (batch, child.id)]
        assert sum(charged) == 4 * PRICE


def test_a_retry_that_is_killed_before_its_child_is_made_raises_nothing(bench: Bench) -> None:
    """Room without a child would be anybody's: the next retry, which names no amount, would take it."""
    with bench.process() as context:
        batch = end_refused(bench, context)
        bench.app.batches.set_budget(batch, PRICE)
        desk = replace(desk_of(bench), batches=ChildlessBatches(bench.app.batches._database))
        with pytest.raises(KeyboardInterrupt):
            retry_batch(desk, batch, ["failed"], max_cost_micros=9 * PRICE, actor="ann", reason="")
        assert bench.app.batches.get(batch).max_cost_micros == PRICE


class ChildlessBatches(SqlBatches):
    """The process dies as it makes a batch."""

    def create(self, batch: Batch) -> None:
        raise KeyboardInterrupt


def run_rounds(bench: Bench, context: LaneContext, *batches: str) -> None:
    """Submit and ask as often as the jobs of these batches could need."""
    for _ in range(5):
        bench.submit(context)
        for batch in batches:
            bench.let_due(batch)
        bench.poll(context)


def test_a_raised_budget_is_not_lowered_by_a_retry(bench: Bench) -> None:
    """What a person gave stays."""
    with bench.process() as context:
        batch = end_refused(bench, context, 1)
        bench.app.batches.set_budget(batch, 50 * PRICE)
        child = retry(bench, batch, max_cost=PRICE)
        assert child is not None
        assert bench.app.batches.get(batch).max_cost_micros == 50 * PRICE


def test_lines_of_other_batches_are_counted_and_are_not_charged_here(bench: Bench) -> None:
    """A linked line belongs to its first batch's budget; who cancels is told how many stop elsewhere too."""
    first = bench.take(VIDEO)
    (job,) = bench.jobs(first)
    assert job.price is not None
    second = bench.take(VIDEO, {**VIDEO, "custom_id": "own"})
    shared = bench.app.reports.count_shared(second)
    assert (shared.linked_count, shared.stoppable_count) == (1, 1)
    assert bench.app.reports.count_shared(first).linked_count == 0
    cost = bench.app.batches.price_unpaid(second)
    assert (cost.micros, cost.total_micros) == (2 * job.price.micros, job.price.micros)
    cancel_batch(bench.app.cancels, first, actor="ann", reason="")
    assert bench.app.reports.count_shared(second).stoppable_count == 0

"""What a batch may cost covers its retries: a child gets what is left, and says so (A20)."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import BudgetError
from orchestrator.services.batch_actions import cancel_batch, plan_retry
from tests.services.bench import Bench
from tests.services.desk import VIDEO
from tests.services.test_batch_actions import desk_of, end_refused, retry, retry_until_the_kill

PRICE = 200_000


def test_a_child_gets_what_is_left(bench: Bench) -> None:
    """One charged, one refused without a charge: the child has the rest, and is held to it."""
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
        assert child.max_cost_micros == PRICE


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

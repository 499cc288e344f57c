"""Changing a budget: it is judged over a batch and all that try it again, and reaches those above it (A20)."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import BudgetError, NotFound
from orchestrator.domain.job import Batch
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import retry_batch
from orchestrator.services.family_budgets import Given, give_budget
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lifecycle import retry_job
from tests.services.bench import Bench
from tests.services.test_batch_actions import REFUSED, desk_of, end_refused, retry
from tests.services.test_retrying_budgets import PRICE, run_rounds


def begin_retry(bench: Bench, context: LaneContext, count: int, *, max_cost: int | None = None) -> tuple[str, Batch]:
    """Try a batch of refused lines again; return it and the child."""
    batch = end_refused(bench, context, count)
    bench.faults()
    child = retry(bench, batch, max_cost=max_cost)
    assert child is not None
    return batch, child


def limit_of(bench: Bench, batch_id: str) -> int | None:
    return bench.app.batches.get(batch_id).max_cost_micros


def test_a_lower_budget_of_the_file_is_judged_with_what_its_retries_have_queued(bench: Bench) -> None:
    """Nothing of the batch itself is left to pay for; its retry would have stopped half-way."""
    with bench.process() as context:
        batch, _ = begin_retry(bench, context, 2)
        with pytest.raises(BudgetError, match=r"and its retries come to 0\.40 .* at most 0\.39 was allowed"):
            bench.take(REFUSED, REFUSED, max_cost=390_000)
        assert limit_of(bench, batch) is None
        assert bench.take(REFUSED, REFUSED, max_cost=2 * PRICE) == batch
        assert limit_of(bench, batch) == 2 * PRICE


def test_a_lower_budget_of_the_file_is_judged_with_what_its_retries_have_spent(bench: Bench) -> None:
    """What the child has paid is the family's."""
    with bench.process() as context:
        batch, child = begin_retry(bench, context, 2)
        run_rounds(bench, context, child.id)
        assert [job.submission_count for job in bench.jobs(child.id)] == [1, 1]
        with pytest.raises(BudgetError, match=r"0\.40 is charged or may be"):
            bench.take(REFUSED, REFUSED, max_cost=PRICE)
        assert limit_of(bench, batch) is None


def test_a_line_that_a_retry_has_as_a_member_counts_once(bench: Bench) -> None:
    """It is charged to the batch that made it."""
    with bench.process() as context:
        batch, child = begin_retry(bench, context, 1)
        other = bench.take(REFUSED, {**REFUSED, "custom_id": "own"})
        mine = next(job for job in bench.jobs(other) if job.custom_id == "own")
        bench.app.batches.link_existing(child.id, [(9, "own", mine.id)])
        assert give_budget(bench.app.batches, batch, PRICE) == Given(None, ())
        assert limit_of(bench, batch) == PRICE


def test_the_budget_of_a_retry_is_raised_with_those_above_it(bench: Bench) -> None:
    """A child that its own amount has stopped goes on once it is given more; its parents are raised by what they lack."""
    with bench.process() as context:
        batch = end_refused(bench, context, 1)
        bench.app.batches.set_budget(batch, PRICE)
        bench.faults({"fault": "fail"})
        child = retry(bench, batch, max_cost=PRICE)
        assert child is not None
        run_rounds(bench, context, child.id)
        lost = bench.only(child.id)
        retry_job(bench.app.jobs, lost.id, rules=bench.app.rules, may_charge=True, actor="ann", reason="")
        bench.faults()
        run_rounds(bench, context, child.id)
        assert bench.only(child.id).state is State.QUEUED
        assert give_budget(bench.app.batches, child.id, 2 * PRICE) == Given(PRICE, (batch,))
        assert (limit_of(bench, batch), limit_of(bench, child.id)) == (2 * PRICE, 2 * PRICE)
        run_rounds(bench, context, child.id)
        assert bench.only(child.id).submission_count == 2


def test_an_amount_named_twice_raises_the_budgets_above_once(bench: Bench) -> None:
    """Neither the command repeated nor a lower amount after a higher one gives anybody else more to spend."""
    with bench.process() as context:
        batch = end_refused(bench, context, 3)
        bench.app.batches.set_budget(batch, 3 * PRICE)
        bench.faults({"fault": "fail"})
        for job in bench.jobs(batch):
            retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="ann", reason="")
        run_rounds(bench, context, batch)
        bench.faults()
        for job in bench.jobs(batch)[:2]:
            retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="ann", reason="")
        child = retry(bench, batch, max_cost=PRICE)
        assert child is not None
        assert limit_of(bench, batch) == 4 * PRICE
        for amount, above in ((PRICE, 4), (3 * PRICE, 6), (3 * PRICE, 6), (2 * PRICE, 6)):
            give_budget(bench.app.batches, child.id, amount)
            assert (limit_of(bench, child.id), limit_of(bench, batch)) == (amount, above * PRICE)


def test_what_a_retry_has_spent_of_its_parents_budget_is_not_given_to_others(bench: Bench) -> None:
    """Two of the parent's own lines wait for money; the amount for the child, most of it spent already, brings none."""
    with bench.process() as context:
        batch = end_refused(bench, context, 3)
        bench.faults()
        done = retry_batch(desk_of(bench), batch, ["failed"], max_cost_micros=None, actor="ann", reason="")
        assert done.child is not None
        run_rounds(bench, context, done.child.id)
        bench.app.batches.set_budget(batch, 3 * PRICE)
        for job in bench.jobs(batch)[:2]:
            retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="ann", reason="")
        give_budget(bench.app.batches, done.child.id, 4 * PRICE)
        assert limit_of(bench, batch) == 4 * PRICE


def test_a_budget_below_what_a_retry_has_queued_is_refused(bench: Bench) -> None:
    """It would only stop it half-way; nothing is written, neither here nor above."""
    with bench.process() as context:
        batch, child = begin_retry(bench, context, 2)
        bench.app.batches.set_budget(batch, 2 * PRICE)
        with pytest.raises(BudgetError):
            give_budget(bench.app.batches, child.id, PRICE)
        assert (limit_of(bench, batch), limit_of(bench, child.id)) == (2 * PRICE, None)
        with pytest.raises(NotFound):
            give_budget(bench.app.batches, "batch_none", PRICE)
        with pytest.raises(NotFound):
            bench.app.batches.set_budget("batch_none", PRICE)

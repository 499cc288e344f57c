"""Cancelling and retrying a whole batch: what is not paid stops, what is paid goes on, nothing is paid for twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.db.batches import SqlBatches
from orchestrator.domain.errors import BudgetError, NotFound
from orchestrator.domain.job import Batch
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import RetryDesk, cancel_batch, plan_retry, retry_batch
from orchestrator.services.batch_files import iter_jobs
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.sweep import finish_batches
from tests.factories import make_batch, make_new_job
from tests.services.bench import Bench
from tests.services.desk import VIDEO

REFUSED = {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}


def desk_of(bench: Bench) -> RetryDesk:
    app = bench.app
    return RetryDesk(app.jobs, app.batches, app.reports, app.clock, app.rng, app.kinds, app.rules)


def retry(bench: Bench, batch_id: str, *only: str, max_cost: int | None = None) -> Batch | None:
    """Retry and return the child."""
    wanted = only or ("failed",)
    done = retry_batch(desk_of(bench), batch_id, wanted, max_cost_micros=max_cost, actor="ann", reason="")
    return done.child


class KilledBatches(SqlBatches):
    """The process dies just before it would say that every line is in."""

    def finish_intake(self, batch_id: str) -> None:
        raise KeyboardInterrupt


def retry_until_the_kill(bench: Bench, batch_id: str) -> None:
    desk = replace(desk_of(bench), batches=KilledBatches(bench.app.batches._database))
    retry_batch(desk, batch_id, ["failed"], max_cost_micros=None, actor="ann", reason="")


def end_refused(bench: Bench, context: LaneContext, count: int = 2) -> str:
    """Take lines in of which the provider refuses all; return their batch."""
    bench.faults({"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"})
    batch_id = bench.take(*[REFUSED] * count)
    bench.submit(context)
    finish_batches(context)
    return batch_id


def test_queued_jobs_stop_and_paid_ones_go_on(bench: Bench) -> None:
    """The paid one gets the flag and ends by itself; a second cancel finds nothing more to stop."""
    with bench.process() as context:
        paid = bench.start_processing(context)
        job = bench.only(paid)
        batch_id = bench.take(REFUSED, REFUSED)
        bench.app.batches.link_existing(batch_id, [(9, "paid", job.id)])
        done = cancel_batch(bench.app.cancels, batch_id, actor="ann", reason="wrong prompt")
        assert (done.stopped_count, done.runs_on_count) == (2, 1)
        again = cancel_batch(bench.app.cancels, batch_id, actor="ann", reason="")
        assert (again.stopped_count, again.runs_on_count) == (0, 1)
    states = [job.state for job in bench.jobs(batch_id)]
    assert states == [State.CANCELLED, State.CANCELLED, State.PROCESSING]
    assert bench.only(paid).is_cancelling
    assert bench.events(bench.only(paid)).count("cancel_requested") == 1
    assert bench.posts() == 1
    with pytest.raises(NotFound):
        cancel_batch(bench.app.cancels, "batch_none", actor="ann", reason="")


def test_many_jobs_are_cancelled_in_groups(bench: Bench) -> None:
    """More than one group, every one of them with its event."""
    batch = make_batch()
    bench.app.batches.create(batch)
    jobs = [make_new_job(line_number=n, batch_id=batch.id) for n in range(1, 1202)]
    bench.app.batches.add_jobs(batch.id, jobs, actor="local")
    assert cancel_batch(bench.app.cancels, batch.id, actor="ann", reason="").stopped_count == 1201
    assert bench.app.batches.count_states(batch.id).by_state == {"cancelled": 1201}


def test_no_line_comes_in_behind_a_cancel(bench: Bench) -> None:
    """An intake under way is told; what was in is cancelled and the batch can finish."""
    batch = make_batch()
    bench.app.batches.create(batch)
    bench.app.batches.add_jobs(batch.id, [make_new_job(line_number=1)], actor="local")
    cancel_batch(bench.app.cancels, batch.id, actor="ann", reason="")
    assert bench.app.batches.add_jobs(batch.id, [make_new_job(line_number=2)], actor="local") == 0
    bench.app.batches.link_existing(batch.id, [(3, "c", bench.jobs(batch.id)[0].id)])
    assert [member.line_number for member in bench.app.batches.list_members(batch.id)] == [1]
    bench.app.batches.finish_intake(batch.id)
    assert bench.app.batches.finish_done() == [batch.id]


def test_failed_lines_are_tried_again_in_a_child(bench: Bench) -> None:
    """New jobs with the frozen requests under their old lines; the family shows each custom_id once, the best of it."""
    with bench.process() as context:
        batch_id = end_refused(bench, context)
        assert plan_retry(desk_of(bench), batch_id, ["failed"]).cost.count == 2
        child = retry(bench, batch_id)
        assert child is not None
        assert (child.parent_id, child.line_count, child.is_intake_done) == (batch_id, 2, True)
        old, new = bench.jobs(batch_id), bench.jobs(child.id)
        assert [(j.custom_id, j.body_sha256, j.line_number) for j in new] == [
            (j.custom_id, j.body_sha256, j.line_number) for j in old
        ]
        family = [batch.id for batch in bench.app.reports.list_family(batch_id)]
        assert [j.id for j in iter_jobs(bench.app.reports, batch_id, family=family)] == [j.id for j in new]


def test_a_line_that_moves_again_is_not_paid_for_a_third_time(bench: Bench) -> None:
    """Promise 2: the same command again finds nothing left; after a second failure it makes the next generation."""
    with bench.process() as context:
        batch_id = end_refused(bench, context)
        first = retry(bench, batch_id)
        assert first is not None
        assert retry(bench, batch_id) is None
        bench.submit(context)
        second = retry(bench, batch_id)
        assert second is not None
        assert (first.generation, second.generation) == (1, 2)


def test_a_retry_that_was_killed_is_finished_by_the_next(bench: Bench) -> None:
    """The child that was begun is filled; there is never a second one."""
    with bench.process() as context:
        batch_id = end_refused(bench, context, 3)
        with pytest.raises(KeyboardInterrupt):
            retry_until_the_kill(bench, batch_id)
        (begun,) = (batch for batch in bench.app.reports.list_family(batch_id) if batch.parent_id == batch_id)
        assert not begun.is_intake_done
        child = retry(bench, batch_id)
        assert child is not None
        assert (child.id, child.is_intake_done) == (begun.id, True)
        assert len(bench.jobs(child.id)) == 3


def test_what_costs_nothing_goes_on_where_it_stands(bench: Bench) -> None:
    """A cancelled job whose outputs are archived needs no child and no money."""
    with bench.process() as context:
        batch_id = bench.start_processing(context, VIDEO)
        cancel_batch(bench.app.cancels, batch_id, actor="ann", reason="")
        bench.let_due(batch_id)
        bench.poll(context)
        bench.archive(context)
        assert bench.only(batch_id).state is State.CANCELLED
        assert retry(bench, batch_id, "cancelled") is None
    assert bench.only(batch_id).state is State.SUCCEEDED
    assert bench.posts() == 1


def test_a_budget_refuses_before_anything_is_made(bench: Bench) -> None:
    """Exit 4: no child, no job."""
    with bench.process() as context:
        batch_id = end_refused(bench, context)
        with pytest.raises(BudgetError):
            retry(bench, batch_id, max_cost=1)
    assert [batch.id for batch in bench.app.reports.list_family(batch_id)] == [batch_id]

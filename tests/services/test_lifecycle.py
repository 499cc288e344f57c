"""What people ask of a job: cancel it in each state, retry it by the way that costs least (design section 6)."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.job import Job
from orchestrator.domain.states import State
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lifecycle import cancel_job, needs_new_charge, retry_job
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO

DAY = 86_400.0


def cancel(bench: Bench, job: Job) -> bool:
    """Cancel; return whether the job moved."""
    return cancel_job(bench.app.jobs, job.id, actor="local", reason="enough").decision is not None


def retry(bench: Bench, job: Job, *, may_charge: bool = False) -> Job:
    retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=may_charge, actor="local", reason="again")
    return bench.app.history.get_job(job.id)


def finish(bench: Bench, context: LaneContext, batch: str) -> Job:
    """Poll and archive what is due."""
    bench.let_due(batch)
    bench.poll(context)
    bench.archive(context)
    return bench.only(batch)


# -- cancel ------------------------------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_for_nothing(bench: Bench) -> None:
    """Cost 0, actor and reason in the history, never submitted."""
    batch = bench.take(VIDEO)
    assert cancel(bench, bench.only(batch))
    with bench.process() as context:
        bench.advance(DAY)
        bench.submit(context)
    job = bench.only(batch)
    assert (job.state, job.cost_final_micros) == (State.CANCELLED, 0)
    event = bench.app.history.list_events(job.id)[-1]
    assert (event.type, event.actor, event.reason) == ("cancelled", "local", "enough")
    assert bench.posts() == 0


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (None, State.CANCELLED),
        ("rate_limit", State.CANCELLED),
        ("arrears", State.CANCELLED),
        ("content_policy", State.FAILED),
        ("lost_answer", State.NEEDS_REVIEW),
    ],
)
def test_a_cancel_during_the_paid_call_follows_its_answer(bench: Bench, fault: str | None, state: State) -> None:
    """Taken: runs on and ends cancelled with its outputs; refused for now: cancelled, never queued; doubt: held."""
    if fault:
        bench.faults({"fault": fault, "phase": "submit"})
    with bench.process() as context:
        batch = bench.take(VIDEO)
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        assert not cancel(bench, bench.only(batch))
        assert not cancel(bench, bench.only(batch))
        lane.apply([bench.loop.submit(lane.perform(work)).result()])
        if fault is None:
            assert bench.only(batch).state is State.PROCESSING
            finish(bench, context, batch)
        bench.advance(DAY)
        bench.submit(context)
    job = bench.only(batch)
    assert job.state is state
    assert bench.events(job).count("cancel_requested") == 1
    assert bench.posts() == 1
    if fault is None:
        assert all(output.stored for output in job.outputs)
    if fault == "lost_answer":
        assert job.is_cancelling


def test_what_has_ended_or_waits_for_a_person_is_not_cancelled(bench: Bench) -> None:
    """Conflict, naming the state; nothing changes."""
    bench.faults({"fault": "lost_answer", "phase": "submit", "times": 1})
    with bench.process() as context:
        held = bench.start_processing(context)
        with pytest.raises(Conflict, match="needs_review"):
            cancel(bench, bench.only(held))
        batch = bench.start_archiving(context, {**VIDEO, "custom_id": "second"})
        with pytest.raises(Conflict, match="archiving"):
            cancel(bench, bench.only(batch))
        bench.archive(context)
        with pytest.raises(Conflict, match="succeeded"):
            cancel(bench, bench.only(batch))
    with pytest.raises(NotFound):
        cancel_job(bench.app.jobs, "job_x", actor="local", reason="")


# -- retry -------------------------------------------------------------------------------------------------------


def test_what_is_archived_already_costs_nothing(bench: Bench) -> None:
    """First way: a cancelled job whose outputs are all there becomes succeeded."""
    with bench.process() as context:
        batch = bench.start_processing(context)
        cancel(bench, bench.only(batch))
        job = finish(bench, context, batch)
    assert job.state is State.CANCELLED
    assert not needs_new_charge(job, bench.app.rules, bench.clock.now())
    assert retry(bench, job).state is State.SUCCEEDED
    assert bench.posts() == 1


def test_a_task_that_can_still_be_asked_about_costs_nothing(bench: Bench) -> None:
    """Third way: held for want of a usable link: polled again, and this time it is there."""
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.faults({"fault": "empty_result", "phase": "poll", "times": 3})
        for _ in range(3):
            bench.let_due(batch)
            bench.poll(context)
        job = bench.only(batch)
        assert job.state is State.NEEDS_REVIEW
        again = retry(bench, job)
        assert (again.state, again.ask_count) == (State.PROCESSING, 0)
        assert finish(bench, context, batch).state is State.SUCCEEDED
    assert bench.posts() == 1


def test_only_a_failed_task_needs_a_new_charge_and_it_is_asked_for(bench: Bench) -> None:
    """Last way: the provider said FAIL: a conflict until agreed to, then a second submission of its own."""
    bench.faults({"fault": "fail", "seconds": 1, "times": 1})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        job = bench.only(batch)
        assert job.state is State.FAILED
        assert needs_new_charge(job, bench.app.rules, bench.clock.now())
        with pytest.raises(Conflict, match="new charge"):
            retry(bench, job)
        again = retry(bench, job, may_charge=True)
        assert (again.state, again.provider_task_id, again.failure_code) == (State.QUEUED, None, None)
        bench.submit(context)
        assert finish(bench, context, batch).state is State.SUCCEEDED
    assert len(bench.ledger()) == 2
    assert bench.posts() == 2


def test_a_held_job_is_never_paid_again_by_a_retry(bench: Bench) -> None:
    """Promise 2: from doubt only `resubmit` leads to a new charge; the conflict names it."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    with bench.process() as context:
        job = bench.only(bench.start_processing(context))
        with pytest.raises(Conflict) as caught:
            retry(bench, job, may_charge=True)
    assert "resubmit" in str(caught.value.hint)
    assert bench.only(str(job.batch_id)).state is State.NEEDS_REVIEW


def test_a_dead_link_of_an_immediate_kind_leaves_only_a_new_charge(bench: Bench) -> None:
    """The link is dead and there is no task to ask: retry says that it is a new charge."""
    bench.faults({"fault": "dead_link", "phase": "link"})
    with bench.process() as context:
        batch = bench.start_processing(context, IMAGE)
        bench.archive(context)
        job = bench.only(batch)
        assert (job.state, job.failure_code) == (State.FAILED, "output_expired")
        assert needs_new_charge(job, bench.app.rules, bench.clock.now())
        bench.faults()
        assert retry(bench, job, may_charge=True).state is State.QUEUED
        bench.submit(context)
        bench.archive(context)
    assert bench.only(batch).state is State.SUCCEEDED
    assert len(bench.ledger()) == 2


@pytest.mark.parametrize("state", [State.QUEUED, State.PROCESSING, State.ARCHIVING, State.SUCCEEDED])
def test_what_moves_or_is_done_is_not_retried(sqlite_bench: Bench, state: State) -> None:
    """Conflict, naming the state."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.take(VIDEO)
        for step, name in ((bench.submit, State.PROCESSING), (bench.poll, State.ARCHIVING), (bench.archive, None)):
            if bench.only(batch).state is state:
                break
            bench.let_due(batch)
            step(context)
            assert name is None or bench.only(batch).state is name
    assert bench.only(batch).state is state
    with pytest.raises(Conflict, match=str(state)):
        retry(bench, bench.only(batch), may_charge=True)


def test_a_cancel_that_crosses_a_refusal_is_not_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the flag the call is throttled: the job is queued again, and must not be paid for."""
    bench.fault(fault="rate_limit", phase="submit")
    batch = bench.take(VIDEO)
    jobs = bench.app.jobs
    with bench.process() as context:
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        result = bench.loop.submit(lane.perform(work)).result()
        flag = type(jobs).flag_cancel

        def refused_meanwhile(self: object, job_id: str, *, actor: str, reason: str) -> bool:
            lane.apply([result])
            return flag(jobs, job_id, actor=actor, reason=reason)

        monkeypatch.setattr(type(jobs), "flag_cancel", refused_meanwhile)
        assert cancel(bench, bench.only(batch))
    assert bench.only(batch).state is State.CANCELLED
    assert bench.ledger() == []

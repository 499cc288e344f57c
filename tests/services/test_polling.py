"""The poll lane by hand: a failed question never harms a job; only the provider, or proven loss, ends one (faults D)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.job import FinalAnswer
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.sweep import replay_dead_journals
from orchestrator.services.lifecycle import cancel_job
from tests.services.bench import Bench
from tests.services.desk import VIDEO, die

DAY = 86_400.0


def test_a_task_that_runs_on_leaves_no_trace_but_the_next_time(bench: Bench) -> None:
    """D1: still running writes no event row; the wait grows with the task's age; no budget ever ends it."""
    bench.faults({"fault": "slow_task", "seconds": 30 * DAY})
    with bench.process() as context:
        batch = bench.start_processing(context)
        before = bench.events(bench.only(batch))
        for days in (0.0, 1.0, 20.0):
            bench.advance(days * DAY)
            bench.let_due(batch)
            bench.poll(context)
        job = bench.only(batch)
        assert (job.state, job.poll_count, job.last_error) == (State.PROCESSING, 3, None)
        assert bench.events(job) == before
        longest = context.rules.schedule_of("video").longest
        assert job.due_at is not None
        assert longest * 0.9 <= job.due_at - bench.clock.now() <= longest * 1.1
        bench.advance(10 * DAY)
        bench.poll(context)
    assert bench.only(batch).state is State.ARCHIVING


@pytest.mark.parametrize("reason", [None, "the scene could not be rendered"])
def test_a_task_that_failed_keeps_its_reason(bench: Bench, reason: str | None) -> None:
    """D8: FAIL, bare or with a reason: failed, the charge unknown, the slot free, asked no more."""
    bench.faults({"fault": "fail", "seconds": 1, **({"reason": reason} if reason else {})})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        job = bench.only(batch)
        asks = bench.asks()
        bench.advance(DAY)
        bench.poll(context)
        assert bench.asks() == asks
    assert (job.state, job.failure_code) == (State.FAILED, "provider_failed")
    assert job.failure_message
    if reason is not None:
        assert reason in job.failure_message
    assert job.cost_final_micros is None
    assert job.submissions[0].final_answer is FinalAnswer.FAIL


def test_a_fail_inside_the_submit_answer_is_failed_with_its_charge_unknown(bench: Bench) -> None:
    """D8, design section 7: the provider's word is final at once; what it charged for that is not known."""
    bench.faults({"fault": "fail", "seconds": 0})
    with bench.process() as context:
        job = bench.only(bench.start_processing(context))
    assert (job.state, job.failure_code, job.cost_final_micros) == (State.FAILED, "provider_failed", None)
    assert bench.asks() == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "rate_limit"},
        {"fault": "overload"},
        {"fault": "arrears"},
        {"fault": "auth"},
        {"fault": "server_error"},
        {"fault": "bad_gateway"},
        {"fault": "reset"},
        {"fault": "malformed_answer", "reason": "html"},
        {"fault": "malformed_answer", "reason": "truncated"},
        {"fault": "malformed_answer", "reason": "null"},
        {"fault": "unknown_status"},
    ],
    ids=lambda rule: "-".join(str(value) for value in rule.values()),
)
def test_no_failure_of_a_question_harms_a_job(sqlite_bench: Bench, rule: dict[str, Any]) -> None:
    """D4, D5: asked again later, however often it fails; then the result is fetched as if nothing had been."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.start_processing(context)
        before = bench.events(bench.only(batch))
        bench.faults({**rule, "phase": "poll"})
        for _ in range(4):
            bench.let_due(batch)
            bench.advance(600)
            bench.poll(context)
            job = bench.only(batch)
            assert job.state is State.PROCESSING
            assert job.due_at is not None
            assert job.due_at > bench.clock.now()
        assert bench.only(batch).poll_count == 4
        assert bench.events(bench.only(batch)) == before
        bench.faults()
        bench.advance(3600)
        bench.poll(context)
    assert bench.only(batch).state is State.ARCHIVING
    assert bench.posts() == 1


def test_a_paused_model_is_asked_by_one_probe(bench: Bench) -> None:
    """G: 1302 on a poll pauses polling of the model, not submitting; when it ends one question goes first."""
    with bench.process() as real:
        one = replace(real, limits=replace(real.limits, poll_window=1))
        batch = bench.take(VIDEO, VIDEO, VIDEO)
        bench.submit(real)
        bench.faults({"fault": "rate_limit", "phase": "poll"})
        bench.let_due(batch)
        bench.poll(one)
        assert bench.asks() == 1
        bench.advance(1000)
        bench.poll(real)
        assert bench.asks() == 2
        later = bench.take({**VIDEO, "custom_id": "later"})
        bench.submit(real)
        assert bench.only(later).state is State.PROCESSING
        bench.faults()
        bench.advance(1000)
        bench.poll(real)
    assert {job.state for job in bench.jobs(batch)} == {State.ARCHIVING}


def test_success_without_a_link_is_asked_thrice_and_then_held(bench: Bench) -> None:
    """D6: three answers without anything usable: a person looks; the task is known, nothing is sent again."""
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.faults({"fault": "empty_result", "phase": "poll"})
        states = []
        for _ in range(3):
            bench.let_due(batch)
            bench.poll(context)
            states.append(bench.only(batch).state)
    assert states == [State.PROCESSING, State.PROCESSING, State.NEEDS_REVIEW]
    job = bench.only(batch)
    assert bench.events(job)[-1] == "nothing_usable"
    assert job.submissions[0].final_answer is FinalAnswer.SUCCESS


def test_an_unknown_id_is_believed_only_after_days(bench: Bench) -> None:
    """D2, D3: missing right after submission is patience; missing for three days is result_lost, with its charge."""
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.control("reset", {}, method="POST")
        bench.let_due(batch)
        bench.poll(context)
        first = bench.only(batch)
        assert (first.state, first.missing_since) == (State.PROCESSING, bench.clock.now())
        bench.advance(3 * DAY - 60)
        bench.poll(context)
        assert bench.only(batch).state is State.PROCESSING
        bench.advance(7200)
        bench.poll(context)
    job = bench.only(batch)
    assert (job.state, job.failure_code) == (State.FAILED, "result_lost")
    assert str(first.provider_task_id) in str(job.failure_message)
    assert job.price is not None
    assert job.cost_final_micros == job.price.micros
    assert job.submissions[0].final_answer is FinalAnswer.LOST


def test_an_id_that_turns_up_in_between_starts_the_days_again(sqlite_bench: Bench) -> None:
    """D2: one sign of life and the three days count from the next silence."""
    bench = sqlite_bench
    bench.faults({"fault": "slow_task", "seconds": 90 * DAY})
    with bench.process() as context:
        batch = bench.start_processing(context)
        unknown: dict[str, object] = {"fault": "duplicate_request", "phase": "poll", "code": "1214"}
        for is_known in (False, True, False):
            bench.faults(*([] if is_known else [unknown]))
            bench.advance(2 * DAY)
            bench.poll(context)
    job = bench.only(batch)
    assert job.state is State.PROCESSING
    assert job.missing_since == bench.clock.now()


def test_a_cancelled_paid_task_ends_as_cancelled_with_its_outputs(bench: Bench) -> None:
    """Design section 6: a paid task cannot be stopped: it runs on, is charged, its files are kept."""
    with bench.process() as context:
        batch = bench.start_processing(context)
        applied = cancel_job(bench.app.jobs, bench.only(batch).id, actor="local", reason="changed my mind")
        assert applied.decision is None
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.CANCELLED
    assert all(output.stored for output in job.outputs)
    assert job.price is not None
    assert job.cost_final_micros == job.price.micros
    assert bench.events(job)[-3:] == ["cancel_requested", "outputs_ready", "cancelled"]


def test_a_row_taken_over_is_dropped_by_its_old_holder(bench: Bench) -> None:
    """Guard: the slow holder's result finds another's token and changes nothing."""
    with bench.process() as old, bench.process() as new:
        batch = bench.start_processing(old)
        bench.let_due(batch)
        lane = PollLane(old)
        (work,) = lane.claim([])
        result = bench.loop.submit(lane.perform(work)).result()
        bench.advance(61)
        (mine,) = PollLane(new).claim([])
        assert lane.renew([work]) == [work]
        lane.apply([result])
        job = bench.only(batch)
        assert (job.state, job.lease_token) == (State.PROCESSING, mine.job.lease_token)


class Woken:
    """The wake-up port: keeps who was woken."""

    def __init__(self) -> None:
        self.lanes: list[LaneName] = []

    def wake(self, lane: LaneName) -> None:
        self.lanes.append(lane)


def test_only_an_answer_that_ends_something_wakes_others(bench: Bench) -> None:
    """Still running is the poll lane's own news; a final answer frees a slot and gives the archive work."""
    bench.faults({"fault": "slow_task", "seconds": 60.0})
    with bench.process() as context:
        woken = Woken()
        watched = replace(context, wakeup=woken)
        batch = bench.start_processing(watched)
        assert LaneName.POLL in woken.lanes
        woken.lanes.clear()
        bench.let_due(batch)
        bench.poll(watched)
        assert woken.lanes == []
        bench.advance(60.0)
        bench.poll(watched)
        assert set(woken.lanes) == {LaneName.ARCHIVE, LaneName.SUBMIT}


@pytest.mark.parametrize("state", [State.PROCESSING, State.ARCHIVING])
def test_a_job_that_kills_its_workers_is_handed_to_a_person(bench: Bench, state: State) -> None:
    """B9: five deaths in one step: needs_review with the reason, and no sixth worker takes it."""
    with bench.process() as context:
        batch = bench.start_processing(context) if state is State.PROCESSING else bench.start_archiving(context)
    bench.let_due(batch)
    for deaths in range(5):
        with bench.process() as doomed:
            (taken,) = bench.claim_leased(doomed, state)
            assert taken.death_count == deaths
            die(doomed)
        with bench.process() as heir:
            assert replay_dead_journals(heir).endswith("1 leases given back")
    with bench.process() as sixth:
        assert bench.claim_leased(sixth, state) == []
    job = bench.only(batch)
    assert job.state is State.NEEDS_REVIEW
    assert bench.events(job)[-1] == "poisoned"
    assert "5 workers" in str(job.last_error)

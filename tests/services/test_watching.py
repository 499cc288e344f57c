"""Watching a batch: every end told once, whatever order the rows commit in, and when waiting has become pointless."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import update

from orchestrator.cli.exits import Exit
from orchestrator.cli.running import RunEnd
from orchestrator.db.rows import JOBS
from orchestrator.domain.audit import render
from orchestrator.domain.decide.decision import Decision, failed
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import PauseScope
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State, Trigger
from orchestrator.services.explain import explain
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lifecycle import resubmit_job, write_off_job
from orchestrator.services.watch import BatchWatch
from orchestrator.wiring import make_app
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO

MINUTE = timedelta(minutes=1)


def watch_of(bench: Bench, batch: str) -> BatchWatch:
    return BatchWatch(bench.app.progress, bench.app.batches, bench.clock, batch)


def end_at(bench: Bench, job: Job, at: datetime) -> None:
    """Let a job end as if the transaction that ended it at `at` had committed only now."""

    def change(job: Job, now: datetime) -> Decision:
        return failed(job, Trigger.DEPENDENCY_FAILED, at, code="dependency_failed", message="x", cost=0)

    bench.app.jobs.transact(job.id, change, actor="test", reason="")
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(finished_at=at))


def test_each_end_is_told_once_though_rows_commit_out_of_order(bench: Bench) -> None:
    """A row that says it ended a minute ago and is seen only now is told now; none is told twice."""
    batch = bench.take(*[VIDEO] * 4)
    watch, jobs = watch_of(bench, batch), list(bench.jobs(batch))
    assert watch.look().ended == []
    now = bench.clock.now()
    end_at(bench, jobs[0], now)
    assert [job.id for job in watch.look().ended] == [jobs[0].id]
    end_at(bench, jobs[1], now - MINUTE)
    end_at(bench, jobs[2], now)
    assert {job.id for job in watch.look().ended} == {jobs[1].id, jobs[2].id}
    assert watch.look().ended == []
    assert not watch.look().is_done
    bench.advance(600)
    end_at(bench, jobs[3], bench.clock.now())
    look = watch.look()
    assert [job.id for job in look.ended] == [jobs[3].id]
    assert look.is_done
    assert look.elapsed == timedelta(seconds=600)


def test_more_ends_than_one_page_holds_are_all_told(sqlite_bench: Bench) -> None:
    """Keyset pages: many that ended at the same instant, none lost between pages and none twice."""
    bench = sqlite_bench
    batch = bench.take(*[VIDEO] * 1203)
    now = bench.clock.now()
    values = {"state": "cancelled", "finished_at": now, "due_at": None}
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(JOBS).values(values))
    watch = watch_of(bench, batch)
    told = [job.id for job in watch.look().ended]
    assert len(told) == len(set(told)) == 1203
    assert watch.look().ended == []


def pause(bench: Bench, batch: str, scope: PauseScope, until: datetime) -> None:
    """Pause the model or the account of a batch's first queued job, as a refusal does."""
    with bench.process() as context:
        one = replace(context, limits=replace(context.limits, submit_window=1))
        fault = "arrears" if scope is PauseScope.CREDENTIAL else "rate_limit"
        bench.faults({"fault": fault, "phase": "submit", "times": 1})
        rules = Rules(
            account_pause=until - bench.clock.now(),
            throttled=replace(Rules().throttled, base=until - bench.clock.now(), cap=until - bench.clock.now()),
        )
        full = Random(1)
        full.uniform = lambda a, b: b  # type: ignore[method-assign]  # the whole delay, so that its end is known
        lane = SubmitLane(replace(one, rules=rules, rng=full))
        (work,) = lane.claim([])
        lane.apply([bench.loop.submit(lane.perform(work)).result()])


def test_an_account_pause_is_pointless_at_once(bench: Bench) -> None:
    """Exit 6: every queued job waits for the account; the sentence names the code and the time."""
    batch = bench.take(VIDEO, IMAGE)
    watch = watch_of(bench, batch)
    assert watch.look().obstacle is None
    pause(bench, batch, PauseScope.CREDENTIAL, bench.clock.now() + 5 * MINUTE)
    obstacle = watch.look().obstacle
    assert obstacle is not None
    assert "the account" in obstacle
    assert "1113" in obstacle


def test_a_pause_that_has_passed_is_worth_waiting_for(bench: Bench) -> None:
    """Whoever tops the account up and runs again later is not sent away before the probe has gone."""
    batch = bench.take(VIDEO)
    pause(bench, batch, PauseScope.CREDENTIAL, bench.clock.now() + 5 * MINUTE)
    bench.advance(299)
    assert watch_of(bench, batch).look().obstacle is not None
    bench.advance(2)
    assert watch_of(bench, batch).look().obstacle is None
    with bench.process() as context:
        bench.submit(context)
    assert bench.only(batch).state is State.PROCESSING


@pytest.mark.parametrize(("minutes", "is_pointless"), [(14, False), (16, True)])
def test_a_model_pause_is_pointless_beyond_a_quarter_of_an_hour(bench: Bench, minutes: int, is_pointless: bool) -> None:
    """Exit 6 only for a pause that ends over 15 minutes ahead."""
    batch = bench.take(VIDEO)
    pause(bench, batch, PauseScope.MODEL, bench.clock.now() + minutes * MINUTE)
    obstacle = watch_of(bench, batch).look().obstacle
    assert (obstacle is not None) == is_pointless
    if obstacle is not None:
        assert "viduq1-text" in obstacle
        assert "1302" in obstacle


def set_limits(bench: Bench, **settings: object) -> None:
    changed = bench.app.settings.model_copy(update=settings)
    bench.app = make_app(changed, bench.clock, bench.app.jobs._database)


def why(bench: Bench, batch: str) -> str:
    job = bench.only(batch)
    return explain(job, now=bench.clock.now(), kinds=bench.app.kinds, hold=bench.app.progress.find_hold(job.id))


LOSE_ONE = {"fault": "lost_answer", "phase": "submit", "times": 1}


def test_a_slot_held_by_the_jobs_own_unexplained_call_is_named(bench: Bench) -> None:
    """After a resubmission with one slot: not just a free slot that it waits for, but whose, and until when."""
    set_limits(bench, limits={"viduq1-text": 1}, assumed_task_life={"video": timedelta(hours=3)})
    bench.faults(LOSE_ONE)
    with bench.process() as context:
        batch = bench.start_processing(context)
        job = bench.only(batch)
        until = job.submissions[0].intent_at + timedelta(hours=3)
        bench.advance(3600)
        resubmit_job(bench.app.jobs, job.id, rules=bench.app.rules, actor="alex", reason="")
        bench.submit(context)
        assert bench.only(batch).state is State.QUEUED
        shown = f"{until + timedelta(seconds=59):%Y-%m-%d %H:%M} UTC"
        assert (
            f"1 of 1 is held by unexplained calls that may still run at the provider: its own call 1 until {shown}"
            in why(bench, batch)
        )
        watch = watch_of(bench, batch)
        first, second = watch.look(), watch.look()
        assert [f"call 1 of {job.id} until {shown}" in stop for stop in first.stops] == [True]
        assert (list(second.stops), first.obstacle, first.is_stuck) == ([], None, False)
        assert watch_of(bench, bench.take(IMAGE)).look().stops == []
        bench.advance((until - bench.clock.now()).total_seconds() + 1)
        bench.submit(context)
        assert bench.only(batch).state is State.PROCESSING
    assert "slot" not in why(bench, batch)


def test_slots_of_a_limit_that_an_operator_set_are_named(bench: Bench) -> None:
    """The claim goes by the operator's limit, and so does what is said of it; the settings would allow more."""
    set_limits(bench, limits={"*": 50}, assumed_task_life={"video": timedelta(hours=3)})
    bench.faults(LOSE_ONE)
    with bench.process() as context:
        lost = bench.only(bench.start_processing(context))
        bench.app.models.set_limit("default", lost.model, 1)
        batch = bench.take({**VIDEO, "custom_id": "next"})
        bench.submit(context)
        assert f"1 of 1 is held by unexplained calls that may still run at the provider: call 1 of {lost.id}" in why(
            bench, batch
        )


def test_slots_of_a_run_with_a_cap_over_all_models_are_named(bench: Bench) -> None:
    """`--concurrency 1`: a call of another model that nobody can explain holds the only one; a run says so, and of whom."""
    set_limits(bench, limits={"*": 50}, assumed_task_life={"video": timedelta(hours=3)})
    bench.faults(LOSE_ONE)
    with bench.process() as context:
        lost = bench.only(bench.start_processing(context))
    batch = bench.take(IMAGE)
    capped = replace(watch_of(bench, batch), total_slots=1).look()
    (stop,) = capped.stops
    assert stop.startswith("it waits for a place under --concurrency 1; 1 of 1 is held by unexplained calls")
    assert f"call 1 of {lost.id} until " in stop
    assert replace(watch_of(bench, batch), total_slots=2).look().stops == []
    assert watch_of(bench, batch).look().stops == []


def test_too_many_unknowns_are_the_reason_and_have_an_end(bench: Bench) -> None:
    """By why, by the watch and by the doctor: when the count falls below the limit, and not a moment sooner."""
    set_limits(bench, limits={"*": 50}, max_unknown_per_hour=3)
    ends = []
    with bench.process() as context:
        for n in range(3):
            bench.faults(LOSE_ONE)
            lost = bench.start_processing(context, {**VIDEO, "custom_id": f"lost-{n}"})
            if n == 2:
                write_off_job(bench.app.jobs, bench.only(lost).id, actor="alex", reason="")  # lowers no count
            ends.append(bench.clock.now() + timedelta(hours=1))
            bench.advance(600)
    set_limits(bench, max_unknown_per_hour=2)
    batch = bench.take(IMAGE)
    with bench.process() as context:
        bench.submit(context)
        until = ends[1]  # one of three is left then
        shown = f"{until + timedelta(seconds=59):%Y-%m-%d %H:%M} UTC"
        assert "3 paid calls ended unknown within an hour" in why(bench, batch)
        assert f"submissions go on at {shown}" in why(bench, batch)
        (stop,) = watch_of(bench, batch).look().stops
        assert shown in stop
        (finding,) = [
            v for v in bench.app.audit.find_violations(max_unknown_per_hour=2) if v.code == "too_many_unknowns"
        ]
        assert abs(finding.facts["until"] - until) < timedelta(seconds=5)  # type: ignore[operator]
        assert "do not lower the count" in render(finding).mend
        assert f"{finding.facts['until']:%Y-%m-%d %H:%M:%S} UTC" in render(finding).words
        bench.advance((finding.facts["until"] - bench.clock.now()).total_seconds() - 1)  # type: ignore[operator]
        bench.submit(context)
        assert bench.only(batch).state is State.QUEUED
        bench.advance(1)
        bench.submit(context)
        assert bench.only(batch).state is not State.QUEUED


def test_a_budget_that_holds_every_job_left_is_pointless(bench: Bench) -> None:
    """A20, exit 4: nothing in flight gives money back; the sentence, the lists and `jobs why` name the budget."""
    batch = bench.take(VIDEO, VIDEO, VIDEO)
    price = bench.jobs(batch)[0].price
    assert price is not None
    bench.app.batches.set_budget(batch, 2 * price.micros)
    watch = watch_of(bench, batch)
    with bench.process() as context:
        bench.submit(context)
        assert sum(job.state is State.PROCESSING for job in bench.jobs(batch)) == 2
        assert watch.look().obstacle is None
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
        look = watch.look()
        assert (look.obstacle_code, look.counts.by_state[State.QUEUED]) == ("budget", 1)
        assert "paused: budget" in str(look.obstacle)
        assert RunEnd(look, (), None).exit_code is Exit.BUDGET
        (left,) = [job for job in bench.jobs(batch) if job.state is State.QUEUED]
        hold = bench.app.progress.find_hold(left.id)
        assert "paused: budget" in explain(left, now=bench.clock.now(), hold=hold)
        bench.app.batches.set_budget(batch, 3 * price.micros)
        assert watch.look().obstacle is None
        bench.submit(context)
    assert len(bench.ledger()) == 3


def test_an_account_pause_is_told_before_a_budget(bench: Bench) -> None:
    """Precedence of exit codes: 6 before 4."""
    batch = bench.take(VIDEO, IMAGE)
    pause(bench, batch, PauseScope.CREDENTIAL, bench.clock.now() + 5 * MINUTE)
    bench.app.batches.set_budget(batch, 0)
    assert watch_of(bench, batch).look().obstacle_code == "1113"


def test_one_job_that_can_move_is_reason_to_stay(bench: Bench) -> None:
    """Another model that is not paused, or a call under way: the run goes on."""
    batch = bench.take(VIDEO, IMAGE)
    pause(bench, batch, PauseScope.MODEL, bench.clock.now() + 60 * MINUTE)
    watch = watch_of(bench, batch)
    assert watch.look().obstacle is None
    with bench.process() as context:
        (work,) = SubmitLane(context).claim([])
        assert work.claimed.job.last_error is None
        assert watch.look().obstacle is None


def test_a_store_that_refuses_is_given_ten_minutes(bench: Bench, tmp_path: Path) -> None:
    """Exit 6 after ten minutes without one write, by the clock; one write in between starts them again."""
    with bench.process() as context:
        batch = bench.start_archiving(context)
        watch = watch_of(bench, batch)
        if bench.archived_file("").exists():
            bench.archived_file("").rename(tmp_path / "away")
        bench.archived_file("").write_bytes(b"a file where the archive should be")
        bench.archive(context)
        job = bench.only(batch)
        assert str(job.last_error).startswith("store_")
        assert watch.look().obstacle is None
        bench.clock.advance(9 * MINUTE)
        assert watch.look().obstacle is None
        bench.clock.advance(2 * MINUTE)
        assert "refused every write for 10 minutes" in str(watch.look().obstacle)
        bench.archived_file("").unlink()
        bench.let_due(batch)
        bench.archive(context)
    assert bench.only(batch).state is State.SUCCEEDED
    assert watch.look().obstacle is None


class RefusingStore:
    """The real reads of a batch, with the archive's errors as a test wants them."""

    def __init__(self, bench: Bench) -> None:
        self._real = bench.app.progress
        self.errors: list[str | None] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        return getattr(self._real, name)

    def list_archive_errors(self, batch_id: str) -> list[str | None]:
        return self.errors


def test_one_write_that_the_store_took_starts_the_ten_minutes_again(sqlite_bench: Bench) -> None:
    """Refused, taken, refused: only a stretch without any write counts; other errors are not the store's."""
    bench = sqlite_bench
    with bench.process() as context:
        batch = bench.start_archiving(context)
    progress: Any = RefusingStore(bench)
    watch = BatchWatch(progress, bench.app.batches, bench.clock, batch)
    for errors in (["store_full: x"], ["store_full: x", None], ["store_full: x"], ["fetch: x", "store_full: x"]):
        progress.errors = errors
        assert watch.look().obstacle is None
        bench.clock.advance(9 * MINUTE)
        assert watch.look().obstacle is None
    progress.errors = ["store_full: x"]
    assert watch.look().obstacle is None
    bench.clock.advance(10 * MINUTE)
    assert "store_full" in str(watch.look().obstacle)


def test_the_sums_say_what_is_known_and_what_is_not(bench: Bench) -> None:
    """Money spent in micro-units; a charge nobody can know is counted, never guessed."""
    bench.faults({"fault": "lost_answer", "phase": "submit", "times": 1})
    with bench.process() as context:
        batch = bench.take(VIDEO, VIDEO, VIDEO)
        bench.submit(replace(context, limits=replace(context.limits, submit_window=1)))
    (spending,) = watch_of(bench, batch).look().spending
    price = bench.jobs(batch)[0].price
    assert price is not None
    assert (spending.currency, spending.unknown_count) == ("USD", 1)
    assert spending.spent_micros == 2 * price.micros
    held = bench.app.progress.list_held(batch)
    assert [job.state for job in held] == [State.NEEDS_REVIEW]

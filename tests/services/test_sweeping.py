"""The sweep lane by hand: what nobody else would notice (design section 5, the fifth lane)."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from orchestrator.db.sweeps import SWEEPS
from orchestrator.domain.errors import Transient
from orchestrator.domain.states import State
from orchestrator.services.lanes import sweep as sweep_module
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import (
    abort_orphans,
    finish_batches,
    replay_dead_journals,
    settle_lapsed,
    settle_own_unfinished,
    sweep_spool,
)
from tests.services.bench import Bench, with_provider
from tests.services.desk import VIDEO, die

HOST = socket.gethostname()


def rows_of(bench: Bench) -> dict[str, str | None]:
    """Return what the sweeps' rows say of their last run."""
    query = select(SWEEPS.c.name, SWEEPS.c.result)
    with bench.app.jobs._database.begin_write() as connection:
        return {str(name): result for name, result in connection.execute(query)}


def test_every_task_runs_and_says_what_it_did(bench: Bench) -> None:
    """One row per maintenance task, with its result; none runs again before it is due."""
    with bench.process() as context:
        bench.sweep(context)
        assert set(rows_of(bench)) == {
            "at_risk",
            "retention",
            "batch_files",
            "dependencies",
            f"journals:{HOST}",
            "lapsed_submissions",
            "finished_batches",
            f"spool:{HOST}",
            "orphan_uploads",
        }
        batch = bench.take(VIDEO)
        bench.submit(context)
        bench.advance(3)
        bench.sweep(context)
        assert rows_of(bench)["lapsed_submissions"] == "0 lapsed submissions"
    assert bench.app.batches.get(batch).finished_at is None


def test_a_bug_in_one_task_spares_the_others(
    sqlite_bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 9: the process that polls and archives goes on; the bug is told with its traceback."""

    def break_down(_: LaneContext) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sweep_module, "settle_lapsed", break_down)
    with sqlite_bench.process() as context:
        sqlite_bench.sweep(context)
    results = rows_of(sqlite_bench)
    assert results["lapsed_submissions"] == "crashed: RuntimeError"
    assert results["finished_batches"] == "0 batches finished"
    assert any(record.message == "sweep_crashed" and record.exc_info for record in caplog.records)


def test_a_task_that_fails_spares_the_others(sqlite_bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 9: the archive is away: told in the row and the log; batches are finished all the same."""

    class AwayStores:
        def open(self, url: str) -> object:
            raise Transient("store_unavailable", "connection refused")

    bench = sqlite_bench
    with bench.process() as real:
        context = replace(real, stores=AwayStores())  # type: ignore[arg-type]  # open is all that is asked
        bench.sweep(context)
    rows = rows_of(bench)
    assert str(rows["orphan_uploads"]).startswith("failed: store_unavailable")
    assert rows["finished_batches"] == "0 batches finished"
    assert "sweep_failed" in [record.message for record in caplog.records]


def test_a_lapsed_submission_is_held_and_only_once_it_has_lapsed(bench: Bench) -> None:
    """A2, A3: a worker of another host that says nothing: held at the lease's end, not before; nothing is sent."""
    with bench.process() as silent, bench.process() as sweeper:
        batch = bench.take(VIDEO)
        (work,) = SubmitLane(silent).claim([])
        bench.clock.advance(work.lease - timedelta(seconds=1))
        assert settle_lapsed(sweeper) == "0 lapsed submissions"
        assert bench.only(batch).state is State.SUBMITTING
        bench.clock.advance(timedelta(seconds=2))
        assert SubmitLane(sweeper).claim([]) == []
        assert settle_lapsed(sweeper) == "1 lapsed submissions"
        assert settle_lapsed(sweeper) == "0 lapsed submissions"
        job = bench.only(batch)
        assert (job.state, job.submissions[0].provider_code) == (State.NEEDS_REVIEW, "lease_lapsed")
        assert bench.posts() == 0


def test_a_lapse_and_an_answer_at_the_same_moment_end_in_the_answer(bench: Bench) -> None:
    """The sweep read the row before the answer was committed: its word comes too late and changes nothing."""
    with bench.process() as context:
        batch = bench.take(VIDEO)
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        result = bench.loop.submit(lane.perform(work)).result()
        bench.clock.advance(timedelta(minutes=10))
        find = context.jobs.find_lapsed_submissions

        class Racing:
            def __getattr__(self, name: str) -> object:
                return getattr(context.jobs, name)

            def find_lapsed_submissions(self, *, limit: int) -> object:
                found = find(limit=limit)
                lane.apply([result])
                return found

        settle_lapsed(replace(context, jobs=Racing()))  # type: ignore[arg-type]  # the real one but for one method
        job = bench.only(batch)
        assert job.state is State.PROCESSING
        assert bench.events(job)[-1] == "submitted"


def test_a_dead_process_is_taken_over_by_the_sweep_too(bench: Bench) -> None:
    """Decision 0002: not only by a runner that starts: within a period of the sweep."""
    with bench.process() as living:
        bench.sweep(living)
        with bench.process() as dead:
            batch = bench.take(VIDEO)
            SubmitLane(dead).claim([])
            die(dead)
        bench.sweep(living)
        assert bench.only(batch).state is State.SUBMITTING
        bench.advance(31)
        bench.sweep(living)
    assert bench.only(batch).state is State.NEEDS_REVIEW


def test_a_process_of_another_name_keeps_its_calls(bench: Bench) -> None:
    """Taking over ends exactly the dead one's submissions."""
    with bench.process() as dead, bench.process() as living:
        first = bench.take(VIDEO)
        SubmitLane(dead).claim([])
        second = bench.take({**VIDEO, "custom_id": "second"})
        SubmitLane(living).claim([])
        die(dead)
        with bench.process() as heir:
            replay_dead_journals(heir)
        assert bench.only(first).state is State.NEEDS_REVIEW
        assert bench.only(second).state is State.SUBMITTING


def test_an_abort_says_what_it_left(bench: Bench) -> None:
    """Second Ctrl-C: what this process was sending is held with the reason, not sent again."""
    with bench.process() as context:
        batch = bench.take(VIDEO)
        SubmitLane(context).claim([])
        assert settle_own_unfinished(context) == 1
        assert settle_own_unfinished(context) == 0
        bench.advance(3600)
        bench.submit(context)
    job = bench.only(batch)
    assert (job.state, job.submissions[0].provider_code) == (State.NEEDS_REVIEW, "aborted")
    assert bench.posts() == 0


def test_a_batch_is_finished_once_nothing_of_it_moves(bench: Bench) -> None:
    """Held jobs do not keep it open; late truth opens it again and its next finish is announced anew."""
    with bench.process() as context:
        batch = bench.take(VIDEO)
        assert finish_batches(context) == "0 batches finished"
        (work,) = SubmitLane(context).claim([])
        settle_own_unfinished(context)
        assert finish_batches(context) == "1 batches finished"
        assert finish_batches(context) == "0 batches finished"
        assert bench.app.batches.get(batch).finished_at is not None
        lane = SubmitLane(context)
        lane.apply([bench.loop.submit(lane.perform(work)).result()])
        assert bench.only(batch).state is State.PROCESSING
        assert bench.app.batches.get(batch).finished_at is None
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
        assert finish_batches(context) == "1 batches finished"


def age(context: LaneContext, name: str, hours: float) -> None:
    path = context.spool / name
    path.write_bytes(b"x")
    then = (context.clock.now() - timedelta(hours=hours)).timestamp()
    os.utime(path, (then, then))


def test_the_spool_loses_what_was_left_behind_and_nothing_else(sqlite_bench: Bench) -> None:
    """Fetches that died half-way do not fill the disk; those under way are left alone."""
    bench = sqlite_bench
    with bench.process() as context:
        age(context, "old.part", 7)
        age(context, "young.part", 5)
        assert sweep_spool(context) == "1 spool files removed"
        assert [path.name for path in context.spool.iterdir()] == ["young.part"]
        (context.spool / "young.part").unlink()
        context.spool.rmdir()
        assert sweep_spool(context) == "no spool"


def test_uploads_that_died_half_way_are_aborted(sqlite_bench: Bench) -> None:
    """E14: what an upload left behind goes after a day; one under way stays."""
    bench = sqlite_bench
    with bench.process() as context:
        uploads = bench.archived_file(".uploads")
        uploads.mkdir(parents=True)
        for name, hours in (("old.part", 25), ("young.part", 23)):
            path = uploads / name
            path.write_bytes(b"x")
            then = (bench.clock.now() - timedelta(hours=hours)).timestamp()
            os.utime(path, (then, then))
        assert abort_orphans(context) == "1 orphan uploads aborted"
        assert [path.name for path in uploads.iterdir()] == ["young.part"]


def test_too_many_unknowns_stop_submitting_and_an_hour_later_it_goes_on(bench: Bench) -> None:
    """Design section 7: doubt that piles up stops the spending before it stops anything else."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    with bench.process() as real:
        context = replace(real, limits=replace(real.limits, submit_window=1, max_unknown_per_hour=2, slots={"*": 9}))
        batch = bench.take(*[VIDEO] * 4)
        bench.submit(context)
        assert bench.posts() == 2
        bench.faults()
        bench.advance(3700)
        bench.submit(with_provider(context))
    assert [job.state for job in bench.jobs(batch)].count(State.PROCESSING) == 2


def test_links_that_die_are_told_of(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 7: with the archive away, half of a link's life is told once, in the history, the log and the words."""
    with bench.process() as context:
        batch = bench.start_archiving(context)
        job = bench.only(batch)
        dies = min(output.source_expires_at for output in job.outputs if output.source_expires_at)
        bench.advance((dies - bench.clock.now()).total_seconds() / 2 + 1)
        bench.sweep(context)
        bench.advance(60)
        bench.sweep(context)
    assert bench.events(job).count("output_at_risk") == 1
    assert [record.message for record in caplog.records].count("output_at_risk") == 1
    assert rows_of(bench)["at_risk"] == "0 jobs at risk"

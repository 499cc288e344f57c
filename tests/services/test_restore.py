"""Decision 0008: what was paid since the backup is found where it left a trace, and said where it cannot be matched."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, update

from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.job import RESTORED_QUEUED
from orchestrator.domain.ports.restores import Restores
from orchestrator.domain.states import State
from orchestrator.services.archive.manifest import manifest_key
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import replay_dead_journals
from orchestrator.services.restore import compare, sum_prices
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO, die


def forget(bench: Bench, job_id: str) -> None:
    """Put a job back to where a backup of before its submission has it."""
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(delete(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job_id))
        back = update(JOBS).where(JOBS.c.id == job_id)
        connection.execute(
            back.values(
                state=State.QUEUED,
                provider_task_id=None,
                lease_token=None,
                submission_count=0,
                due_at=bench.clock.now(),
            )
        )


def hold(bench: Bench) -> None:
    bench.app.restores.hold(actor="alex", reason="")


def ids(jobs: Sequence[object]) -> list[str]:
    return [str(getattr(job, "id", job)) for job in jobs]


def test_the_restores_port_is_what_the_app_has(bench: Bench) -> None:
    """The type checker holds the adapter to the port."""
    restores: Restores = bench.app.restores
    assert restores.count_holdable() == {}


def test_an_answer_of_a_known_submission_is_linked(bench: Bench) -> None:
    """The backup has the submission in flight, the journal has its answer: the job goes on, nothing is paid again."""
    batch = bench.take(VIDEO)
    with bench.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        bench.loop.submit(lane.perform(work)).result()
        die(dead)
    hold(bench)
    with bench.process() as context:
        found = compare(context, bench.app.restores)
    assert found.replayed.startswith("1 answers linked")
    assert found.unmatched == ()
    assert bench.only(batch).state is State.PROCESSING
    assert bench.posts() == 1


def test_an_answer_without_its_submission_keeps_its_kind_back(bench: Bench) -> None:
    """The backup is older than the submission: nobody can say whose the task is, so no video is released."""
    batch = bench.take(VIDEO)
    with bench.process() as dead:
        bench.submit(dead)
        die(dead)
    (task,) = bench.ledger()
    forget(bench, bench.only(batch).id)
    other = bench.take(IMAGE)
    hold(bench)
    with bench.process() as context:
        found = compare(context, bench.app.restores)
        again = compare(context, bench.app.restores)
    assert [answer.task_id for answer in found.unmatched] == [task["id"]]
    assert again.unmatched == found.unmatched  # the journal stays until somebody has taken care of it
    assert found.doubtful_ids == (bench.only(batch).id,)
    assert ids(found.releasable) == [bench.only(other).id]


def test_a_sweep_lives_on_with_a_journal_that_matches_nothing(bench: Bench) -> None:
    """One foreign record must not stop the sweeps, nor be thrown away."""
    batch = bench.take(VIDEO)
    with bench.process() as dead:
        bench.submit(dead)
        die(dead)
    forget(bench, bench.only(batch).id)
    with bench.process() as heir:
        assert replay_dead_journals(heir).startswith("0 answers linked")
        assert [journal.process for journal in heir.journal.dead()] == [dead.journal.process]


def test_a_refusal_without_its_submission_is_nothing_to_keep(bench: Bench) -> None:
    """It cost nothing: the journal goes."""
    bench.faults({"fault": "rate_limit", "phase": "submit"})
    batch = bench.take(VIDEO)
    with bench.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        bench.loop.submit(lane.perform(work)).result()
        die(dead)
    forget(bench, bench.only(batch).id)
    with bench.process() as heir:
        replay_dead_journals(heir)
        assert heir.journal.dead() == []


def test_what_the_archive_has_is_not_released(bench: Bench) -> None:
    """It was paid and finished after the backup."""
    batch, other = bench.take(VIDEO), bench.take(IMAGE)
    done = bench.only(batch)
    store = bench.app.stores.open(bench.app.settings.archive)
    store.put_bytes(manifest_key(done), b"{}", content_type="application/json")
    hold(bench)
    with bench.process() as context:
        found = compare(context, bench.app.restores)
    assert found.archived_ids == (done.id,)
    assert ids(found.releasable) == [bench.only(other).id]
    assert bench.only(batch).provider_code == RESTORED_QUEUED


def test_jobs_that_only_the_archive_knows_are_named(bench: Bench) -> None:
    """They were accepted after the backup; running their file again would pay again."""
    backup_at = bench.clock.now()
    bench.advance(3 * 86_400)
    store = bench.app.stores.open(bench.app.settings.archive)
    store.put_bytes(f"{bench.clock.now():%Y/%m/%d}/job_lost/manifest.json", b"{}", content_type="application/json")
    with bench.process() as context:
        assert compare(context, bench.app.restores, backup_at=backup_at).unknown_job_ids == ("job_lost",)
        assert compare(context, bench.app.restores).unknown_job_ids == ()


def test_prices_are_added_up_by_currency(bench: Bench) -> None:
    """What a release may cost again is said before it is asked for."""
    batch = bench.take(VIDEO, IMAGE)
    jobs = bench.jobs(batch)
    sums, unpriced = sum_prices(jobs)
    assert sum(sums.values()) == sum(job.price.micros for job in jobs if job.price)
    assert unpriced == sum(job.price is None for job in jobs)

"""A picture and the video that starts from it, lane by lane: what is sent, what is not, and what people are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from orchestrator.db.rows import JOBS
from orchestrator.domain.errors import Permanent
from orchestrator.domain.job import Job
from orchestrator.domain.states import State
from orchestrator.services.explain import explain
from orchestrator.services.lanes import submit
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.references import Resolved
from orchestrator.services.watch import BatchWatch
from tests.services.bench import Bench
from tests.services.desk import IMAGE

PICTURE = {**IMAGE, "custom_id": "picture"}
FILM = {
    "custom_id": "film",
    "kind": "video",
    "body": {"model": "cogvideox-3", "prompt": "a kite", "image_url": "{{picture.outputs[0].url}}"},
}


def jobs_of(bench: Bench, batch: str) -> tuple[Job, Job]:
    """Return the picture and the film as they stand."""
    by_name = {job.custom_id: bench.app.history.get_job(job.id) for job in bench.jobs(batch)}
    return by_name["picture"], by_name["film"]


def draw(bench: Bench, context: LaneContext) -> str:
    """Take the two in, and draw and archive the picture; return the batch."""
    batch = bench.take(FILM, PICTURE)
    bench.submit(context)
    bench.archive(context)
    return batch


def test_the_film_starts_from_the_picture(bench: Bench) -> None:
    """It is sent once the picture is archived, with the picture's bytes; the history names their SHA-256."""
    with bench.process() as context:
        batch = bench.take(FILM, PICTURE)
        bench.submit(context)
        assert bench.posts() == 1
        bench.archive(context)
        bench.submit(context)
        picture, film = jobs_of(bench, batch)
        assert (picture.state, film.state) == (State.SUCCEEDED, State.PROCESSING)
        (event,) = [event for event in bench.app.history.list_events(film.id) if event.type == "submitted"]
        stored = picture.outputs[0].stored
        assert stored is not None
        used = {"output_id": picture.outputs[0].id, "by": "base64", "sha256": stored.sha256}
        assert event.data["references"] == {"image_url": used}
        assert film.body["image_url"] == "{{picture.outputs[0].url}}"
    assert bench.posts() == 2


def test_a_picture_that_is_gone_from_the_archive_costs_nothing(bench: Bench) -> None:
    """The film fails before anything is sent."""
    with bench.process() as context:
        batch = draw(bench, context)
        stored = jobs_of(bench, batch)[0].outputs[0].stored
        assert stored is not None
        bench.archived_file(stored.key).unlink()
        bench.submit(context)
    film = jobs_of(bench, batch)[1]
    assert (film.state, film.failure_code, film.cost_final_micros) == (State.FAILED, "input_missing", 0)
    assert bench.posts() == 1


def test_a_picture_that_was_changed_in_the_archive_costs_nothing(bench: Bench) -> None:
    """What is not the file that was made is not sent."""
    with bench.process() as context:
        batch = draw(bench, context)
        stored = jobs_of(bench, batch)[0].outputs[0].stored
        assert stored is not None
        bench.archived_file(stored.key).write_bytes(b"another")
        bench.submit(context)
    assert jobs_of(bench, batch)[1].failure_code == "input_changed"
    assert bench.posts() == 1


def test_a_refused_picture_ends_the_film_unpaid(bench: Bench) -> None:
    """One charge attempt, of the picture; the film never reaches the provider."""
    bench.faults({"fault": "content_policy", "phase": "submit"})
    with bench.process() as context:
        batch = draw(bench, context)
        bench.advance(600)
        bench.submit(context)
    assert jobs_of(bench, batch)[1].failure_code == "dependency_failed"
    assert bench.posts() == 1


def test_people_are_told_what_a_job_waits_for(bench: Bench) -> None:
    """`jobs why` names the other job and how it stands; without names it says how many."""
    batch = bench.take(FILM, PICTURE)
    film = jobs_of(bench, batch)[1]
    assert "it waits for picture (queued)" in explain(film, now=bench.clock.now())
    (listed,) = [job for job in bench.jobs(batch) if job.custom_id == "film"]
    assert "it waits for 1 other job to succeed" in explain(listed, now=bench.clock.now())


def test_a_run_does_not_wait_for_what_a_person_must_settle(bench: Bench) -> None:
    """A film behind a held picture moves no more by itself; while the picture moves, or may, it is waited for."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    batch = bench.take(FILM, PICTURE)
    watch = BatchWatch(bench.app.progress, bench.app.batches, bench.clock, batch)
    assert not watch.look().is_stuck
    with bench.process() as context:
        bench.submit(context)
    picture, film = jobs_of(bench, batch)
    assert (picture.state, film.state) == (State.NEEDS_REVIEW, State.QUEUED)
    look = watch.look()
    assert (look.is_stuck, look.is_done, look.obstacle) == (True, False, None)
    assert "a person settles what needs review" in explain(film, now=bench.clock.now())


def test_the_sweep_looks_for_jobs_that_wait_for_nothing(bench: Bench) -> None:
    """Should a wake-up ever be lost, the film goes on within a period of the sweep."""
    with bench.process() as context:
        batch = draw(bench, context)
        film = jobs_of(bench, batch)[1]
        with bench.app.jobs._database.begin_write() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == film.id).values(waiting_on_count=1, due_at=None))
        bench.advance(timedelta(minutes=1).total_seconds())
        bench.sweep(context)
        bench.submit(context)
    assert jobs_of(bench, batch)[1].state is State.PROCESSING


def test_a_store_in_trouble_says_nothing_against_the_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired key of the bucket must not fail every film: it waits, unpaid, until the picture can be handed in."""

    def denied(*_: object) -> Resolved:
        raise Permanent("store_credentials", "the bucket's key has expired")

    with bench.process() as context:
        batch = draw(bench, context)
        charged = len(bench.ledger())
        monkeypatch.setattr(submit, "resolve", denied)
        bench.let_due(batch)
        bench.submit(context)
        _, film = jobs_of(bench, batch)
    assert (film.state, film.failure_code) == (State.QUEUED, None)
    assert "expired" in str(film.last_error)
    assert len(bench.ledger()) == charged

"""A batch tried again whose lines use what others make: nothing that was paid for is paid for again, nothing waits for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.domain.job import Job
from orchestrator.domain.states import State
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.sweep import finish_batches
from tests.services.bench import Bench
from tests.services.desk import IMAGE
from tests.services.test_batch_actions import retry, retry_until_the_kill

PICTURE = {**IMAGE, "custom_id": "picture"}
FILM = {
    "custom_id": "film",
    "kind": "video",
    "body": {"model": "cogvideox-3", "prompt": "a kite", "image_url": "{{picture.outputs[0].url}}"},
}
LATER = {"custom_id": "later", "kind": "video", "body": {"model": "viduq1-text", "prompt": "b"}, "depends_on": "film"}
PICTURES, FILMS = "cogview-4-250304", "cogvideox-3"


def refuse(bench: Bench, model: str) -> None:
    bench.faults({"fault": "content_policy", "phase": "submit", "model": model})


def work(bench: Bench, context: LaneContext, batch_id: str) -> dict[str, Job]:
    """Run the lanes until nothing of the batch moves any more; return its jobs by name."""
    for _ in range(8):
        bench.submit(context)
        bench.poll(context)
        bench.archive(context)
        bench.let_due(batch_id)
    finish_batches(context)
    return by_name(bench, batch_id)


def by_name(bench: Bench, batch_id: str) -> dict[str, Job]:
    return {job.custom_id or "": job for job in bench.jobs(batch_id)}


def charges(bench: Bench) -> list[str]:
    """Return the models that the provider charged for, in order."""
    return [row["model"] for row in bench.ledger() if row["charged"]]


def states(jobs: dict[str, Job], *names: str) -> Sequence[State]:
    return [jobs[name].state for name in names]


def test_a_film_is_made_again_from_the_picture_that_is_there(bench: Bench) -> None:
    """The picture is a member of the child as it stands, and is not paid for again; what waits for the film waits for
    the new one.
    """
    refuse(bench, FILMS)
    with bench.process() as context:
        batch = bench.take(LATER, FILM, PICTURE)
        first = work(bench, context, batch)
        assert states(first, "picture", "film", "later") == [State.SUCCEEDED, State.FAILED, State.FAILED]
        assert charges(bench) == [PICTURES]
        bench.faults()
        child = retry(bench, batch)
        assert child is not None
        again = work(bench, context, child.id)
        assert again["picture"].id == first["picture"].id
        assert {job.state for job in again.values()} == {State.SUCCEEDED}
        assert charges(bench) == [PICTURES, FILMS, "viduq1-text"]
        assert bench.app.batches.get(child.id).finished_at is not None
        assert retry(bench, batch) is None


def test_a_refused_picture_and_its_film_are_tried_again_together(bench: Bench) -> None:
    """The new film waits for the new picture, not for the dead one."""
    refuse(bench, PICTURES)
    with bench.process() as context:
        batch = bench.take(FILM, PICTURE)
        first = work(bench, context, batch)
        assert first["film"].failure_code == "dependency_failed"
        bench.faults()
        child = retry(bench, batch)
        assert child is not None
        again = work(bench, context, child.id)
        assert states(again, "picture", "film") == [State.SUCCEEDED, State.SUCCEEDED]
        assert not {job.id for job in again.values()} & {job.id for job in first.values()}
        assert charges(bench) == [PICTURES, FILMS]


def test_a_film_goes_on_behind_a_picture_that_an_earlier_retry_made(bench: Bench) -> None:
    """Retried one after the other: the second child finds the picture in the first."""
    refuse(bench, PICTURES)
    with bench.process() as context:
        batch = bench.take(FILM, PICTURE)
        work(bench, context, batch)
        bench.faults()
        one = retry(bench, batch, "content_policy")
        assert one is not None
        assert states(work(bench, context, one.id), "picture") == [State.SUCCEEDED]
        two = retry(bench, batch, "dependency_failed")
        assert two is not None
        again = work(bench, context, two.id)
        assert states(again, "picture", "film") == [State.SUCCEEDED, State.SUCCEEDED]
        assert again["picture"].batch_id == one.id
        assert charges(bench) == [PICTURES, FILMS]


def test_a_film_is_not_tried_without_its_picture(bench: Bench) -> None:
    """A film behind a picture that stays dead would fail again at once: it is left alone, with the reason, in no child."""
    refuse(bench, PICTURES)
    with bench.process() as context:
        batch = bench.take(LATER, FILM, PICTURE)
        work(bench, context, batch)
        bench.faults()
        assert retry(bench, batch, "dependency_failed") is None
        assert [found.id for found in bench.app.reports.list_family(batch)] == [batch]
        assert charges(bench) == []


def test_what_still_moves_in_the_first_batch_is_waited_for(bench: Bench) -> None:
    """The line that was paid for there, and has not ended, is a member of both; the new film waits for it."""
    refuse(bench, PICTURES)
    slow = {"custom_id": "slow", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a"}}
    with bench.process() as context:
        batch = bench.take(slow, PICTURE, {**FILM, "depends_on": "slow"})
        bench.submit(context)
        first = by_name(bench, batch)
        assert states(first, "slow", "picture", "film") == [State.PROCESSING, State.FAILED, State.FAILED]
        bench.faults()
        child = retry(bench, batch)
        assert child is not None
        again = by_name(bench, child.id)
        assert (again["slow"].id, again["film"].waiting_on_count) == (first["slow"].id, 2)
        assert {job.state for job in work(bench, context, child.id).values()} == {State.SUCCEEDED}
        assert sorted(charges(bench)) == [FILMS, PICTURES, "viduq1-text"]


def test_a_chain_whose_retry_was_killed_is_finished_without_a_second_charge(bench: Bench) -> None:
    """The lines are in, what they wait for is not entered: the next retry enters it."""
    refuse(bench, FILMS)
    with bench.process() as context:
        batch = bench.take(LATER, FILM, PICTURE)
        work(bench, context, batch)
        bench.faults()
        with pytest.raises(KeyboardInterrupt):
            retry_until_the_kill(bench, batch)
        child = retry(bench, batch)
        assert child is not None
        assert {job.state for job in work(bench, context, child.id).values()} == {State.SUCCEEDED}
        assert charges(bench) == [PICTURES, FILMS, "viduq1-text"]

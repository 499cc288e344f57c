"""What persons decide, and the policy that stands in for one, with the real lanes and the provider's own ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from orchestrator.domain.errors import Conflict, InvalidParams, UnknownKind
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Adopted
from orchestrator.domain.states import State
from orchestrator.services.adoption import AdoptRequest, adopt_task
from orchestrator.services.batches import Taker
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import replay_dead_journals, resubmit_unknown
from orchestrator.services.lifecycle import attach_task, check_task_id, resubmit_job, write_off_job
from orchestrator.services.review import review_object, review_text
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO, die

HOUR = 3600.0
LOST = {"fault": "lost_answer", "phase": "submit", "times": 1}


def attach(bench: Bench, job: Job, task_id: str) -> Job:
    app = bench.app
    attach_task(
        app.jobs,
        job.id,
        task_id,
        kinds=app.kinds,
        rules=app.rules,
        rng=Random(1),
        actor="alex",
        reason="in the console",
    )
    return app.history.get_job(job.id)


def resubmit(bench: Bench, job: Job) -> None:
    resubmit_job(bench.app.jobs, job.id, rules=bench.app.rules, actor="alex", reason="")


def adopt(bench: Bench, task_id: str, kind: str = "video", model: str | None = None) -> Adopted:
    app = bench.app
    taker = Taker(app.batches, app.stores.open(app.settings.archive), app.clock, app.rng, app.settings.spool_dir)
    request = AdoptRequest(kind, task_id, "test", model=model, custom_id="mine", tags={"from": "console"})
    return adopt_task(app.jobs, request, taker, kinds=app.kinds, task_lives={}, actor="alex", reason="")


def finish(bench: Bench, context: LaneContext, batch: str) -> Job:
    bench.let_due(batch)
    bench.poll(context)
    bench.archive(context)
    return bench.only(batch)


def test_a_lost_answer_and_a_pasted_id_end_in_one_charge(bench: Bench) -> None:
    """A4: taken and charged, the answer lost; the reviewer pastes the id and the job completes."""
    bench.faults(LOST)
    with bench.process() as context:
        batch = bench.start_processing(context)
        assert bench.only(batch).state is State.NEEDS_REVIEW
        (task,) = bench.ledger()
        assert attach(bench, bench.only(batch), task["id"]).state is State.PROCESSING
        assert finish(bench, context, batch).state is State.SUCCEEDED
    assert len(bench.ledger()) == 1
    assert bench.posts() == 1


def test_a_resubmission_waits_and_then_pays_once_more(bench: Bench) -> None:
    """Refused while the first call may be under way; then one more POST, and the job ends well."""
    bench.faults(LOST)
    with bench.process() as context:
        batch = bench.start_processing(context)
        with pytest.raises(Conflict, match="too recently"):
            resubmit(bench, bench.only(batch))
        bench.advance(bench.app.rules.resubmit_wait_of("video").total_seconds())
        resubmit(bench, bench.only(batch))
        bench.submit(context)
        assert finish(bench, context, batch).state is State.SUCCEEDED
    assert bench.posts() == 2


def test_the_waiting_time_is_lease_and_deadline(bench: Bench) -> None:
    """Design section 5: no zombie can still send when the second call begins."""
    kinds = bench.app.kinds
    margin = timedelta(seconds=60)
    for name, kind in kinds.items():
        assert bench.app.rules.resubmit_wait_of(name) == kind.call_deadline + margin + kind.call_deadline


def test_a_written_off_job_still_takes_its_id(bench: Bench) -> None:
    """Given up, then the id turns up: attached, finished, charged once."""
    bench.faults(LOST)
    with bench.process() as context:
        batch = bench.start_processing(context)
        write_off_job(bench.app.jobs, bench.only(batch).id, actor="alex", reason="too old")
        job = bench.only(batch)
        assert (job.state, job.failure_code, job.cost_final_micros) == (State.FAILED, "written_off", None)
        (task,) = bench.ledger()
        attach(bench, job, task["id"])
        assert finish(bench, context, batch).state is State.SUCCEEDED
    assert bench.posts() == 1


# -- adopt ---------------------------------------------------------------------------------------------------------


def test_an_adopted_task_is_polled_and_archived(bench: Bench) -> None:
    """A task of somebody else's: no POST of ours, its video in our archive, no price of ours."""
    with bench.process() as context:
        bench.faults(LOST)
        stranger = bench.start_processing(context)
        (task,) = bench.ledger()
        adopted = adopt(bench, task["id"])
        batch = str(bench.app.history.get_job(adopted.job_id).batch_id)
        job = finish(bench, context, batch)
    assert (job.state, job.custom_id, dict(job.tags)) == (State.SUCCEEDED, "mine", {"from": "console"})
    assert job.cost_final_micros is None
    assert all(output.stored for output in job.outputs)
    assert bench.only(stranger).state is State.NEEDS_REVIEW
    assert adopt(bench, task["id"]) == Adopted(job.id, is_new=False)
    assert bench.posts() == 1


@pytest.mark.parametrize(
    ("kind", "model", "error"),
    [
        ("transcription", None, Conflict),
        ("transcription", "glm-asr-2512", Conflict),
        ("image", "cogview-4", Conflict),
        ("video", "cogvideox-33", InvalidParams),
        ("film", None, UnknownKind),
    ],
)
def test_what_cannot_be_adopted(sqlite_bench: Bench, kind: str, model: str | None, error: type[Exception]) -> None:
    """Immediate kinds have no task; names are checked."""
    with pytest.raises(error):
        adopt(sqlite_bench, "task-1", kind, model)


def test_an_image_is_adopted_as_the_model_that_gives_tasks(sqlite_bench: Bench) -> None:
    """Without --model."""
    job = sqlite_bench.app.history.get_job(adopt(sqlite_bench, "task-1", "image").job_id)
    assert job.model == "glm-image"


@pytest.mark.parametrize("task_id", ["", "a b", "a\n", "x" * 257, "aufgäbe"])
def test_a_task_id_is_a_word(task_id: str) -> None:
    """It becomes part of an address."""
    with pytest.raises(InvalidParams):
        check_task_id(task_id)


def test_only_a_word_is_adopted(sqlite_bench: Bench) -> None:
    """It is refused before there is a job that would ask about it for ever."""
    with pytest.raises(InvalidParams):
        adopt(sqlite_bench, "a b", "video", None)


# -- the policy ----------------------------------------------------------------------------------------------------


def with_policy(context: LaneContext, cap: int) -> LaneContext:
    return replace(context, limits=replace(context.limits, resubmit_max=cap))


def test_the_policy_pays_again_under_its_cap_after_its_time(bench: Bench) -> None:
    """ON_UNKNOWN=resubmit: not at once, one event a time with its actor, never beyond the cap."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    with bench.process() as plain:
        context = with_policy(plain, 2)
        batch = bench.start_processing(context)
        bench.sweep(context)
        assert bench.only(batch).state is State.NEEDS_REVIEW
        for _ in range(4):
            bench.advance(HOUR)
            bench.sweep(context)
            bench.submit(context)
    job = bench.only(batch)
    assert job.state is State.NEEDS_REVIEW
    assert [e.actor for e in bench.app.history.list_events(job.id) if e.type == "resubmit"] == ["policy", "policy"]
    assert bench.posts() == 3


def test_without_the_setting_nothing_is_paid_again(bench: Bench) -> None:
    """Promise 2: the default holds for ever; the sweep does not even look."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    with bench.process() as context:
        batch = bench.start_processing(context)
        for _ in range(3):
            bench.advance(HOUR)
            bench.sweep(context)
            bench.submit(context)
    assert bench.only(batch).state is State.NEEDS_REVIEW
    assert bench.posts() == 1


def test_the_policy_leaves_evidence_alone(bench: Bench) -> None:
    """1231: an earlier try probably landed; a person looks."""
    bench.faults({"fault": "duplicate_request", "phase": "submit"})
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.advance(HOUR)
        assert resubmit_unknown(with_policy(context, 5)) == "0 held jobs submitted again"
    assert bench.only(batch).state is State.NEEDS_REVIEW


# -- a paid call that kills its process ----------------------------------------------------------------------------


def test_a_job_whose_paid_call_kills_its_process_is_held_at_once(bench: Bench) -> None:
    """A2, B9: one death, no second call; its neighbour is submitted by whoever comes next."""
    batch = bench.take(VIDEO, {**IMAGE, "custom_id": "neighbour"})
    with bench.process() as dead:
        lane = SubmitLane(dead)
        works = lane.claim([])
        neighbour = next(work for work in works if work.claimed.job.kind == "image")
        lane.apply([bench.loop.submit(lane.perform(neighbour)).result()])
        die(dead)
    with bench.process() as heir:
        replay_dead_journals(heir)
        bench.advance(HOUR)
        bench.submit(heir)
        bench.archive(heir)
    video, image = bench.jobs(batch)
    assert (video.state, video.submissions[0].provider_code) == (State.NEEDS_REVIEW, "process_died")
    assert image.state is State.SUCCEEDED
    assert bench.posts() == 1


# -- review --------------------------------------------------------------------------------------------------------


def review(bench: Bench, job_id: str) -> dict[str, object]:
    app = bench.app
    job, records = app.history.get_job(job_id), app.history.list_submissions(job_id)
    return review_object(job, records, now=app.clock.now(), rules=app.rules, kinds=app.kinds)


def commands_of(found: dict[str, object]) -> dict[str, str]:
    actions = found["actions"]
    assert isinstance(actions, list)
    return {str(action["command"]).split()[2]: str(action["does"]) for action in actions}


def test_a_review_says_what_is_known_and_what_each_command_does(bench: Bench) -> None:
    """When, moment, status, code, price at stake; resubmitting says `not now` until it may be done."""
    bench.faults({"fault": "server_error", "phase": "submit", "status": 500})
    with bench.process() as context:
        job = bench.only(bench.start_processing(context))
    found = review(bench, job.id)
    evidence = found["evidence"][0]  # type: ignore[index]
    assert (evidence["http_status"], evidence["moment"]) == (500, "answered")
    assert "HTTP 500" in evidence["in_words"]
    assert found["at_stake"]["amount"] == "0.40"  # type: ignore[index]
    assert commands_of(found)["resubmit"].startswith("not now")
    assert set(commands_of(found)) == {"attach", "resubmit", "write-off"}
    bench.advance(HOUR)
    assert "0.40 USD" in commands_of(review(bench, job.id))["resubmit"]
    text = "\n".join(review_text(found))
    assert f"orchestrator jobs attach {job.id} --task-id TASK_ID" in text
    assert "at stake" in text


def test_a_review_names_the_free_way_first(bench: Bench) -> None:
    """Held for want of a usable link: retry costs nothing and stands first; an immediate kind has nothing to attach."""
    bench.faults({"fault": "empty_result", "phase": "poll", "times": 3})
    with bench.process() as context:
        batch = bench.start_processing(context)
        for _ in range(3):
            bench.let_due(batch)
            bench.poll(context)
        found = commands_of(review(bench, bench.only(batch).id))
        assert next(iter(found)) == "retry"
        assert "costs nothing" in found["retry"]
        bench.faults(LOST)
        image = bench.only(bench.start_processing(context, IMAGE))
    assert "attach" not in commands_of(review(bench, image.id))

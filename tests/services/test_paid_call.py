"""The submit lane against a provider that refuses, loses and garbles answers (design section 7)."""

from __future__ import annotations

import pytest

from orchestrator.domain.job import Job
from orchestrator.domain.states import State
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import settle_own_unfinished
from tests.services.desk import IMAGE, VIDEO, Desk


def submit_once(desk: Desk) -> Job:
    """Take one video in, run the paid call once, return the job."""
    batch = desk.take(VIDEO)
    with desk.process() as context:
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        lane.apply([desk.loop.submit(lane.perform(work)).result()])
    (job,) = desk.jobs(batch)
    return job


@pytest.mark.parametrize(
    ("fault", "state", "code", "charges"),
    [
        ("rate_limit", State.QUEUED, "1302", 0),
        ("overload", State.QUEUED, "1305", 0),
        ("arrears", State.QUEUED, "1113", 0),
        ("auth", State.QUEUED, "1002", 0),
        ("content_policy", State.FAILED, "1301", 0),
        ("duplicate_request", State.NEEDS_REVIEW, "1231", 0),
        ("server_error", State.NEEDS_REVIEW, "500", 0),
        ("bad_gateway", State.NEEDS_REVIEW, "http_502", 0),
        ("lost_answer", State.NEEDS_REVIEW, None, 1),
        ("malformed_answer", State.NEEDS_REVIEW, None, 1),
        ("reset", State.NEEDS_REVIEW, None, 0),
    ],
)
def test_every_refusal_and_every_doubt(
    lane_desk: Desk, fault: str, state: State, code: str | None, charges: int
) -> None:
    """Faults A9, A11, A12, A14-A18: refused for now waits, refused for good fails, doubt is held; one POST each."""
    lane_desk.fault(fault=fault, phase="submit")
    job = submit_once(lane_desk)
    assert job.state is state
    if code is not None:
        assert job.provider_code == code
    assert len(lane_desk.ledger()) == charges
    assert lane_desk.stats()["max_posts_per_request_id"] == 1
    with lane_desk.process() as context:
        assert SubmitLane(context).claim([]) == []
    assert job.cost_final_micros == (0 if state is State.FAILED else None)


def test_a_zombie_sends_nothing(lane_desk: Desk) -> None:
    """Fault A7: too much of the lease has passed before the first byte: not sent, and queued again."""
    batch = lane_desk.take(VIDEO)
    with lane_desk.process() as context:
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        late = type(work)(work.claimed, work.boottime - 61.0, work.lease, work.time)
        lane.apply([lane_desk.loop.submit(lane.perform(late)).result()])
    (job,) = lane_desk.jobs(batch)
    assert job.state is State.QUEUED
    assert job.last_error is not None
    assert job.last_error.startswith("lease_too_old")
    assert lane_desk.stats()["requests"].get("POST /videos/generations", 0) == 0


def test_an_answer_after_the_job_was_given_up_is_linked(lane_desk: Desk) -> None:
    """Promise 4: the lease is swept while the call is in flight; the fenced answer is applied at once as late."""
    batch = lane_desk.take(IMAGE)
    with lane_desk.process() as context:
        lane = SubmitLane(context)
        (work,) = lane.claim([])
        result = lane_desk.loop.submit(lane.perform(work)).result()
        assert settle_own_unfinished(context) == 1
        (held,) = lane_desk.jobs(batch)
        assert held.state is State.NEEDS_REVIEW
        lane.apply([result])
    (job,) = lane_desk.jobs(batch)
    assert job.state is State.ARCHIVING
    assert len(lane_desk.ledger()) == 1

"""Promises 1, 2 and 4 when a process dies: its answers are linked, the rest is said, nothing is sent again."""

from __future__ import annotations

import pytest

from orchestrator.domain.outcomes import CallEvidence, SubmitOutcome
from orchestrator.domain.states import State
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lanes.sweep import replay_dead_journals, settle_lapsed
from orchestrator.zai.client import ZaiProvider
from tests.services.desk import IMAGE, VIDEO, Desk, die


def test_an_answer_in_the_journal_of_a_dead_process_is_linked(lane_desk: Desk) -> None:
    """Fault A5: answered and journalled, then dead before the commit: the id is found, no second charge."""
    batch = lane_desk.take(VIDEO)
    with lane_desk.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        lane_desk.loop.submit(lane.perform(work)).result()
        die(dead)
    with lane_desk.process() as heir:
        assert replay_dead_journals(heir).startswith("1 answers linked, 0 submissions unknown")
        assert heir.journal.dead() == []
    (job,) = lane_desk.jobs(batch)
    (task,) = lane_desk.ledger()
    assert job.state is State.PROCESSING
    assert job.provider_task_id == task["id"]


def test_a_whole_answer_in_the_journal_is_linked_too(lane_desk: Desk) -> None:
    """Fault A5 for an immediate kind: the journal holds the answer whole, the job goes on to the archive."""
    batch = lane_desk.take(IMAGE)
    with lane_desk.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        lane_desk.loop.submit(lane.perform(work)).result()
        die(dead)
    with lane_desk.process() as heir:
        replay_dead_journals(heir)
    (job,) = lane_desk.jobs(batch)
    assert job.state is State.ARCHIVING
    assert [output.role for output in job.outputs] == ["image"]


def test_one_answer_that_cannot_be_read_takes_no_other_along(lane_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 9: a bug in our reader holds the job of that answer, with the answer; the others are linked."""
    batch = lane_desk.take(IMAGE, VIDEO)
    with lane_desk.process() as dead:
        lane = SubmitLane(dead)
        works = lane.claim([])
        for work in works:
            lane_desk.loop.submit(lane.perform(work)).result()
        die(dead)
    interpret = ZaiProvider.interpret

    def break_on_images(self: ZaiProvider, kind: str, evidence: CallEvidence) -> SubmitOutcome:
        if kind == "image":
            raise OverflowError("date value out of range")
        return interpret(self, kind, evidence)

    monkeypatch.setattr(ZaiProvider, "interpret", break_on_images)
    with lane_desk.process() as heir:
        replay_dead_journals(heir)
        assert heir.journal.dead() == []
    states = {job.kind: job for job in lane_desk.jobs(batch)}
    assert states["video"].state is State.PROCESSING
    assert states["image"].state is State.NEEDS_REVIEW
    (record,) = lane_desk.app.history.list_submissions(states["image"].id)
    assert record.submission.provider_code == "unreadable_answer"
    assert record.raw_answer


def test_what_a_dead_process_was_sending_is_unknown_at_once(lane_desk: Desk) -> None:
    """Faults A2 and A3, decision 0002: held with the reason, and nothing is sent by anybody."""
    batch = lane_desk.take(VIDEO)
    with lane_desk.process() as dead:
        assert len(SubmitLane(dead).claim([])) == 1
        die(dead)
    with lane_desk.process() as heir:
        replay_dead_journals(heir)
        assert SubmitLane(heir).claim([]) == []
    (job,) = lane_desk.jobs(batch)
    assert job.state is State.NEEDS_REVIEW
    (submission,) = lane_desk.app.history.list_submissions(job.id)
    assert submission.submission.provider_code == "process_died"
    assert submission.moment is None
    assert lane_desk.ledger() == []


def test_the_journal_of_a_living_process_is_left_alone(lane_desk: Desk) -> None:
    """A lock that is held means an owner that lives: its calls go on."""
    batch = lane_desk.take(VIDEO)
    with lane_desk.process() as living:
        SubmitLane(living).claim([])
        with lane_desk.process() as other:
            assert other.journal.dead() == []
            replay_dead_journals(other)
            assert settle_lapsed(other) == "0 lapsed submissions"
        (job,) = lane_desk.jobs(batch)
        assert job.state is State.SUBMITTING


def test_rows_that_a_dead_process_was_polling_are_given_back(lane_desk: Desk) -> None:
    """Decision 0002: due at once, counted as a death (fault B9), fenced against the dead one."""
    batch = lane_desk.take(VIDEO)
    with lane_desk.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        lane.apply([lane_desk.loop.submit(lane.perform(work)).result()])
        (job,) = lane_desk.jobs(batch)
        with lane_desk.app.jobs._database.begin_write() as connection:
            connection.exec_driver_sql("UPDATE jobs SET due_at = created_at")
        (poll,) = PollLane(dead).claim([])
        die(dead)
    with lane_desk.process() as heir:
        assert PollLane(heir).claim([]) == []
        assert replay_dead_journals(heir).endswith("1 leases given back")
        (taken,) = PollLane(heir).claim([])
    assert taken.job.id == job.id
    assert taken.job.death_count == 1
    assert taken.job.lease_token != poll.job.lease_token

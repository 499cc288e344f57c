"""Guarded writes: the right id in the right state under the right token, or nothing at all."""

from __future__ import annotations

import pytest

from orchestrator.db import submit_claim
from orchestrator.domain.decide import Decision, JobPatch, decide_cancel, decide_retry
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.job import FinalAnswer, Job
from orchestrator.domain.outcomes import (
    ArchiveStep,
    Outcome,
    OutputsReady,
    OutputStored,
    ProviderFailed,
    StillRunning,
    TaskAccepted,
    TaskMissing,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import LEASE, Driver
from tests.factories import HOUR, make_draft, make_file, make_window
from tests.fixtures.clock import START

READY = OutputsReady((make_draft(),))


def lease(driver: Driver, lane: LaneName = LaneName.POLL) -> Job:
    """Lease the one due row."""
    driver.clock.advance(HOUR)
    (job,) = driver.jobs.claim_due(lane, limit=9, lease=LEASE).rows
    return job


class TestLeaseHolders:
    """Every apply is WHERE id AND lease_token AND state; 0 rows = replaced."""

    def test_a_stale_token_writes_nothing(self, driver: Driver) -> None:
        """C5: a worker that slept through its lease finds the row another's: no output, no event, no state."""
        driver.add_processing()
        stale, holder = lease(driver), lease(driver)
        applied = driver.apply(stale, READY)
        assert (applied.is_fenced, applied.decision) == (True, None)
        assert driver.get(stale.id).outputs == ()
        assert driver.events(stale.id) == ["accepted", "submission_started", "submitted"]
        assert not driver.apply(holder, StillRunning("PROCESSING")).is_fenced

    def test_another_state_writes_nothing(self, driver: Driver) -> None:
        """C4: the from-state is part of the guard even when id and token fit."""
        driver.add_processing()
        job = lease(driver)
        wrong = Decision(State.ARCHIVING, Trigger.ARCHIVED, State.SUCCEEDED, None, "", JobPatch(finished_at=START))
        (applied,) = driver.jobs.apply([(job, wrong)])
        assert applied.is_fenced
        assert driver.state(job.id) is State.PROCESSING

    def test_a_fenced_row_does_not_stop_its_group(self, driver: Driver) -> None:
        """Groups are written together; each row has its own guard."""
        ids = [driver.add_processing(f"task-{n}").id for n in range(3)]
        driver.clock.advance(HOUR)
        rows = {job.id: job for job in driver.jobs.claim_due(LaneName.POLL, limit=9, lease=LEASE).rows}
        driver.jobs.release({ids[1]: rows[ids[1]].lease_token or ""})
        decided = [(rows[i], driver.decide(rows[i], READY)) for i in ids]
        assert [a.is_fenced for a in driver.jobs.apply(decided)] == [False, True, False]
        assert [driver.state(i) for i in ids] == [State.ARCHIVING, State.PROCESSING, State.ARCHIVING]

    @pytest.mark.parametrize("is_stale_first", [True, False])
    @pytest.mark.parametrize("news", [StillRunning("PROCESSING"), OutputsReady((make_draft(), make_draft(index=1)))])
    def test_a_stale_answer_beside_the_holders_writes_nothing(
        self, driver: Driver, news: Outcome, *, is_stale_first: bool
    ) -> None:
        """C5: a process that stood still past its lease, and leased the row again itself, has both answers to write."""
        driver.add_processing()
        stale, holder = lease(driver), lease(driver)
        decided = [(stale, driver.decide(stale, READY)), (holder, driver.decide(holder, news))]
        applied = driver.jobs.apply(decided if is_stale_first else decided[::-1])
        assert [row.is_fenced for row in applied] == [is_stale_first, not is_stale_first]
        count = len(news.outputs) if isinstance(news, OutputsReady) else 0
        assert len(driver.get(holder.id).outputs) == count
        assert driver.events(holder.id)[3:] == ["outputs_ready"] * bool(count)

    def test_an_apply_clears_the_token(self, driver: Driver) -> None:
        """The same outcome applied twice lands once."""
        driver.add_processing()
        job = lease(driver)
        driver.apply(job, StillRunning("PROCESSING"))
        assert driver.get(job.id).lease_token is None
        assert driver.apply(job, READY).is_fenced

    def test_a_submit_answer_under_a_stale_token_is_fenced_and_kept(self, driver: Driver) -> None:
        """Evidence is never fenced; the move is."""
        driver.add_many(1)
        row = driver.claim_one()
        applied = driver.report(row, TaskAccepted("task-1"), token="stale")
        assert applied.is_fenced
        assert driver.state(row.job.id) is State.SUBMITTING
        assert driver.get(row.job.id).submissions[0].task_id == "task-1"


def test_a_job_cancelled_between_pick_and_move_is_not_submitted(driver: Driver) -> None:
    """The claim's move names the state it expects: a cancel that came first wins."""
    cancelled, queued = driver.add_many(2)
    driver.jobs.transact(cancelled, decide_cancel, actor="ann", reason="")
    later = driver.add_many(1, not_before=START + HOUR)
    with driver.database.begin_write() as connection:
        rows = submit_claim._set_submitting(
            connection, [cancelled, queued, *later], make_window(), now=START, rng=driver.rng
        )
    assert [row["id"] for row in rows] == [queued]
    assert driver.state(cancelled) is State.CANCELLED


def test_a_job_whose_late_task_id_came_between_pick_and_move_is_not_submitted(driver: Driver) -> None:
    """It is due now, as a queued job is, but to be polled: a second submission would pay twice."""
    held = driver.add_held()
    again = Decision(State.NEEDS_REVIEW, Trigger.RESUBMIT, State.QUEUED, driver.clock.now(), "", supersedes=True)
    driver.jobs.transact(held.id, lambda *_: again, actor="ann", reason="")
    driver.report_late(held.submissions[0].id, TaskAccepted("task-1"))
    assert driver.get(held.id).due_at == START
    with driver.database.begin_write() as connection:
        assert submit_claim._set_submitting(connection, [held.id], make_window(), now=START, rng=driver.rng) == []
    assert driver.state(held.id) is State.PROCESSING


class TestPersons:
    """Writes by persons lock the row, name the from-state and fence any holder out."""

    def test_a_person_fences_the_holder_out(self, driver: Driver) -> None:
        driver.add_processing()
        job = lease(driver)
        lost = Decision(State.PROCESSING, Trigger.NOTHING_USABLE, State.NEEDS_REVIEW, None, "held")
        driver.jobs.transact(job.id, lambda *_: lost, actor="ann", reason="held")
        assert driver.apply(job, READY).is_fenced
        assert driver.state(job.id) is State.NEEDS_REVIEW

    def test_the_change_sees_the_job_with_all_that_belongs_to_it(self, driver: Driver) -> None:
        job = driver.add_archiving()
        seen: list[Job] = []

        def look(found: Job, _: object) -> None:
            seen.append(found)

        assert driver.jobs.transact(job.id, look, actor="ann", reason="").decision is None
        assert (len(seen[0].submissions), len(seen[0].outputs)) == (1, 1)

    def test_a_conflict_comes_out_and_nothing_is_written(self, driver: Driver) -> None:
        job = driver.add_succeeded()
        with pytest.raises(Conflict):
            driver.jobs.transact(job.id, decide_cancel, actor="ann", reason="")
        assert driver.get(job.id) == job

    def test_an_unknown_job_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            driver.jobs.transact("job_none", decide_cancel, actor="ann", reason="")

    def test_actor_and_reason_are_in_the_history(self, driver: Driver) -> None:
        (job_id,) = driver.add_many(1)
        driver.jobs.transact(job_id, decide_cancel, actor="ann", reason="wrong prompt")
        event = driver.history.list_events(job_id)[-1]
        assert (event.type, event.actor, event.reason) == ("cancelled", "ann", "wrong prompt")
        assert driver.claim() == ()

    def test_a_retry_by_hand_marks_unknowns_decided(self, driver: Driver) -> None:
        held = driver.add_held()
        again = Decision(State.NEEDS_REVIEW, Trigger.RESUBMIT, State.QUEUED, driver.clock.now(), "", supersedes=True)
        driver.jobs.transact(held.id, lambda *_: again, actor="ann", reason="pay again")
        (record,) = driver.history.list_submissions(held.id)
        assert record.submission.superseded_at == driver.clock.now()
        assert (record.decided_by, record.decided_why) == ("ann", "pay again")


class TestCancelFlag:
    """Cancelling a paid call only sets a flag; the holder's lease stays good."""

    def test_it_is_set_once_and_does_not_fence(self, driver: Driver) -> None:
        driver.add_many(1)
        row = driver.claim_one()
        assert driver.jobs.flag_cancel(row.job.id, actor="ann", reason="enough")
        assert not driver.jobs.flag_cancel(row.job.id, actor="ann", reason="enough")
        assert not driver.report(row, TaskAccepted("task-1")).is_fenced
        job = driver.get(row.job.id)
        assert (job.state, job.is_cancelling) == (State.PROCESSING, True)
        assert driver.events(job.id)[2:] == ["cancel_requested", "submitted"]

    def test_it_is_not_set_elsewhere(self, driver: Driver) -> None:
        (job_id,) = driver.add_many(1)
        assert not driver.jobs.flag_cancel(job_id, actor="ann", reason="")
        assert not driver.jobs.flag_cancel(driver.add_archiving().id, actor="ann", reason="")


class TestFinalAnswers:
    """The provider's last word closes the submission of the task asked about, once."""

    @pytest.mark.parametrize(
        ("outcome", "answer"), [(READY, FinalAnswer.SUCCESS), (ProviderFailed(None, "no"), FinalAnswer.FAIL)]
    )
    def test_it_is_stored(self, driver: Driver, outcome: OutputsReady, answer: FinalAnswer) -> None:
        job = driver.add_processing()
        driver.finish_poll(job.id, outcome)
        (submission,) = driver.get(job.id).submissions
        assert (submission.final_answer, submission.final_at) == (answer, driver.clock.now())

    def test_a_lost_result_is_one_too(self, driver: Driver) -> None:
        job = driver.add_processing()
        driver.finish_poll(job.id, TaskMissing("1214", "no such task"))
        driver.clock.advance(driver.rules.result_lost_after)
        driver.finish_poll(job.id, TaskMissing("1214", "no such task"))
        assert driver.get(job.id).failure_code == "result_lost"
        assert driver.get(job.id).submissions[0].final_answer is FinalAnswer.LOST

    def test_the_first_stands(self, driver: Driver) -> None:
        """D7: SUCCESS, then a fresh link asked for and FAIL: the evidence column keeps its value."""
        job = driver.add_processing()
        driver.finish_poll(job.id, READY)
        held = driver.hold(LaneName.ARCHIVE, job.id)
        ask = Decision(State.ARCHIVING, Trigger.FRESH_LINK_ASKED, State.PROCESSING, driver.clock.now(), "")
        driver.jobs.apply([(held, ask)])
        driver.finish_poll(job.id, ProviderFailed(None, "gone"))
        assert driver.get(job.id).submissions[0].final_answer is FinalAnswer.SUCCESS


def test_retry_and_success_leave_a_numbered_history(driver: Driver) -> None:
    """Promise 14: every move has a row, numbered without a gap, whoever wrote it."""
    job = driver.add_processing()
    driver.finish_poll(job.id, ProviderFailed(None, "no"))
    driver.jobs.transact(
        job.id,
        lambda found, now: decide_retry(found, driver.rules, now, last_final_answer=FinalAnswer.FAIL, may_charge=True),
        actor="ann",
        reason="again",
    )
    row = driver.claim_one()
    driver.report(row, TaskAccepted("task-2"))
    driver.finish_poll(job.id, READY)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep((OutputStored(held.outputs[0].id, make_file()),)))
    events = driver.history.list_events(job.id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events][3:] == [
        "provider_failed",
        "retried",
        "submission_started",
        "submitted",
        "outputs_ready",
        "archived",
    ]
    assert [event.to_state for event in events][-1] is State.SUCCEEDED
    assert driver.get(job.id).submission_count == 2


def test_polls_leave_no_row_in_the_history(driver: Driver) -> None:
    """Cost per job, not per poll: a question that changed nothing writes no event."""
    job = driver.add_processing()
    for _ in range(5):
        driver.finish_poll(job.id, StillRunning("PROCESSING"))
    assert driver.get(job.id).poll_count == 5
    assert len(driver.events(job.id)) == 3


def test_several_columns_change_in_one_group(driver: Driver) -> None:
    """Different outcomes in one group change different columns; none leaks into another row."""
    ids = [driver.add_processing(f"task-{n}").id for n in range(3)]
    driver.clock.advance(HOUR)
    rows = {job.id: job for job in driver.jobs.claim_due(LaneName.POLL, limit=9, lease=LEASE).rows}
    outcomes: list[Outcome] = [StillRunning("PROCESSING"), ProviderFailed("1301", "sensitive"), READY]
    driver.jobs.apply([(rows[i], driver.decide(rows[i], o)) for i, o in zip(ids, outcomes, strict=True)])
    found = [driver.get(i) for i in ids]
    assert [job.state for job in found] == [State.PROCESSING, State.FAILED, State.ARCHIVING]
    assert [job.failure_code for job in found] == [None, "content_policy", None]
    assert [job.poll_count for job in found] == [1, 0, 1]


def test_the_time_that_frees_a_slot_is_a_time(driver: Driver) -> None:
    """Written by an expression; on SQLite it was text that no other time compares with, and read as one without zone."""
    job = driver.add_succeeded()
    (record,) = driver.history.list_submissions(job.id)
    assert record.slot_released_at == record.submission.final_at

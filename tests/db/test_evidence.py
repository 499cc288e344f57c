"""Evidence: each column once, never fenced, and late truth is used (promises 2 to 4)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from orchestrator.db.evidence import RAW_ANSWER_BYTES
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.domain.decide import Decision, JobPatch, decide_poisoned
from orchestrator.domain.errors import NotFound, Permanent
from orchestrator.domain.job import FinalAnswer, Job, Verdict
from orchestrator.domain.outcomes import (
    AnswerComplete,
    ArchiveStep,
    CallEvidence,
    Moment,
    NothingUsable,
    NotSent,
    OutputLinkDead,
    OutputsReady,
    ProviderFailed,
    Rejected,
    StillRunning,
    SubmitOutcome,
    TaskAccepted,
    TaskMissing,
    Unknown,
)
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State, Trigger
from tests.db.driver import ANSWERED, Driver
from tests.factories import HOUR, make_draft
from tests.fixtures.clock import START

UNKNOWN = Unknown("read_timeout", "no answer")
TASK = TaskAccepted("task-1")


def write_off(driver: Driver, job: Job) -> None:
    """End a held job by a person's decision."""
    patch = JobPatch(finished_at=driver.clock.now(), failure_code="written_off")
    decision = Decision(State.NEEDS_REVIEW, Trigger.WRITTEN_OFF, State.FAILED, None, "", patch, supersedes=True)
    driver.jobs.transact(job.id, lambda *_: decision, actor="ann", reason="")


def resubmit(driver: Driver, job: Job) -> None:
    """Put a held job back into the queue by a person's decision."""
    decision = Decision(
        State.NEEDS_REVIEW, Trigger.RESUBMIT, State.QUEUED, driver.clock.now(), "", JobPatch(), supersedes=True
    )
    driver.jobs.transact(job.id, lambda *_: decision, actor="ann", reason="")


class TestStoring:
    """What is kept of a paid call."""

    def test_every_column_of_the_answer_is_kept(self, driver: Driver) -> None:
        driver.add_many(1)
        row = driver.claim_one()
        sent, answered = START + timedelta(seconds=1), START + timedelta(seconds=2)
        driver.report(row, TASK, CallEvidence(Moment.ANSWERED, sent, answered, 200, '{"id": "task-1"}'))
        (record,) = driver.history.list_submissions(row.job.id)
        assert (record.moment, record.sent_at, record.answered_at) == ("answered", sent, answered)
        assert (record.http_status, record.raw_answer) == (200, '{"id": "task-1"}')
        assert (record.submission.verdict, record.submission.task_id) == (Verdict.ACCEPTED, "task-1")
        assert record.verdict_at == START

    def test_what_no_database_holds_is_replaced(self, driver: Driver) -> None:
        """A provider's answer may hold anything; NUL and lone surrogates must not lose it."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.report(row, Unknown("bad\0code", "w\ud800rds\0"), replace(ANSWERED, body="a\0b\udfffc"))
        (record,) = driver.history.list_submissions(row.job.id)
        assert record.raw_answer == "a\ufffdb\ufffdc"
        assert record.submission.message == "w\ufffdrds\ufffd"
        assert driver.get(row.job.id).last_error == "w\ufffdrds\ufffd"

    def test_a_signed_link_is_kept_without_its_signature(self, driver: Driver) -> None:
        """I3, promise 13: who reads the table, a dump of it or `jobs show --raw` cannot fetch the file with it."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.report(row, TASK, replace(ANSWERED, body='{"url": "https://cdn.example/a.png?Signature=c4n4ry"}'))
        (record,) = driver.history.list_submissions(row.job.id)
        assert record.raw_answer == '{"url": "https://cdn.example/a.png?[redacted]"}'

    def test_a_refusal_of_the_database_is_not_taken_for_a_duplicate_id(self, driver: Driver) -> None:
        """Only an id that another submission holds is explained away; anything else is a bug that must be seen."""
        driver.add_many(1)
        row = driver.claim_one()
        wrong = driver.make_report(row, UNKNOWN, token=row.job.lease_token)
        with pytest.raises(Permanent, match="accepted_has_task"):
            driver.jobs.apply_reports([replace(wrong, verdict=Verdict.ACCEPTED)])
        assert driver.state(row.job.id) is State.SUBMITTING

    def test_a_long_answer_is_cut_at_a_whole_character(self, driver: Driver) -> None:
        driver.add_many(1)
        row = driver.claim_one()
        driver.report(row, UNKNOWN, replace(ANSWERED, body="x" + "é" * RAW_ANSWER_BYTES))
        raw = driver.history.list_submissions(row.job.id)[0].raw_answer
        assert raw == "x" + "é" * ((RAW_ANSWER_BYTES - 1) // 2)

    def test_a_definite_verdict_is_written_once(self, driver: Driver) -> None:
        """Later words that contradict it change neither the row nor the job."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.report(row, Rejected("1214", "bad size"))
        before = driver.row(SUBMISSIONS, row.submission.id)
        driver.clock.advance(HOUR)
        for outcome in (UNKNOWN, NotSent("x", "y"), Rejected("1301", "other")):
            applied = driver.report_late(row.submission.id, outcome, replace(ANSWERED, body="other", http_status=500))
            assert applied.decision is None
        assert driver.row(SUBMISSIONS, row.submission.id) == before
        assert driver.state(row.job.id) is State.FAILED

    def test_evidence_that_the_row_did_not_take_asks_nobody(self, driver: Driver) -> None:
        """A stale word about a settled submission must not even be put to the rules."""
        job = driver.add_processing()

        def settle(_job: Job, _now: datetime) -> Decision | None:
            raise AssertionError("asked")

        for outcome, verdict in ((UNKNOWN, Verdict.UNKNOWN), (NotSent("x", "y"), Verdict.NOT_SENT)):
            applied = driver.jobs.apply_evidence(
                job.submissions[0].id, ANSWERED, outcome, verdict, token=None, settle=settle
            )
            assert applied.decision is None

    def test_an_unknown_is_refined_and_its_columns_stay(self, driver: Driver) -> None:
        """What was seen of the call stays; only the verdict becomes definite."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.report(row, UNKNOWN, CallEvidence(Moment.SENT, sent_at=START))
        driver.clock.advance(HOUR)
        driver.report_late(
            row.submission.id, TASK, CallEvidence(Moment.ANSWERED, sent_at=START + HOUR, http_status=200)
        )
        (record,) = driver.history.list_submissions(row.job.id)
        assert (record.moment, record.sent_at, record.http_status) == ("sent", START, 200)
        assert record.submission.verdict is Verdict.ACCEPTED

    def test_an_unknown_submission_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            driver.report_late("sub_none", TASK)

    def test_who_attached_it_is_kept(self, driver: Driver) -> None:
        held = driver.add_held()
        driver.report_late(held.submissions[0].id, TASK, actor="ann")
        assert driver.history.list_submissions(held.id)[0].decided_by == "ann"


class TestLateTruth:
    """Evidence settles its own submission; the job moves by all of them."""

    def test_a_late_id_leads_a_held_job_on(self, driver: Driver) -> None:
        held = driver.add_held()
        applied = driver.report_late(held.submissions[0].id, TASK)
        assert applied.decision is not None
        job = driver.get(held.id)
        assert (job.state, job.provider_task_id) == (State.PROCESSING, "task-1")
        assert driver.events(job.id)[-1] == "late_task_id"

    def test_a_fenced_paid_answer_is_used_as_late_evidence(self, driver: Driver) -> None:
        """A7: the sweep held the job; the frozen worker's answer attaches itself."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.clock.advance(HOUR)
        (lapsed,) = driver.jobs.find_lapsed_submissions(limit=9)
        driver.report(lapsed, Unknown("lease_lapsed", "nobody said anything"))
        assert driver.state(row.job.id) is State.NEEDS_REVIEW
        assert driver.report(row, TASK).is_fenced
        assert driver.report_late(row.submission.id, TASK).decision is not None
        assert driver.state(row.job.id) is State.PROCESSING

    def test_a_lapse_found_too_late_changes_nothing(self, driver: Driver) -> None:
        """C4: the sweep read, the worker finished, the sweep writes."""
        driver.add_many(1)
        row = driver.claim_one()
        driver.clock.advance(HOUR)
        (lapsed,) = driver.jobs.find_lapsed_submissions(limit=9)
        driver.report(row, TASK)
        assert driver.report(lapsed, Unknown("lease_lapsed", "nobody")).is_fenced
        assert driver.report_late(lapsed.submission.id, Unknown("lease_lapsed", "nobody")).decision is None
        assert driver.state(row.job.id) is State.PROCESSING

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [(NotSent("refused", "nothing left"), State.QUEUED), (Rejected("1214", "bad size"), State.FAILED)],
    )
    def test_a_late_refusal_frees_the_job_and_the_slot(
        self, driver: Driver, outcome: SubmitOutcome, state: State
    ) -> None:
        held = driver.add_held()
        driver.report_late(held.submissions[0].id, outcome)
        assert driver.state(held.id) is state
        assert driver.history.list_submissions(held.id)[0].slot_released_at == driver.clock.now()

    @pytest.mark.parametrize("decide", [write_off, resubmit])
    def test_a_late_id_stops_a_second_payment(self, driver: Driver, decide: object) -> None:
        """In queued and failed(written_off) a late id acts: never POST again."""
        held = driver.add_held()
        decide(driver, held)  # type: ignore[operator]
        driver.report_late(held.submissions[0].id, TASK)
        assert driver.state(held.id) is State.PROCESSING
        assert driver.claim() == ()
        assert driver.get(held.id).failure_code is None

    def test_a_late_whole_answer_is_archived(self, driver: Driver) -> None:
        held = driver.add_held(kind="image", model="cogview-4")
        driver.report_late(held.submissions[0].id, AnswerComplete((make_draft(),)))
        job = driver.get(held.id)
        assert (job.state, len(job.outputs)) == (State.ARCHIVING, 1)
        assert driver.events(job.id)[-1] == "late_answer"

    def test_evidence_about_an_earlier_try_waits_for_the_call_in_flight(self, driver: Driver) -> None:
        """While submitting it is stored and the state stays; it acts when the call ends."""
        held = driver.add_held()
        resubmit(driver, held)
        row = driver.claim_one(slots={"*": 9})
        late = driver.report_late(held.submissions[0].id, TASK)
        assert (late.decision, late.is_extra_paid) == (None, False)
        assert driver.state(held.id) is State.SUBMITTING
        driver.report(row, NotSent("connect_timeout", "nothing left"))
        job = driver.get(held.id)
        assert (job.state, job.provider_task_id) == (State.PROCESSING, "task-1")

    def test_an_earlier_whole_answer_is_used_when_the_call_ends(self, driver: Driver) -> None:
        """What the oldest open submission answered comes from its own row."""
        held = driver.add_held(kind="image", model="cogview-4")
        resubmit(driver, held)
        row = driver.claim_one(slots={"*": 9})
        driver.report_late(held.submissions[0].id, AnswerComplete((make_draft(url="https://cdn.example/first.png"),)))
        driver.report(row, UNKNOWN)
        job = driver.get(held.id)
        assert job.state is State.ARCHIVING
        assert [output.source_url for output in job.outputs] == ["https://cdn.example/first.png"]
        assert job.submissions[0].final_at == driver.clock.now()


class TestExtraPaidTasks:
    """A paid answer that cannot act is stored, noted in the history and alarmed."""

    def test_a_second_paid_task_is_told(self, driver: Driver) -> None:
        held = driver.add_held()
        resubmit(driver, held)
        row = driver.claim_one(slots={"*": 9})
        driver.report(row, TaskAccepted("task-2"))
        applied = driver.report_late(held.submissions[0].id, TASK)
        assert applied.is_extra_paid
        assert driver.get(held.id).provider_task_id == "task-2"
        assert driver.history.list_events(held.id)[-1].data["task_id"] == "task-1"

    def test_the_call_in_flight_may_be_the_extra_one(self, driver: Driver) -> None:
        """Two ids: the job follows the oldest; the newer one is the extra."""
        held = driver.add_held()
        resubmit(driver, held)
        row = driver.claim_one(slots={"*": 9})
        driver.report_late(held.submissions[0].id, TASK)
        applied = driver.report(row, TaskAccepted("task-2"))
        assert applied.is_extra_paid
        assert driver.get(held.id).provider_task_id == "task-1"
        assert driver.events(held.id)[-2:] == ["submitted", "extra_paid_task"]

    def test_what_is_passed_over_when_the_call_in_flight_ends_is_told(self, driver: Driver) -> None:
        """Two whole answers came while a third call was in flight, whose end is unknown: the oldest is used."""
        held = driver.add_held(kind="image", model="cogview-4")
        resubmit(driver, held)
        second = driver.claim_one(slots={"*": 9})
        driver.report(second, UNKNOWN)
        resubmit(driver, driver.get(held.id))
        third = driver.claim_one(slots={"*": 9})
        for number, call in enumerate((held.submissions[0].id, second.submission.id)):
            answer = AnswerComplete((make_draft(url=f"https://cdn.example/{number}.png"),))
            assert not driver.report_late(call, answer).is_extra_paid
        driver.report(third, UNKNOWN)
        assert [output.source_url for output in driver.get(held.id).outputs] == ["https://cdn.example/0.png"]
        extra = [event for event in driver.history.list_events(held.id) if event.type == "extra_paid_task"]
        assert [event.data["submission_id"] for event in extra] == [second.submission.id]

    def test_it_is_told_once(self, driver: Driver) -> None:
        """A journal replayed twice writes one event."""
        job = driver.add_processing()
        for _ in range(2):
            assert driver.report_late(job.submissions[0].id, TaskAccepted("task-9")).is_extra_paid
        assert driver.events(job.id).count("extra_paid_task") == 1

    def test_a_replay_of_what_is_in_use_is_silent(self, driver: Driver) -> None:
        """The journal's records are replayed although their commits had come through."""
        job = driver.add_processing()
        before = driver.events(job.id)
        applied = driver.report_late(job.submissions[0].id, TASK)
        assert (applied.decision, applied.is_extra_paid) == (None, False)
        driver.finish_poll(job.id, StillRunning("PROCESSING"))
        assert not driver.report_late(job.submissions[0].id, TASK).is_extra_paid
        assert driver.events(job.id) == before

    def test_a_replayed_whole_answer_is_silent(self, driver: Driver) -> None:
        driver.add_many(1, kind="image", model="cogview-4")
        row = driver.claim_one()
        answer = AnswerComplete((make_draft(),))
        driver.report(row, answer)
        assert not driver.report_late(row.submission.id, answer).is_extra_paid
        assert driver.events(row.job.id)[-1] == "outputs_ready"


class TestDuplicateTaskId:
    """A13: an id that another submission holds is stored as an unknown without it, and the job is held."""

    def test_the_job_is_held(self, driver: Driver) -> None:
        driver.add_processing("task-1")
        driver.add_many(1)
        row = driver.claim_one(slots={"*": 9})
        applied = driver.report(row, TASK)
        assert applied.is_duplicate_id
        job = driver.get(row.job.id)
        assert (job.state, job.provider_task_id) == (State.NEEDS_REVIEW, None)
        (record,) = driver.history.list_submissions(job.id)
        assert (record.submission.verdict, record.submission.provider_code) == (Verdict.UNKNOWN, "duplicate_task_id")
        assert (record.http_status, record.submission.task_id) == (200, None)
        assert driver.events(job.id)[-1] == "evidence_stored"

    def test_pasting_it_changes_nothing(self, driver: Driver) -> None:
        driver.add_processing("task-1")
        held = driver.add_held()
        assert driver.report_late(held.submissions[0].id, TASK, actor="ann").decision is None
        assert driver.state(held.id) is State.NEEDS_REVIEW

    def test_the_database_itself_refuses_it(self, driver: Driver) -> None:
        """Without the unique index two jobs would poll and archive one task."""
        from orchestrator.domain.errors import Permanent

        driver.add_processing("task-1")
        other = driver.add_processing("task-2")
        steal = update(SUBMISSIONS).where(SUBMISSIONS.c.job_id == other.id).values(task_id="task-1")
        with pytest.raises(Permanent, match="task_id"):
            driver.database.write(lambda connection: connection.execute(steal))

    def test_the_same_id_under_another_credential_is_another_task(self, driver: Driver) -> None:
        driver.add_processing("task-1")
        driver.add_many(1, credential="second")
        row = driver.claim_one(credential="second")
        assert not driver.report(row, TASK).is_duplicate_id


def pay_twice(driver: Driver) -> tuple[str, str]:
    """Return a job that asks about its second task while its first, found late, is paid for too; and the first call."""
    held = driver.add_held()
    first = held.submissions[0].id
    resubmit(driver, held)
    driver.report(driver.claim_one(slots={"*": 9}), TaskAccepted("task-second"))
    assert driver.report_late(first, TASK).is_extra_paid
    return held.id, first


def doubt_second(driver: Driver) -> tuple[str, str]:
    """Return a job that asks about its first task while its second call is unexplained; and that second call."""
    held = driver.add_held()
    first = held.submissions[0].id
    resubmit(driver, held)
    row = driver.claim_one(slots={"*": 9})
    driver.report(row, UNKNOWN)
    driver.report_late(first, TASK)
    return held.id, row.submission.id


def kill_link(driver: Driver, job_id: str) -> None:
    """Let the archive lane find the job's link dead."""
    job = driver.hold(LaneName.ARCHIVE, job_id)
    (output,) = job.outputs
    link = hashlib.sha256((output.source_url or "").encode()).hexdigest()
    driver.apply(job, ArchiveStep((OutputLinkDead(output.id, link, "410"),)))


def lose_output(driver: Driver, job_id: str) -> None:
    """Let the provider give one dead link twice: the loss is proven."""
    for _ in range(2):
        driver.finish_poll(job_id, OutputsReady((make_draft(),)))
        kill_link(driver, job_id)


class TestOtherCalls:
    """A task's end is not the job's end while another call of it may bring the result (promise 3)."""

    def test_a_failed_task_hands_over_to_the_other_paid_one(self, driver: Driver) -> None:
        job_id, _ = pay_twice(driver)
        applied = driver.finish_poll(job_id, ProviderFailed("1301", "sensitive"))
        job = driver.get(job_id)
        assert applied.decision is not None
        assert (job.state, job.provider_task_id, job.failure_code) == (State.PROCESSING, "task-1", None)
        assert [s.final_answer for s in job.submissions] == [None, FinalAnswer.FAIL]
        driver.finish_poll(job_id, ProviderFailed("1301", "sensitive"))
        assert driver.state(job_id) is State.FAILED, "the second end is the job's"

    def test_a_failed_task_leaves_an_unexplained_call_to_a_person(self, driver: Driver) -> None:
        held = driver.add_held()
        first = held.submissions[0].id
        resubmit(driver, held)
        driver.report(driver.claim_one(slots={"*": 9}), Unknown("read_timeout", "no answer"))
        driver.report_late(first, TASK)
        driver.finish_poll(held.id, ProviderFailed("1301", "sensitive"))
        job = driver.get(held.id)
        assert (job.state, job.provider_task_id) == (State.NEEDS_REVIEW, None)
        assert job.submissions[0].final_answer is FinalAnswer.FAIL
        driver.report_late(job.submissions[1].id, TaskAccepted("task-second"))
        assert driver.get(held.id).provider_task_id == "task-second"

    def test_neighbours_in_the_same_write_are_as_before(self, driver: Driver) -> None:
        job_id, _ = pay_twice(driver)
        other = driver.add_processing("task-other")
        driver.clock.advance(HOUR)
        rows = driver.jobs.claim_due(LaneName.POLL, limit=10, lease=HOUR).rows
        driver.jobs.apply([(job, driver.decide(job, ProviderFailed("1301", "sensitive"))) for job in rows])
        assert {driver.state(job_id), driver.state(other.id)} == {State.PROCESSING, State.FAILED}

    def test_a_task_that_gave_nothing_hands_over_to_the_other_paid_one(self, driver: Driver) -> None:
        job_id, _ = pay_twice(driver)
        for _ in range(driver.rules.nothing_usable_asks):
            driver.finish_poll(job_id, NothingUsable("SUCCESS without a link"))
        assert (driver.state(job_id), driver.get(job_id).provider_task_id) == (State.PROCESSING, "task-1")

    def test_a_task_whose_file_is_lost_hands_over_to_the_other_paid_one(self, driver: Driver) -> None:
        job_id, _ = pay_twice(driver)
        lose_output(driver, job_id)
        job = driver.get(job_id)
        assert (job.state, job.provider_task_id, job.outputs[0].is_lost) == (State.PROCESSING, "task-1", False)
        driver.finish_poll(job_id, OutputsReady((make_draft(url="https://cdn.example/of-the-other"),)))
        assert driver.get(job_id).outputs[0].source_url == "https://cdn.example/of-the-other"

    def test_a_lost_file_leaves_an_unexplained_call_to_a_person(self, driver: Driver) -> None:
        """Never under `failed`; the refusal of that call then ends the job by what its task came to."""
        job_id, second = doubt_second(driver)
        lose_output(driver, job_id)
        assert driver.state(job_id) is State.NEEDS_REVIEW
        driver.report_late(second, TaskAccepted("task-second"))
        assert driver.get(job_id).provider_task_id == "task-second"

    def test_a_hold_for_a_call_is_ended_by_that_call(self, driver: Driver) -> None:
        """Also where the ended task had announced outputs that were never fetched."""
        job_id, second = doubt_second(driver)
        driver.finish_poll(job_id, OutputsReady((make_draft(),)))
        kill_link(driver, job_id)
        driver.finish_poll(job_id, ProviderFailed("500", "gone"))
        assert driver.state(job_id) is State.NEEDS_REVIEW
        driver.report_late(second, Rejected("1214", "bad size"))
        assert driver.state(job_id) is State.FAILED

    def test_a_lost_task_that_a_person_attached_is_held(self, driver: Driver) -> None:
        """A slip of the pen is no proven loss; the right id still has its place."""
        held = driver.add_held()
        driver.report_late(held.submissions[0].id, TaskAccepted("tsak-1"), actor="ann")
        driver.finish_poll(held.id, TaskMissing("1231", "no such task"))
        driver.clock.advance(driver.rules.result_lost_after)
        driver.finish_poll(held.id, TaskMissing("1231", "no such task"))
        job = driver.get(held.id)
        assert (job.state, job.provider_task_id) == (State.NEEDS_REVIEW, None)
        assert "ann gave that id" in (job.last_error or "")
        assert job.submissions[0].final_answer is FinalAnswer.LOST

    def test_a_person_may_say_again_what_was_known(self, driver: Driver) -> None:
        """Held for one task, sent to the other one by hand."""
        job_id, first = pay_twice(driver)
        job = driver.hold(LaneName.POLL, job_id)
        driver.jobs.apply([(job, decide_poisoned(job, driver.clock.now()))])
        driver.report_late(first, TASK, actor="ann")
        assert (driver.state(job_id), driver.get(job_id).provider_task_id) == (State.PROCESSING, "task-1")

    def test_a_replay_does_not_move_a_poisoned_job(self, driver: Driver) -> None:
        """B9: the journal of a dead worker names the extra task again; the hold of a person's case stays."""
        job_id, first = pay_twice(driver)
        job = driver.hold(LaneName.POLL, job_id)
        driver.jobs.apply([(job, decide_poisoned(job, driver.clock.now()))])
        assert driver.report_late(first, TASK).decision is None
        assert driver.state(job_id) is State.NEEDS_REVIEW

"""What persons do to jobs, under the job's lock on both databases: attach, adopt, resubmit; and late truth everywhere."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from threading import Barrier

import pytest
from sqlalchemy import update

from orchestrator.db import attaching
from orchestrator.db.engine import open_database
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.domain.decide import Decision, decide_cancel, decide_policy_resubmit
from orchestrator.domain.errors import Conflict, InvalidParams, NotFound
from orchestrator.domain.job import Job, Origin, Verdict
from orchestrator.domain.outcomes import (
    AnswerComplete,
    ArchiveStep,
    NotSent,
    OutputLinkDead,
    OutputsReady,
    OutputStored,
    ProviderFailed,
    Rejected,
    SubmitOutcome,
    TaskAccepted,
    Unknown,
)
from orchestrator.domain.ports import Adoption, Applied, ClaimedSubmission, HeldUnknown, LaneName
from orchestrator.domain.states import State
from orchestrator.services.lifecycle import attach_task, resubmit_job, retry_job, write_off_job
from orchestrator.wiring import kinds_by_name
from tests.db.driver import Driver
from tests.factories import HOUR, make_batch, make_draft, make_file, make_new_job, make_window
from tests.fixtures.clock import FakeClock

KINDS = kinds_by_name()
PRESSERS = 20


def resubmit(driver: Driver, job_id: str) -> None:
    resubmit_job(driver.jobs, job_id, rules=driver.rules, actor="alex", reason="pay again")


def attach(driver: Driver, job_id: str, task_id: str = "pasted") -> Applied:
    return attach_task(
        driver.jobs, job_id, task_id, kinds=KINDS, rules=driver.rules, rng=Random(1), actor="alex", reason="seen"
    )


def queue_again(driver: Driver) -> Job:
    """Lead a job to `queued` with one submission that nobody could explain."""
    job = driver.add_held()
    driver.clock.advance(HOUR)
    resubmit(driver, job.id)
    return driver.get(job.id)


def process_again(driver: Driver) -> Job:
    job = queue_again(driver)
    driver.report(driver.claim_one(), TaskAccepted("second"))
    return driver.get(job.id)


def archive_again(driver: Driver) -> Job:
    job = process_again(driver)
    driver.finish_poll(job.id, OutputsReady((make_draft(),)))
    return driver.get(job.id)


def succeed(driver: Driver) -> Job:
    held = driver.hold(LaneName.ARCHIVE, archive_again(driver).id)
    driver.apply(held, ArchiveStep(tuple(OutputStored(output.id, make_file()) for output in held.outputs)))
    return driver.get(held.id)


def fail(driver: Driver) -> Job:
    job = process_again(driver)
    driver.finish_poll(job.id, ProviderFailed("1234", "it failed"))
    return driver.get(job.id)


def cancel(driver: Driver) -> Job:
    job = queue_again(driver)
    driver.jobs.transact(job.id, decide_cancel, actor="alex", reason="")
    return driver.get(job.id)


def write_off(driver: Driver) -> Job:
    job = driver.add_held()
    write_off_job(driver.jobs, job.id, actor="alex", reason="")
    return driver.get(job.id)


def submit_again(driver: Driver) -> Job:
    job = queue_again(driver)
    driver.claim_one()
    return driver.get(job.id)


PLACES: dict[str, Callable[[Driver], Job]] = {
    "needs_review": Driver.add_held,
    "queued": queue_again,
    "submitting": submit_again,
    "processing": process_again,
    "archiving": archive_again,
    "succeeded": succeed,
    "failed": fail,
    "written off": write_off,
    "cancelled": cancel,
}
OUTCOMES: dict[str, SubmitOutcome] = {
    "task id": TaskAccepted("late"),
    "full answer": AnswerComplete((make_draft(5),)),
    "refusal": Rejected("1214", "no"),
    "not sent": NotSent("connect_failed", "refused"),
    "unknown": Unknown("again", "still nobody knows"),
}
ACTING = ("needs_review", "queued", "written off")
MOVES: dict[tuple[str, str], State] = {
    **{(place, "task id"): State.PROCESSING for place in ACTING},
    **{(place, "full answer"): State.ARCHIVING for place in ACTING},
    ("needs_review", "refusal"): State.FAILED,
    ("needs_review", "not sent"): State.QUEUED,
}
EXTRA = {
    (place, paid)
    for place in ("processing", "archiving", "succeeded", "failed", "cancelled")
    for paid in ("task id", "full answer")
}


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("place", PLACES)
def test_late_evidence_in_every_state(driver: Driver, place: str, name: str) -> None:
    """Promise 4: it acts where it can; a paid answer that cannot act is told once, however often it comes."""
    job = PLACES[place](driver)
    first = job.submissions[0]
    assert first.verdict is Verdict.UNKNOWN
    applied = driver.report_late(first.id, OUTCOMES[name])
    found = driver.get(job.id)
    assert found.state is MOVES.get((place, name), job.state)
    assert applied.is_extra_paid is ((place, name) in EXTRA)
    driver.report_late(first.id, OUTCOMES[name])
    assert driver.events(job.id).count("extra_paid_task") == ((place, name) in EXTRA)
    assert driver.get(job.id).state is found.state


@pytest.mark.parametrize("place", PLACES)
def test_a_pasted_id_is_late_evidence(driver: Driver, place: str) -> None:
    """Attach in every state: moved, or kept as an extra paid task with the person's name and reason."""
    job = PLACES[place](driver)
    applied = attach(driver, job.id)
    found = driver.get(job.id)
    assert found.state is MOVES.get((place, "task id"), job.state)
    assert applied.is_extra_paid is ((place, "task id") in EXTRA)
    event = driver.history.list_events(job.id)[-1]
    assert event.actor == "alex"
    assert "seen" in event.reason
    record = next(r for r in driver.history.list_submissions(job.id) if r.submission.task_id == "pasted")
    assert (record.decided_by, record.decided_why) == ("alex", "seen")
    count = len(driver.events(job.id))
    assert attach(driver, job.id).decision is None  # pasted again: nothing new
    assert len(driver.events(job.id)) == count


def test_a_pasted_id_of_a_call_in_flight_acts_when_that_ends(driver: Driver) -> None:
    """While submitting the state stays; then the oldest paid task is taken and the other told."""
    job = submit_again(driver)
    attach(driver, job.id)
    flying = driver.get(job.id)
    token = driver.row(JOBS, job.id)["lease_token"]
    row = ClaimedSubmission(flying, max(flying.submissions, key=lambda s: s.number))
    applied = driver.report(row, TaskAccepted("second"), token=token)
    assert applied.is_extra_paid
    assert driver.get(job.id).provider_task_id == "pasted"


def test_another_jobs_task_is_refused_by_name(driver: Driver) -> None:
    """A13 by hand: nothing is stored; the conflict says whose it is."""
    owner = driver.add_processing("taken")
    held = driver.add_held()
    with pytest.raises(Conflict, match=owner.id):
        attach(driver, held.id, "taken")
    assert driver.get(held.id) == held
    with pytest.raises(NotFound):
        attach(driver, "job_x")


def test_a_task_that_was_taken_between_look_and_write_leaves_nothing(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A13 by hand, a moment later: the unique key tells, and neither submission nor event of the attempt stays."""
    driver.add_processing("taken")
    held = driver.add_held()
    monkeypatch.setattr(attaching, "_require_free", lambda *_: None)  # it was free when it was looked at
    with pytest.raises(Conflict):
        attach(driver, held.id, "taken")
    assert driver.get(held.id) == held


@pytest.mark.parametrize("task_id", ["", "a b", "x" * 257])
def test_only_a_word_is_attached(driver: Driver, task_id: str) -> None:
    """What no address can carry would be asked about for ever."""
    held = driver.add_held()
    with pytest.raises(InvalidParams):
        attach(driver, held.id, task_id)
    assert driver.get(held.id) == held


def test_a_job_that_was_never_sent_gets_an_adopted_submission(driver: Driver) -> None:
    """Queued without a call of ours: the task is used, nothing is ever sent, and the slot is counted."""
    (job_id,) = driver.add_many(1)
    attach(driver, job_id)
    job = driver.get(job_id)
    assert (job.state, job.provider_task_id, job.submission_count) == (State.PROCESSING, "pasted", 1)
    (record,) = driver.history.list_submissions(job_id)
    assert (record.submission.origin, record.price) == (Origin.ADOPTED, None)
    driver.add_many(1)
    assert driver.claim(slots={"*": 1}) == ()
    assert len(driver.claim(slots={"*": 2})) == 1


def test_kinds_that_are_answered_at_once_have_no_task(driver: Driver) -> None:
    """Attach on an immediate kind: a clear conflict; nothing changes."""
    for kind, model in (("transcription", "glm-asr-2512"), ("image", "cogview-4")):
        job = driver.add_held(kind=kind, model=model)
        with pytest.raises(Conflict, match="answered at once"):
            attach(driver, job.id)
        assert driver.get(job.id) == job
    job = driver.add_held(kind="image", model="glm-image")
    assert attach(driver, job.id).decision is not None


# -- resubmit: two at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(3))
def test_twenty_who_press_resubmit_make_one_submission(driver: Driver, database_url: str, round_: int) -> None:
    """A21: one wins, nineteen are told, one paid call follows."""
    job = driver.add_held()
    driver.clock.advance(HOUR)
    together = Barrier(PRESSERS)
    clock = FakeClock(driver.clock.now())

    def press(number: int) -> str:
        with closing(open_database(database_url, clock=clock)) as database:
            jobs = SqlJobs(replace(database, asks_server_time=False))
            together.wait()
            try:
                resubmit_job(jobs, job.id, rules=driver.rules, actor=f"person-{number}", reason="")
            except Conflict:
                return "told"
            return "won"

    with ThreadPoolExecutor(PRESSERS) as pool:
        answers = list(pool.map(press, range(PRESSERS)))
    assert sorted(answers) == ["told"] * (PRESSERS - 1) + ["won"]
    assert driver.events(job.id).count("resubmit") == 1
    assert len(driver.claim()) == 1
    assert driver.claim() == ()
    assert len(driver.rows(SUBMISSIONS)) == 2


def test_a_late_press_after_the_next_doubt_waits(driver: Driver) -> None:
    """The second press came a moment later, when the new call was unexplained too: the waiting time stands before it."""
    job = queue_again(driver)
    driver.report(driver.claim_one(), Unknown("read_timeout", "no answer"))
    with pytest.raises(Conflict, match="too recently"):
        resubmit(driver, job.id)


# -- the policy ----------------------------------------------------------------------------------------------------


def press_by_policy(driver: Driver, job_id: str, *, cap: int) -> bool:
    def change(held: HeldUnknown, now: datetime) -> Decision | None:
        return decide_policy_resubmit(held.job, driver.rules, now, done_count=held.resubmission_count, cap=cap)

    return driver.jobs.resubmit_held(job_id, change, actor="policy", reason="").decision is not None


def test_the_cap_counts_the_policys_own_presses(driver: Driver) -> None:
    """A person's resubmission is not one of them; each of the policy's is an event of its own."""
    job = queue_again(driver)
    pressed = []
    for _ in range(4):
        driver.report(driver.claim_one(), Unknown("read_timeout", "no answer"))
        driver.clock.advance(HOUR)
        pressed.append(press_by_policy(driver, job.id, cap=2))
        if not pressed[-1]:
            break
    assert pressed == [True, True, False]
    actors = [event.actor for event in driver.history.list_events(job.id) if event.type == "resubmit"]
    assert actors == ["alex", "policy", "policy"]


def test_only_what_a_call_holds_is_looked_at(driver: Driver) -> None:
    """Candidates: held, an unsettled unknown, no cancel flag; by id, in pages."""
    held = [driver.add_held().id for _ in range(3)]
    cancelled = driver.add_held().id
    queue_again(driver)
    with driver.database.begin_write() as connection:
        flag = update(JOBS).where(JOBS.c.id == cancelled).values(cancel_requested_at=driver.clock.now())
        connection.execute(flag)
    assert list(driver.jobs.list_held_unknown(after="", limit=2)) == held[:2]
    assert list(driver.jobs.list_held_unknown(after=held[1], limit=2)) == held[2:]


# -- adopt ---------------------------------------------------------------------------------------------------------


def make_adoption(task_id: str = "elsewhere") -> Adoption:
    batch = make_batch(identity_sha256=f"{task_id:0>64}")
    job = make_new_job(price=None, body={}, line_number=1)
    return Adoption(batch, job, task_id, timedelta(hours=1), "alex", "made in the console")


def test_an_adopted_task_is_a_job_in_processing(driver: Driver) -> None:
    """No price of ours; it counts for slots; its history says who."""
    adopted = driver.jobs.adopt(make_adoption())
    job = driver.get(adopted.job_id)
    assert (adopted.is_new, job.state, job.provider_task_id) == (True, State.PROCESSING, "elsewhere")
    assert (job.price, job.cost_final_micros) == (None, None)
    (event,) = driver.history.list_events(job.id)
    assert (event.type, event.from_state, event.actor, event.reason) == ("adopted", None, "alex", "made in the console")
    (submission,) = job.submissions
    assert (submission.origin, submission.verdict) == (Origin.ADOPTED, Verdict.ACCEPTED)
    driver.add_many(1)
    assert driver.jobs.claim_submissions(make_window(slots={"*": 1})).rows == ()
    driver.finish_poll(job.id, OutputsReady((make_draft(),)))
    assert driver.state(job.id) is State.ARCHIVING
    assert len(driver.jobs.claim_submissions(make_window(slots={"*": 1})).rows) == 1


def test_the_same_task_is_the_same_job(driver: Driver) -> None:
    """Adopted twice, and when a job of ours has it."""
    first = driver.jobs.adopt(make_adoption())
    again = driver.jobs.adopt(make_adoption())
    assert (again.job_id, again.is_new) == (first.job_id, False)
    ours = driver.add_processing("ours")
    found = driver.jobs.adopt(make_adoption("ours"))
    assert (found.job_id, found.is_new) == (ours.id, False)


def test_many_who_adopt_one_task_meet_in_one_job(driver: Driver, database_url: str) -> None:
    """The unique keys decide; whoever loses finds the winner's job."""
    together = Barrier(8)

    def take(_: int) -> str:
        with closing(open_database(database_url, clock=FakeClock(driver.clock.now()))) as database:
            jobs = SqlJobs(database)
            together.wait()
            return jobs.adopt(make_adoption()).job_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(take, range(8)))) == 1
    assert len(driver.rows(JOBS)) == 1


def test_a_retry_lets_outputs_ask_from_the_start(driver: Driver) -> None:
    """Design section 6: the ask counts are cleared; else the first dead link would hold the job again at once."""
    job = driver.add_archiving()
    (output,) = job.outputs
    with driver.database.begin_write() as connection:
        spent = update(OUTPUTS).where(OUTPUTS.c.id == output.id).values(ask_count=5, dead_links=["x"])
        connection.execute(spent)
    held = driver.hold(LaneName.ARCHIVE, job.id)
    driver.apply(held, ArchiveStep((OutputLinkDead(output.id, "y", "404"),)))
    assert driver.state(job.id) is State.NEEDS_REVIEW
    retry_job(driver.jobs, job.id, rules=driver.rules, may_charge=False, actor="alex", reason="")
    (again,) = driver.get(job.id).outputs
    assert again.ask_count == 0
    assert "x" in again.dead_links


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_retry_uses_a_whole_answer_that_came_too_late(driver: Driver, end: str) -> None:
    """It is paid for: no new charge, even when one was agreed to; used once."""
    (job_id,) = driver.add_many(1)
    first = driver.claim_one()
    driver.report(first, Unknown("read_timeout", "no answer"))
    driver.clock.advance(HOUR)
    resubmit(driver, job_id)
    if end == "failed":
        driver.report(driver.claim_one(slots={"*": 10}), Rejected("1301", "refused"))
    else:
        driver.jobs.transact(job_id, decide_cancel, actor="ann", reason="")
    assert driver.state(job_id) == end
    assert driver.report_late(first.submission.id, AnswerComplete((make_draft(),))).is_extra_paid
    driver.clock.advance(HOUR)
    applied = retry_job(driver.jobs, job_id, rules=driver.rules, may_charge=True, actor="ann", reason="")
    assert applied.decision is not None
    assert (driver.state(job_id), len(driver.get(job_id).outputs)) == (State.ARCHIVING, 1)
    assert not any(submission.is_paid_and_open for submission in driver.get(job_id).submissions)
    assert driver.claim(slots={"*": 10}) == ()


def test_late_truth_leaves_standing_who_decided(driver: Driver) -> None:
    """The ledger says who resubmitted, also once the first try's task has turned up."""
    (job_id,) = driver.add_many(1)
    first = driver.claim_one()
    driver.report(first, Unknown("read_timeout", "no answer"))
    driver.clock.advance(HOUR)
    resubmit(driver, job_id)
    decided = driver.get(job_id).submissions[0].decided_by
    driver.report_late(first.submission.id, TaskAccepted("T1"))
    submission = driver.get(job_id).submissions[0]
    assert (submission.task_id, submission.decided_by) == ("T1", decided)
    assert decided is not None

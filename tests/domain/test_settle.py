"""Evidence settles its own submission; the job moves by all of them (design section 6), in every state."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from orchestrator.domain.decide import Decision, Evidence, decide, is_moved_by_repeats, settle_ended, settle_late
from orchestrator.domain.decide.late import settle
from orchestrator.domain.job import FinalAnswer, Job, Submission
from orchestrator.domain.outcomes import AnswerComplete, PollOutcome, ProviderFailed, TaskAccepted, TaskMissing
from orchestrator.domain.states import State, Trigger
from tests.domain.samples import (
    NOW,
    RNG,
    RULES,
    SECOND,
    SUBMIT_OUTCOMES,
    VERDICTS,
    job_in,
    make_output,
    make_submission,
)

PAID = ("task accepted", "answer complete")
Move = tuple[Trigger, State]


def tried(number: int, name: str) -> Submission:
    """A submission on which this outcome has been stored."""
    outcome = SUBMIT_OUTCOMES[name]
    return make_submission(
        number,
        verdict=VERDICTS[name],
        task_id=f"task-{number}" if isinstance(outcome, TaskAccepted) else None,
        result=outcome.outputs if isinstance(outcome, AnswerComplete) else (),
        provider_code=getattr(outcome, "code", None),
        message=getattr(outcome, "message", None),
    )


def evidence(number: int, name: str) -> Evidence:
    outcome = SUBMIT_OUTCOMES[name]
    return Evidence(f"sub_{number}", TaskAccepted(f"task-{number}") if isinstance(outcome, TaskAccepted) else outcome)


def own(job: Job, about: Evidence) -> Decision | None:
    return settle(job, about, RULES, NOW, RNG)


def late(job: Job, about: Evidence) -> Decision | None:
    return settle_late(job, about, RULES, NOW, RNG)


def move(decision: Decision | None) -> Move | None:
    return (decision.trigger, decision.target) if decision else None


def closed(submission: Submission, answer: FinalAnswer = FinalAnswer.SUCCESS) -> Submission:
    return replace(submission, final_at=NOW, final_answer=answer)


def superseded(submission: Submission) -> Submission:
    return replace(submission, superseded_at=NOW)


# -- one submission ----------------------------------------------------------------------------------------------

OWN: dict[str, Move] = {
    "task accepted": (Trigger.SUBMITTED, State.PROCESSING),
    "answer complete": (Trigger.OUTPUTS_READY, State.ARCHIVING),
    "not sent": (Trigger.NOT_SENT, State.QUEUED),
    "throttled": (Trigger.THROTTLED, State.QUEUED),
    "account refused": (Trigger.REFUSED, State.QUEUED),
    "rejected": (Trigger.REJECTED, State.FAILED),
    "failed at submit": (Trigger.PROVIDER_FAILED, State.FAILED),
    "unknown": (Trigger.UNKNOWN, State.NEEDS_REVIEW),
    "input missing": (Trigger.INPUT_MISSING, State.FAILED),
    "input changed": (Trigger.INPUT_CHANGED, State.FAILED),
}
HELD: dict[str, Move | None] = {
    "task accepted": (Trigger.LATE_TASK_ID, State.PROCESSING),
    "answer complete": (Trigger.LATE_ANSWER, State.ARCHIVING),
    "not sent": (Trigger.NOT_SENT, State.QUEUED),
    "throttled": (Trigger.THROTTLED, State.QUEUED),
    "account refused": (Trigger.REFUSED, State.QUEUED),
    "rejected": (Trigger.REJECTED, State.FAILED),
    "failed at submit": (Trigger.PROVIDER_FAILED, State.FAILED),
    "unknown": None,
    "input missing": (Trigger.NOT_SENT, State.QUEUED),
    "input changed": (Trigger.NOT_SENT, State.QUEUED),
}
ONLY_PAID: dict[str, Move | None] = {name: HELD[name] if name in PAID else None for name in SUBMIT_OUTCOMES}
NOTHING: dict[str, Move | None] = dict.fromkeys(SUBMIT_OUTCOMES)

LATE: dict[State, dict[str, Move | None]] = {
    State.QUEUED: ONLY_PAID,
    State.SUBMITTING: {**OWN},
    State.PROCESSING: NOTHING,
    State.ARCHIVING: NOTHING,
    State.SUCCEEDED: NOTHING,
    State.FAILED: ONLY_PAID,
    State.CANCELLED: NOTHING,
    State.NEEDS_REVIEW: HELD,
}


@pytest.mark.parametrize("name", SUBMIT_OUTCOMES)
def test_the_holders_own_apply_moves_by_the_outcome(name: str) -> None:
    """One submission: the submit rows of design section 6."""
    assert move(own(job_in(State.SUBMITTING, submissions=(tried(1, name),)), evidence(1, name))) == OWN[name]


@pytest.mark.parametrize(("state", "name"), list(itertools.product(State, SUBMIT_OUTCOMES)))
def test_late_evidence_about_the_only_submission(state: State, name: str) -> None:
    """Every state: promise 4, late truth is used where it can act and kept where it cannot."""
    job = job_in(state, submissions=(tried(1, name),), outputs=())
    assert move(late(replace(job, provider_task_id=None), evidence(1, name))) == LATE[state][name]


@pytest.mark.parametrize("name", PAID)
def test_only_a_written_off_failure_takes_late_truth(name: str) -> None:
    """Design section 6: queued, failed(written_off); a job that failed for another reason keeps its end."""
    job = job_in(State.FAILED, failure_code="provider_failed", submissions=(tried(1, name),))
    assert late(job, evidence(1, name)) is None


@pytest.mark.parametrize("name", [name for name, moved in HELD.items() if moved])
def test_late_truth_is_due_at_once_and_clears_the_end(name: str) -> None:
    """Design section 6: due now; no trace of a failure stays on a job that goes on."""
    decision = late(job_in(State.NEEDS_REVIEW, submissions=(tried(1, name),)), evidence(1, name))
    assert decision is not None
    assert decision.due_at in (NOW, None)
    assert (decision.due_at is None) == (decision.target is State.FAILED)
    if decision.target in (State.PROCESSING, State.ARCHIVING):
        assert (decision.patch["finished_at"], decision.patch["failure_code"]) == (None, None)


@pytest.mark.parametrize("name", PAID)
def test_a_written_off_job_comes_back_whole(name: str) -> None:
    """Failed(written_off) -> processing or archiving, at its price."""
    decision = late(job_in(State.FAILED, submissions=(tried(1, name),)), evidence(1, name))
    assert decision is not None
    patch = decision.patch
    assert (patch["finished_at"], patch["failure_code"], patch["failure_message"]) == (None, None, None)
    assert patch["cost_final_micros"] == 200_000


# -- under a cancel ----------------------------------------------------------------------------------------------

CANCELLED = (Trigger.CANCELLED, State.CANCELLED)
UNDER_CANCEL: dict[str, Move | None] = HELD | {
    "not sent": CANCELLED,
    "throttled": CANCELLED,
    "account refused": CANCELLED,
    "input missing": CANCELLED,
    "input changed": CANCELLED,
}


@pytest.mark.parametrize("name", SUBMIT_OUTCOMES)
def test_late_evidence_for_a_held_job_under_a_cancel(name: str) -> None:
    """Unknown keeps the flag; a late not_sent or refusal there cancels; a task id goes on to the end."""
    job = job_in(State.NEEDS_REVIEW, cancel_requested_at=NOW, submissions=(tried(1, name),))
    assert move(late(job, evidence(1, name))) == UNDER_CANCEL[name]


def test_holding_a_job_keeps_the_cancel_flag() -> None:
    """Unknown -> needs_review with the flag kept."""
    decision = own(
        job_in(State.SUBMITTING, cancel_requested_at=NOW, submissions=(tried(1, "unknown"),)), evidence(1, "unknown")
    )
    assert decision is not None
    assert "cancel_requested_at" not in decision.patch


# -- several submissions -----------------------------------------------------------------------------------------

SEVERAL: dict[str, tuple[tuple[Submission, ...], Move]] = {
    "an older task is open: it wins over a refusal": (
        (tried(1, "task accepted"), tried(2, "rejected")),
        (Trigger.SUBMITTED, State.PROCESSING),
    ),
    "an older task is open: it wins over an unknown": (
        (tried(1, "task accepted"), tried(2, "unknown")),
        (Trigger.SUBMITTED, State.PROCESSING),
    ),
    "an older full answer is open": (
        (tried(1, "answer complete"), tried(2, "not sent")),
        (Trigger.OUTPUTS_READY, State.ARCHIVING),
    ),
    "two tasks are open": (
        (tried(1, "task accepted"), tried(2, "task accepted")),
        (Trigger.SUBMITTED, State.PROCESSING),
    ),
    "a superseded one turned out to be paid": (
        (superseded(tried(1, "task accepted")), tried(2, "throttled")),
        (Trigger.SUBMITTED, State.PROCESSING),
    ),
    "an older unknown holds what a refusal would queue": (
        (tried(1, "unknown"), tried(2, "throttled")),
        (Trigger.UNKNOWN, State.NEEDS_REVIEW),
    ),
    "an older unknown holds what a rejection would fail": (
        (tried(1, "unknown"), tried(2, "rejected")),
        (Trigger.UNKNOWN, State.NEEDS_REVIEW),
    ),
    "a superseded unknown holds nothing": (
        (superseded(tried(1, "unknown")), tried(2, "throttled")),
        (Trigger.THROTTLED, State.QUEUED),
    ),
    "an ended task holds nothing": (
        (closed(tried(1, "task accepted"), FinalAnswer.FAIL), tried(2, "rejected")),
        (Trigger.REJECTED, State.FAILED),
    ),
    "an ended task does not hide an unknown": (
        (closed(tried(1, "task accepted")), tried(2, "unknown")),
        (Trigger.UNKNOWN, State.NEEDS_REVIEW),
    ),
    "refusals all the way": (
        (tried(1, "throttled"), tried(2, "not sent"), tried(3, "account refused")),
        (Trigger.REFUSED, State.QUEUED),
    ),
}


@pytest.mark.parametrize(("submissions", "expected"), SEVERAL.values(), ids=SEVERAL.keys())
@pytest.mark.parametrize("order", [1, -1])
def test_the_holders_apply_asks_all_submissions(
    submissions: tuple[Submission, ...], expected: Move, order: int
) -> None:
    """(1) an open paid one, (2) an unsettled unknown, (3) the newest verdict - whatever order they are loaded in."""
    newest = submissions[-1]
    name = next(name for name, verdict in VERDICTS.items() if verdict is newest.verdict)
    job = job_in(State.SUBMITTING, submissions=submissions[::order])
    assert move(own(job, evidence(newest.number, name))) == expected


def test_the_oldest_open_task_is_taken() -> None:
    """Design section 6: on the oldest such."""
    decision = own(
        job_in(State.SUBMITTING, submissions=(tried(1, "task accepted"), tried(2, "task accepted"))),
        evidence(2, "task accepted"),
    )
    assert decision is not None
    assert decision.patch["provider_task_id"] == "task-1"


HELD_SEVERAL: dict[str, tuple[tuple[Submission, ...], Evidence, Move | None]] = {
    "the older one is cleared, the newer was rejected": (
        (tried(1, "not sent"), tried(2, "rejected")),
        evidence(1, "not sent"),
        (Trigger.REJECTED, State.FAILED),
    ),
    "the older one is cleared, the newer was throttled": (
        (tried(1, "rejected"), tried(2, "throttled")),
        evidence(1, "rejected"),
        (Trigger.NOT_SENT, State.QUEUED),
    ),
    "the older one is cleared, the newer failed at submit": (
        (tried(1, "not sent"), tried(2, "failed at submit")),
        evidence(1, "not sent"),
        (Trigger.PROVIDER_FAILED, State.FAILED),
    ),
    "one of two unknowns is cleared": (
        (tried(1, "unknown"), tried(2, "not sent")),
        evidence(2, "not sent"),
        None,
    ),
    "an id for the older of two unknowns": (
        (tried(1, "task accepted"), tried(2, "unknown")),
        evidence(1, "task accepted"),
        (Trigger.LATE_TASK_ID, State.PROCESSING),
    ),
    "held because its task gave nothing usable; news of an older try": (
        (superseded(tried(1, "not sent")), closed(tried(2, "task accepted"))),
        evidence(1, "not sent"),
        None,
    ),
    "held because its task gave nothing usable; its own answer again": (
        (closed(tried(1, "task accepted")),),
        evidence(1, "task accepted"),
        None,
    ),
    "the newest is superseded": (
        (tried(1, "not sent"), superseded(tried(2, "unknown"))),
        evidence(1, "not sent"),
        None,
    ),
}


@pytest.mark.parametrize(("submissions", "about", "expected"), HELD_SEVERAL.values(), ids=HELD_SEVERAL.keys())
def test_late_evidence_for_a_held_job_with_several_tries(
    submissions: tuple[Submission, ...], about: Evidence, expected: Move | None
) -> None:
    """Needs_review moves by all submissions; what was known already moves nothing, least of all to a new charge."""
    assert move(late(job_in(State.NEEDS_REVIEW, submissions=submissions), about)) == expected


@pytest.mark.parametrize("name", SUBMIT_OUTCOMES)
def test_while_a_call_is_in_flight_older_news_waits(name: str) -> None:
    """Design section 6: stored, and the state stays; it acts when the call in flight is applied."""
    job = job_in(State.SUBMITTING, submissions=(tried(1, name), make_submission(2)))
    assert late(job, evidence(1, name)) is None


@pytest.mark.parametrize("name", PAID)
def test_a_queued_job_with_a_late_id_is_never_sent_again(name: str) -> None:
    """Promise 2: queued after a resubmission, then the first try turns out to have landed."""
    job = job_in(State.QUEUED, submissions=(superseded(tried(1, name)), tried(2, "throttled")))
    assert move(late(job, evidence(1, name))) == HELD[name]


@pytest.mark.parametrize("state", [State.QUEUED, State.FAILED, State.NEEDS_REVIEW])
@pytest.mark.parametrize("answer", FinalAnswer)
def test_a_task_that_has_ended_is_not_taken_up_again(state: State, answer: FinalAnswer) -> None:
    """A replayed journal says again what was known: the job that was retried as a new charge stays where it is."""
    job = job_in(state, submissions=(closed(tried(1, "task accepted"), answer),))
    assert late(job, evidence(1, "task accepted")) is None


@pytest.mark.parametrize("state", [State.QUEUED, State.FAILED])
@pytest.mark.parametrize("newest", ["unknown", "throttled", "rejected"])
def test_out_of_queued_and_failed_only_an_open_task_leads(state: State, newest: str) -> None:
    """What the other submissions say has moved the job already; the repeated news of an ended task adds nothing."""
    job = job_in(state, submissions=(closed(tried(1, "task accepted")), tried(2, newest)))
    assert late(job, evidence(1, "task accepted")) is None


def test_a_poisoned_job_is_not_sent_back_by_its_own_answer() -> None:
    """B9: its task is open and attached; the journal of the worker that it killed brings no news."""
    job = job_in(State.NEEDS_REVIEW, provider_task_id="task-1", submissions=(tried(1, "task accepted"),))
    assert late(job, evidence(1, "task accepted")) is None


@pytest.mark.parametrize("state", State)
def test_no_evidence_ends_in_a_move_that_is_not_listed(state: State) -> None:
    """Total: two submissions with any verdicts, evidence about either, in any state, never raises."""
    for first, second in itertools.product(SUBMIT_OUTCOMES, repeat=2):
        job = job_in(state, submissions=(tried(1, first), tried(2, second)), provider_task_id=None)
        for about in (evidence(1, first), evidence(2, second)):
            decision = late(job, about)
            assert decision is None or decision.source is state


def test_a_late_throttle_pauses_the_model_only_when_it_is_news() -> None:
    """A verdict read again from its row sets no pause: its time has passed."""
    job = job_in(State.NEEDS_REVIEW, submissions=(tried(1, "throttled"), tried(2, "throttled")))
    news, old = late(job, evidence(2, "throttled")), late(job, evidence(1, "throttled"))
    assert news is not None
    assert old is not None
    assert (news.pause is None, old.pause is None) == (False, True)
    assert news.due_at == old.due_at == NOW
    assert news.pause is not None
    assert news.pause.until == NOW + 10 * SECOND


@pytest.mark.parametrize("name", ["throttled", "not sent", "rejected"])
def test_an_old_refusal_does_not_touch_a_job_held_for_its_task(name: str) -> None:
    """Its task gave nothing usable, or its step killed workers; a journal repeats what another call was told."""
    ended = job_in(
        State.NEEDS_REVIEW,
        provider_task_id="task-1",
        submissions=(closed(tried(1, "task accepted")), tried(2, name)),
    )
    assert late(ended, evidence(2, name)) is None
    poisoned = job_in(
        State.NEEDS_REVIEW, provider_task_id="task-2", submissions=(tried(1, name), tried(2, "task accepted"))
    )
    assert late(poisoned, evidence(1, name)) is None


# -- a task that ended without a result, while other calls of the job are not explained ---------------------------

ENDS: dict[str, tuple[PollOutcome, Trigger]] = {
    "FAIL": (ProviderFailed("1301", "sensitive"), Trigger.PROVIDER_FAILED),
    "lost": (TaskMissing("1231", "no such task"), Trigger.RESULT_LOST),
}
OTHERS: dict[str, tuple[tuple[Submission, ...], State]] = {
    "it was the only call": ((), State.FAILED),
    "another was refused": ((tried(2, "throttled"),), State.FAILED),
    "another is superseded": ((superseded(tried(2, "unknown")),), State.FAILED),
    "another ended too": ((closed(tried(2, "task accepted"), FinalAnswer.FAIL),), State.FAILED),
    "another is unexplained": ((tried(2, "unknown"),), State.NEEDS_REVIEW),
    "another task runs": ((tried(2, "task accepted"),), State.PROCESSING),
    "one runs and one is unexplained": ((tried(2, "unknown"), tried(3, "task accepted")), State.PROCESSING),
}


def ended_job(others: tuple[Submission, ...]) -> Job:
    return job_in(
        State.PROCESSING,
        provider_task_id="task-1",
        missing_since=NOW - RULES.result_lost_after,
        submissions=(tried(1, "task accepted"), *others),
        submission_count=1 + len(others),
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("others", "target"), OTHERS.values(), ids=OTHERS.keys())
def test_an_ended_task_fails_a_job_only_when_no_other_call_can_bring_its_result(
    others: tuple[Submission, ...], target: State, end: str
) -> None:
    """Promise 3: never under `failed` while a call of it may have been taken or its paid task runs."""
    outcome, trigger = ENDS[end]
    job = ended_job(others)
    first = decide(job, outcome, RULES, NOW, RNG)
    decision = settle_ended(job, first, NOW)
    assert (decision.trigger, decision.target) == (trigger, target)
    assert decision.final_answer is first.final_answer, "the ended call is closed whatever becomes of the job"


def test_the_job_asks_about_its_other_task_at_once() -> None:
    """The oldest that has not ended, from a clean sheet, and the history says why."""
    job = ended_job((tried(2, "task accepted"), tried(3, "task accepted")))
    decision = settle_ended(job, decide(job, ENDS["lost"][0], RULES, NOW, RNG), NOW)
    assert (decision.patch["provider_task_id"], decision.due_at) == ("task-2", NOW)
    assert decision.patch["missing_since"] is None
    assert "task-2" in decision.reason
    assert "failure_code" not in decision.patch


def test_a_job_held_by_its_other_call_is_settled_by_that_call() -> None:
    """A late refusal of the other call ends the job by its task's end, when that was the newer call; never a charge."""
    job = ended_job((tried(2, "unknown"),))
    decision = settle_ended(job, decide(job, ENDS["FAIL"][0], RULES, NOW, RNG), NOW)
    assert decision.patch["provider_task_id"] is None, "the hold is for the call, not for the task"
    assert "call 2" in decision.reason
    for answer, move_expected in (
        (FinalAnswer.FAIL, (Trigger.PROVIDER_FAILED, State.FAILED)),
        (FinalAnswer.LOST, (Trigger.RESULT_LOST, State.FAILED)),
    ):
        held = job_in(
            State.NEEDS_REVIEW, submissions=(tried(1, "throttled"), closed(tried(2, "task accepted"), answer))
        )
        assert move(late(held, evidence(1, "throttled"))) == move_expected


def test_what_a_held_job_knew_before_does_not_move_it() -> None:
    """B9: held for its task or its outputs. Held for a call, a repeat acts: a replaced worker's own answer does."""
    assert not is_moved_by_repeats(job_in(State.NEEDS_REVIEW, provider_task_id="task-1"))
    assert is_moved_by_repeats(job_in(State.NEEDS_REVIEW, provider_task_id=None))
    assert is_moved_by_repeats(job_in(State.QUEUED))


def test_a_hold_ends_with_the_loss_of_what_its_newest_task_made() -> None:
    """The older call was refused after all; the newest one's task had succeeded, and its file is gone."""
    lost = make_output(0, is_lost=True)
    calls = (tried(1, "throttled"), closed(tried(2, "task accepted")))
    job = job_in(State.NEEDS_REVIEW, submissions=calls, outputs=(lost,))
    decision = late(job, evidence(1, "throttled"))
    assert move(decision) == (Trigger.OUTPUT_EXPIRED, State.FAILED)
    assert decision is not None
    assert decision.patch["failure_code"] == "output_expired"

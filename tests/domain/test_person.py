"""What a person may ask of a job, and the policy that stands in for one, in every state (design section 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.decide import (
    Decision,
    choose_submission,
    decide_cancel,
    decide_poisoned,
    decide_policy_resubmit,
    decide_resubmit,
    decide_retry,
    decide_write_off,
)
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import (
    DUPLICATE_TASK_ID,
    RESTORED_IN_DOUBT,
    FinalAnswer,
    Job,
    Origin,
    Output,
    Role,
    Submission,
    Verdict,
)
from orchestrator.domain.states import State, Trigger
from tests.domain.samples import (
    HOUR,
    NOW,
    RULES,
    SECOND,
    TASK,
    TEXT,
    job_in,
    make_file,
    make_output,
    make_submission,
    sha,
)

RETRYABLE = (State.FAILED, State.CANCELLED, State.NEEDS_REVIEW)
STORED = make_output(0, stored=make_file())
LIVE = make_output(1, source_expires_at=NOW + HOUR)
PAST = make_output(1, source_expires_at=NOW)
DEAD = replace(LIVE, dead_links=(sha("https://cdn.example/1.mp4"),))
LOST = replace(LIVE, is_lost=True)
TEXT_OUTPUT = make_output(1, Role.TRANSCRIPT, source_url=None, text=TEXT.text)
COVER = make_output(2, Role.COVER, is_lost=True)


def ended(state: State, **changes: Any) -> Job:  # noqa: ANN401 - any field by name
    """A job that ended in `state`, with a task and no outputs."""
    fields = {"provider_task_id": TASK, "outputs": (), "failure_code": "provider_failed"}
    return job_in(state, **(fields | changes))


def retry(job: Job, answer: FinalAnswer | None = None, *, may_charge: bool = False) -> Decision:
    return decide_retry(job, RULES, NOW, last_final_answer=answer, may_charge=may_charge)


# -- cancel ------------------------------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once() -> None:
    """Queued -> cancelled, for nothing."""
    decision = decide_cancel(job_in(State.QUEUED), NOW)
    assert decision is not None
    assert (decision.trigger, decision.target, decision.due_at) == (Trigger.CANCELLED, State.CANCELLED, None)
    assert (decision.patch["finished_at"], decision.patch["cost_final_micros"]) == (NOW, 0)


def test_cancelling_a_resubmitted_job_does_not_claim_that_it_was_free() -> None:
    """Its first submission is unexplained: the cost is unknown."""
    doubtful = make_submission(1, verdict=Verdict.UNKNOWN, superseded_at=NOW)
    decision = decide_cancel(job_in(State.QUEUED, submissions=(doubtful,)), NOW)
    assert decision is not None
    assert decision.patch["cost_final_micros"] is None


@pytest.mark.parametrize("state", [State.SUBMITTING, State.PROCESSING])
def test_a_paid_task_can_only_be_flagged(state: State) -> None:
    """The provider offers no cancel: the flag is set, nothing moves."""
    assert decide_cancel(job_in(state), NOW) is None


@pytest.mark.parametrize("state", [State.ARCHIVING, State.NEEDS_REVIEW, State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_elsewhere_a_cancel_is_a_conflict(state: State) -> None:
    """Design section 6: in archiving and on needs_review other than by write-off; ended is ended."""
    with pytest.raises(Conflict, match=state) as caught:
        decide_cancel(job_in(state), NOW)
    assert (caught.value.hint is not None) is (state is State.NEEDS_REVIEW)


# -- retry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if state not in RETRYABLE])
def test_only_ended_and_held_jobs_can_be_retried(state: State) -> None:
    """Active and succeeded jobs have nothing to retry."""
    with pytest.raises(Conflict, match=state):
        retry(job_in(state), may_charge=True)


WAYS: dict[str, tuple[tuple[Output, ...], FinalAnswer | None, State]] = {
    "all archived": ((STORED,), FinalAnswer.FAIL, State.SUCCEEDED),
    "all archived but the cover": ((STORED, COVER), FinalAnswer.SUCCESS, State.SUCCEEDED),
    "one archived, one with a live link": ((STORED, LIVE), FinalAnswer.SUCCESS, State.ARCHIVING),
    "a link that does not say when it dies": ((make_output(0),), FinalAnswer.SUCCESS, State.ARCHIVING),
    "stored text": ((TEXT_OUTPUT,), None, State.ARCHIVING),
    "a link past its time": ((STORED, PAST), FinalAnswer.SUCCESS, State.PROCESSING),
    "a link known to be dead": ((STORED, DEAD), FinalAnswer.SUCCESS, State.PROCESSING),
    "no outputs yet": ((), None, State.PROCESSING),
    "only a cover": ((COVER,), FinalAnswer.SUCCESS, State.PROCESSING),
}


@pytest.mark.parametrize("state", RETRYABLE)
@pytest.mark.parametrize(("outputs", "answer", "target"), WAYS.values(), ids=WAYS.keys())
def test_the_first_way_that_holds_is_taken(
    state: State, outputs: tuple[Output, ...], answer: FinalAnswer | None, target: State
) -> None:
    """Archived before fetchable before askable: none of these costs anything, so none asks for consent."""
    decision = retry(ended(state, outputs=outputs), answer)
    assert (decision.trigger, decision.target) == (Trigger.RETRIED, target)
    assert decision.due_at == (None if target is State.SUCCEEDED else NOW)
    assert decision.patch["finished_at"] == (NOW if target is State.SUCCEEDED else None)
    assert not decision.supersedes


SPENT: dict[str, tuple[dict[str, Any], FinalAnswer | None]] = {
    "the provider said FAIL": ({}, FinalAnswer.FAIL),
    "the result is lost": ({"failure_code": "result_lost"}, FinalAnswer.LOST),
    "the output is proven lost": ({"failure_code": "output_expired", "outputs": (LOST,)}, FinalAnswer.SUCCESS),
    "there never was a task": ({"provider_task_id": None}, None),
}


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
@pytest.mark.parametrize(("changes", "answer"), SPENT.values(), ids=SPENT.keys())
def test_a_new_charge_has_to_be_agreed_to(state: State, changes: dict[str, Any], answer: FinalAnswer | None) -> None:
    """Promise 2: from failed and cancelled only, and only when a person agreed to pay again."""
    job = ended(state, submitted_at=NOW - HOUR, **changes)
    with pytest.raises(Conflict, match="new charge"):
        retry(job, answer)
    decision = retry(job, answer, may_charge=True)
    assert (decision.target, decision.due_at, decision.supersedes) == (State.QUEUED, NOW, True)
    patch = decision.patch
    assert (patch["provider_task_id"], patch["submitted_at"], patch["cost_final_micros"]) == (None, None, None)


@pytest.mark.parametrize("may_charge", [False, True])
@pytest.mark.parametrize(("changes", "answer"), SPENT.values(), ids=SPENT.keys())
def test_a_held_job_is_never_paid_for_again_by_a_retry(
    changes: dict[str, Any], answer: FinalAnswer | None, may_charge: bool
) -> None:
    """From needs_review: a conflict that names `resubmit`."""
    with pytest.raises(Conflict) as caught:
        retry(ended(State.NEEDS_REVIEW, **changes), answer, may_charge=may_charge)
    assert "resubmit" in (caught.value.hint or "")


@pytest.mark.parametrize("state", RETRYABLE)
def test_a_retry_starts_from_a_clean_sheet(state: State) -> None:
    """Design section 6: clears the cancel flag, finished_at, failure_code, death and ask counts."""
    patch = retry(ended(state, cancel_requested_at=NOW, death_count=5, ask_count=3)).patch
    assert (patch["death_count"], patch["ask_count"], patch["attempt_count"]) == (0, 0, 0)
    cleared = ("cancel_requested_at", "finished_at", "failure_code", "failure_message", "provider_code", "last_error")
    assert {name: patch[name] for name in cleared} == dict.fromkeys(cleared)  # type: ignore[literal-required]
    assert patch["missing_since"] is None


@pytest.mark.parametrize("state", [State.PROCESSING, State.ARCHIVING])
def test_a_job_that_kills_its_workers_is_held(state: State) -> None:
    """B9: processing, archiving -> needs_review; the paid task is not failed."""
    decision = decide_poisoned(job_in(state, death_count=5), NOW)
    assert (decision.trigger, decision.target, decision.due_at) == (Trigger.POISONED, State.NEEDS_REVIEW, None)
    assert "5" in decision.reason


def test_a_job_that_was_never_submitted_fails_of_poison() -> None:
    """B9: nothing was paid, so nothing is to be looked for."""
    decision = decide_poisoned(job_in(State.QUEUED, death_count=5), NOW)
    assert (decision.target, decision.patch["failure_code"], decision.patch["cost_final_micros"]) == (
        State.FAILED,
        "internal_error",
        0,
    )


def test_a_job_that_was_paid_for_before_does_not_fail_of_poison_for_nothing() -> None:
    """B9: an earlier call was taken, so what the job cost is not zero."""
    paid = make_submission(1, verdict=Verdict.ACCEPTED, task_id=TASK, final_at=NOW, final_answer=FinalAnswer.LOST)
    decision = decide_poisoned(job_in(State.QUEUED, death_count=5, submissions=(paid,)), NOW)
    assert (decision.target, decision.patch["cost_final_micros"]) == (State.FAILED, None)


# -- resubmit and write off ----------------------------------------------------------------------------------------

WAIT = RULES.resubmit_wait_of("video")
LONG_AGO = NOW - WAIT
UNKNOWN = make_submission(1, verdict=Verdict.UNKNOWN, intent_at=LONG_AGO, provider_code="read_timeout")


def held(*submissions: Submission, **changes: Any) -> Job:  # noqa: ANN401 - any field by name
    return job_in(State.NEEDS_REVIEW, submissions=submissions or (UNKNOWN,), **changes)


@pytest.mark.parametrize("state", [state for state in State if state is not State.NEEDS_REVIEW])
def test_only_held_jobs_are_resubmitted_or_written_off(state: State) -> None:
    """Every other state: a conflict that names it."""
    job = job_in(state, submissions=(UNKNOWN,))
    with pytest.raises(Conflict, match=state):
        decide_resubmit(job, RULES, NOW)
    with pytest.raises(Conflict, match=state):
        decide_write_off(job, NOW)


def test_a_resubmission_starts_from_a_clean_sheet_and_supersedes() -> None:
    """Design section 6: clears the cancel flag, finished_at, failure_code, death and ask counts."""
    decision = decide_resubmit(held(cancel_requested_at=NOW, death_count=5, ask_count=3), RULES, NOW)
    assert (decision.trigger, decision.target, decision.due_at) == (Trigger.RESUBMIT, State.QUEUED, NOW)
    assert decision.supersedes
    patch = decision.patch
    assert (patch["death_count"], patch["ask_count"], patch["attempt_count"]) == (0, 0, 0)
    assert (patch["cancel_requested_at"], patch["provider_code"], patch["provider_task_id"]) == (None, None, None)


def test_paying_again_waits_until_no_call_can_be_under_way() -> None:
    """Lease + deadline after the newest intent, and the conflict says how long; the same after a write-off."""
    recent = replace(UNKNOWN, number=2, intent_at=LONG_AGO + 90 * SECOND)
    with pytest.raises(Conflict, match="90 s"):
        decide_resubmit(held(UNKNOWN, recent), RULES, NOW)
    written_off = job_in(State.FAILED, submissions=(recent,))
    with pytest.raises(Conflict, match="90 s"):
        retry(written_off, may_charge=True)
    assert decide_resubmit(held(UNKNOWN), RULES, NOW).target is State.QUEUED
    assert retry(replace(written_off, submissions=(UNKNOWN,)), may_charge=True).target is State.QUEUED


def test_an_adopted_task_is_nobodys_call_here() -> None:
    """It makes nobody wait."""
    adopted = make_submission(2, verdict=Verdict.ACCEPTED, task_id="t", origin=Origin.ADOPTED, intent_at=NOW)
    over = replace(adopted, final_at=NOW, final_answer=FinalAnswer.SUCCESS)
    assert decide_resubmit(held(UNKNOWN, over), RULES, NOW).target is State.QUEUED


def test_what_can_still_be_asked_about_is_not_paid_again() -> None:
    """A poisoned job has a task: retry is free, and the conflict names it."""
    with pytest.raises(Conflict) as caught:
        decide_resubmit(
            held(make_submission(1, verdict=Verdict.ACCEPTED, task_id=TASK, intent_at=LONG_AGO)), RULES, NOW
        )
    assert "jobs retry" in (caught.value.hint or "")


def test_another_paid_task_of_the_job_is_used_before_a_new_charge() -> None:
    """An extra paid task that was stored when the job could not use it."""
    extra = make_submission(1, verdict=Verdict.ACCEPTED, task_id="extra", intent_at=LONG_AGO)
    for state in RETRYABLE:
        decision = retry(ended(state, submissions=(extra,)), FinalAnswer.FAIL)
        assert (decision.target, decision.patch["provider_task_id"]) == (State.PROCESSING, "extra")


def test_what_was_adopted_cannot_be_sent() -> None:
    """There is no request of ours to send: neither resubmit nor retry pays for an empty one."""
    with pytest.raises(Conflict, match="adopted"):
        decide_resubmit(held(body={}), RULES, NOW)
    with pytest.raises(Conflict, match="adopted"):
        retry(ended(State.FAILED, body={}), FinalAnswer.FAIL, may_charge=True)


@pytest.mark.parametrize("cost", [None, 200_000])
def test_a_write_off_leaves_the_cost_as_unknown_as_it_is(cost: int | None) -> None:
    """failed(written_off) with the person's reason; nothing is claimed about the charge."""
    decision = decide_write_off(held(cost_final_micros=cost), NOW, reason="not worth it")
    assert (decision.trigger, decision.target) == (Trigger.WRITTEN_OFF, State.FAILED)
    assert (decision.patch["failure_code"], decision.patch["finished_at"]) == ("written_off", NOW)
    assert "not worth it" in (decision.patch["failure_message"] or "")
    assert decision.patch["cost_final_micros"] == cost
    assert not decision.supersedes


def test_retry_takes_the_paid_task_that_has_not_said_its_last_word() -> None:
    """Its own task has said SUCCESS and gave nothing; asking that again would go round in a circle."""
    other = make_submission(2, verdict=Verdict.ACCEPTED, task_id="task-other")
    job = ended(State.NEEDS_REVIEW, submissions=(other,), failure_code=None)
    decision = decide_retry(job, RULES, NOW, last_final_answer=FinalAnswer.SUCCESS, may_charge=False)
    assert decision.patch["provider_task_id"] == "task-other"
    still_open = decide_retry(job, RULES, NOW, last_final_answer=None, may_charge=False)
    assert "provider_task_id" not in still_open.patch


# -- the policy ----------------------------------------------------------------------------------------------------


def by_policy(job: Job, *, done: int = 0, cap: int = 1) -> Decision | None:
    rules = replace(RULES, landed_codes=frozenset({"1231"}))
    return decide_policy_resubmit(job, rules, NOW, done_count=done, cap=cap)


def test_the_policy_resubmits_what_is_unexplained() -> None:
    """ON_UNKNOWN=resubmit: as a person would, and superseding."""
    decision = by_policy(held())
    assert decision is not None
    assert (decision.trigger, decision.target, decision.supersedes) == (Trigger.RESUBMIT, State.QUEUED, True)


KEPT: dict[str, Job] = {
    "another state": job_in(State.FAILED, submissions=(UNKNOWN,)),
    "evidence that it landed": held(replace(UNKNOWN, provider_code="1231")),
    "another's task in the answer": held(replace(UNKNOWN, provider_code=DUPLICATE_TASK_ID)),
    "held by a restore": held(provider_code=RESTORED_IN_DOUBT),
    "unknown only since a restore": held(replace(UNKNOWN, provider_code=RESTORED_IN_DOUBT)),
    "cancelled": held(cancel_requested_at=NOW),
    "too recent": held(replace(UNKNOWN, intent_at=LONG_AGO + SECOND)),
    "decided already": held(replace(UNKNOWN, superseded_at=NOW)),
    "poisoned, its task open": held(make_submission(1, verdict=Verdict.ACCEPTED, task_id=TASK, intent_at=LONG_AGO)),
    "nothing usable": held(
        make_submission(
            1,
            verdict=Verdict.ACCEPTED,
            task_id=TASK,
            intent_at=LONG_AGO,
            final_at=NOW,
            final_answer=FinalAnswer.SUCCESS,
        )
    ),
    "held for its task, an unknown beside it": held(
        UNKNOWN,
        make_submission(
            2,
            verdict=Verdict.ACCEPTED,
            task_id=TASK,
            intent_at=LONG_AGO,
            final_at=NOW,
            final_answer=FinalAnswer.SUCCESS,
        ),
        provider_task_id=TASK,
    ),
    "its task has failed, an unknown beside it": held(
        UNKNOWN,
        make_submission(
            2,
            verdict=Verdict.ACCEPTED,
            task_id=TASK,
            intent_at=LONG_AGO,
            final_at=NOW,
            final_answer=FinalAnswer.FAIL,
        ),
    ),
    "an open task beside the unknown": held(
        UNKNOWN, make_submission(2, verdict=Verdict.ACCEPTED, task_id=TASK, intent_at=LONG_AGO)
    ),
}


@pytest.mark.parametrize("job", KEPT.values(), ids=KEPT.keys())
def test_the_policy_keeps_its_hands_off(job: Job) -> None:
    """It may pay twice, so it acts only where nothing speaks against it."""
    assert by_policy(job, cap=9) is None


@pytest.mark.parametrize(("done", "cap", "acts"), [(0, 0, False), (0, 1, True), (1, 1, False), (1, 2, True)])
def test_the_policy_has_a_cap(done: int, cap: int, acts: bool) -> None:
    """RESUBMIT_MAX per job."""
    assert (by_policy(held(), done=done, cap=cap) is not None) is acts


# -- attach --------------------------------------------------------------------------------------------------------

SETTLED = replace(UNKNOWN, superseded_at=NOW)
REFUSED = make_submission(2, verdict=Verdict.NOT_SENT)


@pytest.mark.parametrize("state", list(State))
def test_an_unexplained_call_takes_the_id_in_every_state(state: State) -> None:
    """Evidence is stored, whatever has become of the job since; where it acts is settle_late's."""
    assert choose_submission(job_in(state, submissions=(SETTLED, REFUSED)), "t") == SETTLED


def test_the_newest_unsettled_call_is_meant() -> None:
    """An unsettled one before one that was decided."""
    newer = replace(SETTLED, id="sub_2", number=2)
    assert choose_submission(held(UNKNOWN, newer), "t") == UNKNOWN


@pytest.mark.parametrize(
    ("job", "acts"),
    [
        (job_in(State.QUEUED), True),
        (job_in(State.NEEDS_REVIEW), True),
        (job_in(State.FAILED), True),
        (job_in(State.FAILED, failure_code="content_policy"), False),
        (job_in(State.SUBMITTING, submissions=(make_submission(1),)), False),
        (job_in(State.PROCESSING), False),
        (job_in(State.ARCHIVING), False),
        (job_in(State.SUCCEEDED), False),
        (job_in(State.CANCELLED), False),
    ],
)
def test_without_an_unexplained_call_the_id_needs_a_submission_of_its_own(job: Job, acts: bool) -> None:
    """Where it can act it gets one, as an adopted task; elsewhere it is nobody's here: adopt it."""
    if acts:
        assert choose_submission(job, "t") is None
        return
    with pytest.raises(Conflict) as caught:
        choose_submission(job, "t")
    assert ("adopt" in (caught.value.hint or "")) is (job.state is not State.SUBMITTING)


def test_an_id_that_the_job_has_is_its_own() -> None:
    """Pasted twice: the same submission."""
    mine = make_submission(1, verdict=Verdict.ACCEPTED, task_id="t")
    assert choose_submission(job_in(State.PROCESSING, submissions=(mine, UNKNOWN)), "t") == mine


def test_a_held_job_with_an_open_task_is_retried_instead() -> None:
    """The other id would win over nothing: asking again is free."""
    with pytest.raises(Conflict, match="not ended"):
        choose_submission(held(make_submission(1, verdict=Verdict.ACCEPTED, task_id=TASK)), "t")

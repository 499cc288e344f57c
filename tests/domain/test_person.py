"""What a person may ask of a job: cancel and retry, in every state (design section 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.decide import Decision, decide_cancel, decide_poisoned, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import FinalAnswer, Job, Output, Role, Verdict
from orchestrator.domain.states import State, Trigger
from tests.domain.samples import HOUR, NOW, RULES, TASK, TEXT, job_in, make_file, make_output, make_submission, sha

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

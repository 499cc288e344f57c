"""After a restore nothing but a paid answer or a person moves a held job (docs/decisions/0008)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decide import Evidence, decide_cancel, decide_retry, settle_late
from orchestrator.domain.decide.restore import HOLDABLE, REASON, decide_restore_hold, decide_restore_release
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import RESTORED_CODES, RESTORED_IN_DOUBT, RESTORED_QUEUED, Job
from orchestrator.domain.outcomes import AnswerComplete, TaskAccepted
from orchestrator.domain.states import State, Trigger
from tests.domain.samples import NOW, RNG, RULES, SUBMIT_OUTCOMES, TASK, VERDICTS, job_in, make_submission

PAID = {"task accepted": State.PROCESSING, "answer complete": State.ARCHIVING}


def held(code: str = RESTORED_QUEUED, **changes: object) -> Job:
    return job_in(State.NEEDS_REVIEW, provider_code=code, provider_task_id=None, outputs=(), **changes)


@pytest.mark.parametrize("state", sorted(HOLDABLE))
def test_a_hold_says_what_was(state: State) -> None:
    """Only what was queued in the backup can be released later."""
    decision = decide_restore_hold(job_in(state, provider_code="1302"))
    assert (decision.trigger, decision.target, decision.due_at) == (Trigger.RESTORED, State.NEEDS_REVIEW, None)
    assert decision.data == {"was": state, "provider_code": "1302"}
    assert decision.patch["provider_code"] == (RESTORED_QUEUED if state is State.QUEUED else RESTORED_IN_DOUBT)
    assert decision.patch["last_error"] == REASON


def test_what_was_held_already_keeps_its_reason() -> None:
    """The mark keeps a policy and old refusals off it; the evidence of its own call is what a person settles it by."""
    job = job_in(State.NEEDS_REVIEW, provider_code="answer_lost", last_error="answer_lost: reset by peer")
    decision = decide_restore_hold(job)
    assert "last_error" not in decision.patch
    assert (decision.patch["provider_code"], decision.data) == (
        RESTORED_IN_DOUBT,
        {"was": State.NEEDS_REVIEW, "provider_code": "answer_lost"},
    )


@pytest.mark.parametrize("code", sorted(RESTORED_CODES))
@pytest.mark.parametrize("name", SUBMIT_OUTCOMES)
def test_only_a_paid_answer_moves_a_held_job(name: str, code: str) -> None:
    """A refusal of before the backup would queue the job, and it would be paid again."""
    outcome = SUBMIT_OUTCOMES[name]
    submission = make_submission(
        1,
        verdict=VERDICTS[name],
        task_id=TASK if isinstance(outcome, TaskAccepted) else None,
        result=outcome.outputs if isinstance(outcome, AnswerComplete) else (),
    )
    decision = settle_late(held(code, submissions=(submission,)), Evidence("sub_1", outcome), RULES, NOW, RNG)
    assert (decision.target if decision else None) == PAID.get(name)
    if decision:
        assert decision.patch["provider_code"] is None


def test_a_released_job_waits_for_its_own_time() -> None:
    """not_before is the user's; the back-off of before the backup is over."""
    decision = decide_restore_release(held(attempt_count=4), NOW, not_before=None)
    assert (decision.trigger, decision.target, decision.due_at) == (Trigger.RELEASED, State.QUEUED, NOW)
    assert decision.patch["provider_code"] is None
    later = NOW + timedelta(hours=1)
    assert decide_restore_release(held(), NOW, not_before=later).due_at == later
    assert decide_restore_release(held(), NOW, not_before=NOW - timedelta(hours=1)).due_at == NOW


@pytest.mark.parametrize(
    "job", [held(RESTORED_IN_DOUBT), held("lease_lapsed"), replace(held(), state=State.QUEUED)], ids=str
)
def test_nothing_else_is_released(job: Job) -> None:
    """What was being submitted, or was held for a reason of its own, waits for a person's word on that job."""
    with pytest.raises(Conflict):
        decide_restore_release(job, NOW, not_before=None)


def test_a_held_job_can_neither_be_retried_nor_cancelled() -> None:
    """As every held job: a retry could pay twice; cancelling would say that nothing runs."""
    with pytest.raises(Conflict, match="pay twice"):
        decide_retry(held(), RULES, NOW, last_final_answer=None, may_charge=True)
    with pytest.raises(Conflict):
        decide_cancel(held(), NOW)

"""decide(): every pair of state and outcome, with and without a cancel, as design section 6 lists them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decide import IllegalOutcome, PauseLane, decide
from orchestrator.domain.job import FinalAnswer, Job, Verdict
from orchestrator.domain.outcomes import (
    FailedAtSubmit,
    Outcome,
    OutputsReady,
    PauseScope,
    PollFailed,
    ProviderFailed,
    Rejected,
    StillRunning,
    TaskMissing,
    ThrottledNow,
)
from orchestrator.domain.states import ACTIVE, FINAL, State, Trigger
from tests.domain.samples import (
    HOUR,
    MINUTE,
    NOW,
    OUTCOME_TYPES,
    OUTCOMES,
    PRICE,
    RNG,
    RULES,
    SECOND,
    TASK,
    TEXT,
    VIDEO,
    job_in,
    make_submission,
)

Row = tuple[Trigger, State, timedelta | None]

LEGAL: dict[tuple[State, str], Row] = {
    (State.SUBMITTING, "task accepted"): (Trigger.SUBMITTED, State.PROCESSING, 20 * SECOND),
    (State.SUBMITTING, "answer complete"): (Trigger.OUTPUTS_READY, State.ARCHIVING, 0 * SECOND),
    (State.SUBMITTING, "not sent"): (Trigger.NOT_SENT, State.QUEUED, 10 * SECOND),
    (State.SUBMITTING, "throttled"): (Trigger.THROTTLED, State.QUEUED, 10 * SECOND),
    (State.SUBMITTING, "account refused"): (Trigger.REFUSED, State.QUEUED, 5 * MINUTE),
    (State.SUBMITTING, "rejected"): (Trigger.REJECTED, State.FAILED, None),
    (State.SUBMITTING, "failed at submit"): (Trigger.PROVIDER_FAILED, State.FAILED, None),
    (State.SUBMITTING, "unknown"): (Trigger.UNKNOWN, State.NEEDS_REVIEW, None),
    (State.SUBMITTING, "input missing"): (Trigger.INPUT_MISSING, State.FAILED, None),
    (State.SUBMITTING, "input changed"): (Trigger.INPUT_CHANGED, State.FAILED, None),
    (State.PROCESSING, "still running"): (Trigger.STILL_RUNNING, State.PROCESSING, 6 * SECOND),
    (State.PROCESSING, "poll failed"): (Trigger.POLL_FAILED, State.PROCESSING, 10 * SECOND),
    (State.PROCESSING, "task missing"): (Trigger.POLL_FAILED, State.PROCESSING, 10 * SECOND),
    (State.PROCESSING, "outputs ready"): (Trigger.OUTPUTS_READY, State.ARCHIVING, 0 * SECOND),
    (State.PROCESSING, "nothing usable"): (Trigger.POLL_FAILED, State.PROCESSING, 10 * SECOND),
    (State.PROCESSING, "provider failed"): (Trigger.PROVIDER_FAILED, State.FAILED, None),
    (State.ARCHIVING, "archive step"): (Trigger.ARCHIVED, State.SUCCEEDED, None),
}
ILLEGAL = [pair for pair in itertools.product(State, OUTCOMES) if pair not in LEGAL]

CANCELLING: dict[tuple[State, str], Row] = LEGAL | {
    (State.SUBMITTING, "not sent"): (Trigger.CANCELLED, State.CANCELLED, None),
    (State.SUBMITTING, "throttled"): (Trigger.CANCELLED, State.CANCELLED, None),
    (State.SUBMITTING, "account refused"): (Trigger.CANCELLED, State.CANCELLED, None),
    (State.ARCHIVING, "archive step"): (Trigger.CANCELLED, State.CANCELLED, None),
}


def decide_now(job: Job, outcome: Outcome) -> tuple[Row, object]:
    decision = decide(job, outcome, RULES, NOW, RNG)
    wait = None if decision.due_at is None else decision.due_at - NOW
    return (decision.trigger, decision.target, wait), decision


def test_the_table_knows_every_outcome() -> None:
    """A new outcome has to be entered here."""
    assert {type(outcome) for outcome in OUTCOMES.values()} == OUTCOME_TYPES


@pytest.mark.parametrize(("pair", "expected"), LEGAL.items(), ids=lambda value: str(value)[:60])
def test_each_legal_pair_moves_as_designed(pair: tuple[State, str], expected: Row) -> None:
    """Design section 6, row by row."""
    row, _ = decide_now(job_in(pair[0]), OUTCOMES[pair[1]])
    assert row == expected


@pytest.mark.parametrize(("state", "name"), ILLEGAL)
def test_each_illegal_pair_is_a_bug(state: State, name: str) -> None:
    """A lane that reports what cannot happen is stopped, not guessed for."""
    with pytest.raises(IllegalOutcome, match=state):
        decide(job_in(state), OUTCOMES[name], RULES, NOW, RNG)


@pytest.mark.parametrize(("pair", "expected"), CANCELLING.items(), ids=lambda value: str(value)[:60])
def test_each_legal_pair_under_a_cancel(pair: tuple[State, str], expected: Row) -> None:
    """The cancel row of design section 6: never queued again, a paid task goes on to its end, unknown is held."""
    row, _ = decide_now(job_in(pair[0], cancel_requested_at=NOW), OUTCOMES[pair[1]])
    assert row == expected


@pytest.mark.parametrize(("pair", "expected"), [*LEGAL.items(), *CANCELLING.items()])
def test_due_and_finish_go_with_the_state(pair: tuple[State, str], expected: Row) -> None:
    """The CHECKs of the job table hold for every decision: due_at, finished_at, failure_code."""
    is_cancelling = expected[1] is State.CANCELLED
    job = job_in(pair[0], cancel_requested_at=NOW if is_cancelling else None)
    decision = decide(job, OUTCOMES[pair[1]], RULES, NOW, RNG)
    assert (decision.due_at is not None) == (decision.target in ACTIVE)
    assert (decision.patch.get("finished_at") == NOW) == (decision.target in FINAL)
    assert bool(decision.patch.get("failure_code")) == (decision.target is State.FAILED)
    if decision.target is State.PROCESSING:
        assert decision.patch.get("provider_task_id", job.provider_task_id) == TASK


# -- money -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("task accepted", PRICE.micros),
        ("answer complete", PRICE.micros),
        ("rejected", 0),
        ("input missing", 0),
        ("failed at submit", None),
        ("unknown", None),
    ],
)
def test_cost_is_the_price_nothing_or_unknown(name: str, cost: int | None) -> None:
    """Surfaces section 2: table price once accepted, 0 when surely refused, null while unknown or after FAIL."""
    assert decide(job_in(State.SUBMITTING), OUTCOMES[name], RULES, NOW, RNG).patch["cost_final_micros"] == cost


def test_a_sure_refusal_says_nothing_of_an_earlier_doubtful_try() -> None:
    """A job resubmitted on purpose has not cost 0 when only its second try was surely refused."""
    tries = (
        make_submission(1, verdict=Verdict.UNKNOWN, superseded_at=NOW),
        make_submission(2, verdict=Verdict.REJECTED),
    )
    decision = decide(job_in(State.SUBMITTING, submissions=tries), OUTCOMES["rejected"], RULES, NOW, RNG)
    assert decision.patch["cost_final_micros"] is None


def test_a_cancel_that_came_in_time_costs_nothing() -> None:
    """Nothing was taken: cost 0, and the pause is set for the others all the same."""
    decision = decide(job_in(State.SUBMITTING, cancel_requested_at=NOW), OUTCOMES["account refused"], RULES, NOW, RNG)
    assert decision.patch["cost_final_micros"] == 0
    assert decision.pause is not None


# -- pauses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scope"), [("throttled", PauseScope.MODEL), ("account refused", PauseScope.CREDENTIAL), ("not sent", None)]
)
def test_a_submit_refusal_pauses_submitting_only(name: str, scope: PauseScope | None) -> None:
    """Design section 7: refused now or until pauses the model, an account code the credential, nothing polling."""
    pause = decide(job_in(State.SUBMITTING), OUTCOMES[name], RULES, NOW, RNG).pause
    assert (pause.scope if pause else None) == scope
    assert pause is None or pause.lane is PauseLane.SUBMIT


@pytest.mark.parametrize("scope", [None, PauseScope.MODEL, PauseScope.CREDENTIAL])
def test_a_poll_refusal_pauses_polling_only(scope: PauseScope | None) -> None:
    """Design section 7: a poll answer sets only the second pause, of the model or of the credential (D4)."""
    decision = decide(job_in(State.PROCESSING), PollFailed("1302", "slow down", scope=scope), RULES, NOW, RNG)
    assert (decision.pause.scope if decision.pause else None) == scope
    assert decision.pause is None or (decision.pause.lane, decision.pause.until) == (PauseLane.POLL, decision.due_at)


def test_overload_waits_longer_than_a_rate_refusal() -> None:
    """Zai-api.md 13: 1305 lasts minutes."""
    decision = decide(job_in(State.SUBMITTING), ThrottledNow("1305", "overloaded"), RULES, NOW, RNG)
    assert decision.due_at == NOW + 100 * SECOND


@pytest.mark.parametrize(
    ("outcome", "wait"),
    [
        (ThrottledNow("1302", "m", retry_after=5 * MINUTE), 5 * MINUTE),
        (ThrottledNow("1302", "m", retry_after=1 * SECOND), 10 * SECOND),
        (ThrottledNow("1308", "m", until=NOW + 3 * HOUR), 3 * HOUR),
        (ThrottledNow("1308", "m", until=NOW - 3 * HOUR), 10 * SECOND),
    ],
)
def test_the_other_sides_limit_is_a_lower_bound(outcome: ThrottledNow, wait: timedelta) -> None:
    """Refused until: the model is paused to the reset; a past or shorter one does not shorten our own wait."""
    decision = decide(job_in(State.SUBMITTING), outcome, RULES, NOW, RNG)
    assert decision.pause is not None
    assert (decision.due_at, decision.pause.until) == (NOW + wait, NOW + wait)


# -- polling -----------------------------------------------------------------------------------------------------


def test_a_slow_task_is_asked_about_for_ever() -> None:
    """D1, promise 5: a job is not abandoned because it is slow; the questions only become rarer."""
    job = job_in(State.PROCESSING, submitted_at=NOW - timedelta(days=90), poll_count=100_000)
    decision = decide(job, StillRunning("PROCESSING"), RULES, NOW, RNG)
    assert (decision.target, decision.due_at) == (State.PROCESSING, NOW + 30 * SECOND)


@pytest.mark.parametrize("attempt_count", [0, 1, 10, 45, 64, 10_000])
def test_failed_questions_never_harm_a_job(attempt_count: int) -> None:
    """D4, promise 5: however often the poll itself fails, the job stays, and the wait stays within its cap."""
    job = job_in(State.PROCESSING, attempt_count=attempt_count)
    decision = decide(job, PollFailed("http_500", "boom"), RULES, NOW, RNG)
    assert decision.target is State.PROCESSING
    assert decision.due_at is not None
    assert NOW < decision.due_at <= NOW + HOUR
    assert not decision.records_event


def test_an_answer_ends_a_row_of_failures() -> None:
    """The next failure starts its backoff anew; a task that was missing is not missing any more."""
    job = job_in(State.PROCESSING, attempt_count=9, missing_since=NOW - HOUR)
    patch = decide(job, StillRunning("PROCESSING"), RULES, NOW, RNG).patch
    assert (patch["attempt_count"], patch["missing_since"], patch["last_error"]) == (0, None, None)


@pytest.mark.parametrize("word", ["", "processing", "Success?", "7", "QUEUED_2"])
def test_a_status_word_that_nobody_knows_is_not_an_end(word: str) -> None:
    """D5: treated as processing."""
    assert decide(job_in(State.PROCESSING), StillRunning(word), RULES, NOW, RNG).target is State.PROCESSING


def test_a_task_missing_just_after_submission_is_not_lost() -> None:
    """D2: ids become visible with a delay; the first miss only notes the time."""
    decision = decide(job_in(State.PROCESSING), TaskMissing("1214", "unknown id"), RULES, NOW, RNG)
    assert decision.target is State.PROCESSING
    assert decision.patch["missing_since"] == NOW
    again = job_in(State.PROCESSING, missing_since=NOW - HOUR)
    assert decide(again, TaskMissing("1214", "unknown id"), RULES, NOW, RNG).patch["missing_since"] == NOW - HOUR


def test_a_task_missing_for_days_is_lost_and_was_charged() -> None:
    """D3: result_lost with evidence; the provider took the job, so it cost its price."""
    job = job_in(State.PROCESSING, missing_since=NOW - RULES.result_lost_after)
    decision = decide(job, TaskMissing("1222", "unknown id"), RULES, NOW, RNG)
    assert (decision.trigger, decision.target) == (Trigger.RESULT_LOST, State.FAILED)
    assert (decision.patch["failure_code"], decision.patch["provider_code"]) == ("result_lost", "1222")
    assert decision.patch["cost_final_micros"] == PRICE.micros
    assert decision.final_answer is FinalAnswer.LOST
    assert TASK in (decision.patch["failure_message"] or "")
    almost = job_in(State.PROCESSING, missing_since=NOW - RULES.result_lost_after + SECOND)
    assert decide(almost, TaskMissing("1222", "unknown id"), RULES, NOW, RNG).target is State.PROCESSING


def test_success_without_anything_usable_is_asked_thrice_and_then_held() -> None:
    """D6: poll again up to three times, then a person looks; never failed."""
    job = job_in(State.PROCESSING)
    decisions = []
    for _ in range(3):
        decisions.append(decide(job, OUTCOMES["nothing usable"], RULES, NOW, RNG))
        job = replace(job, ask_count=decisions[-1].patch["ask_count"])
    assert [decision.target for decision in decisions] == [State.PROCESSING, State.PROCESSING, State.NEEDS_REVIEW]
    assert decisions[-1].final_answer is FinalAnswer.SUCCESS


def test_waiting_between_empty_successes_does_not_start_the_count_anew() -> None:
    """D6, D7: SUCCESS, then PROCESSING, then SUCCESS is still the second empty SUCCESS."""
    patch = decide(job_in(State.PROCESSING, ask_count=1), StillRunning("PROCESSING"), RULES, NOW, RNG).patch
    assert "ask_count" not in patch


def test_after_success_the_task_is_over() -> None:
    """D7: the final answer is recorded with the outputs, and a later PROCESSING cannot reach the archiving job."""
    decision = decide(job_in(State.PROCESSING), OutputsReady((VIDEO,)), RULES, NOW, RNG)
    assert decision.final_answer is FinalAnswer.SUCCESS
    assert decision.outputs == (VIDEO,)
    with pytest.raises(IllegalOutcome):
        decide(job_in(State.ARCHIVING), StillRunning("PROCESSING"), RULES, NOW, RNG)


@pytest.mark.parametrize(
    ("code", "failure"),
    [(None, "provider_failed"), ("1234", "provider_failed"), ("1301", "content_policy"), ("1300", "content_policy")],
)
def test_fail_keeps_its_reason_and_leaves_the_charge_open(code: str | None, failure: str) -> None:
    """D8: FAIL with and without a reason, found by a poll or inside the submit answer."""
    for job, outcome in (
        (job_in(State.PROCESSING), ProviderFailed(code, "too bad")),
        (job_in(State.SUBMITTING), FailedAtSubmit(code, "too bad")),
    ):
        decision = decide(job, outcome, RULES, NOW, RNG)
        assert decision.patch["failure_code"] == failure
        assert decision.patch["failure_message"] == "too bad"
        assert decision.patch["provider_code"] == code
        assert decision.patch["cost_final_micros"] is None
        assert decision.final_answer is FinalAnswer.FAIL


@pytest.mark.parametrize(("code", "failure"), [("1210", "invalid_params"), ("1301", "content_policy")])
def test_a_rejection_keeps_the_providers_code(code: str, failure: str) -> None:
    """A14: failed with the code, not retried, nothing charged."""
    decision = decide(job_in(State.SUBMITTING), Rejected(code, "no"), RULES, NOW, RNG)
    assert (decision.patch["failure_code"], decision.patch["provider_code"]) == (failure, code)


def test_polls_write_no_history() -> None:
    """Design section 11: no event row per poll; every other move is told."""
    for state, name in LEGAL:
        decision = decide(job_in(state), OUTCOMES[name], RULES, NOW, RNG)
        is_poll = decision.trigger in (Trigger.STILL_RUNNING, Trigger.POLL_FAILED)
        assert decision.records_event is not is_poll


def test_an_immediate_answer_is_stored_whole() -> None:
    """Immediate kinds: the complete answer is in outputs in the commit that moves the job."""
    decision = decide(job_in(State.SUBMITTING), OUTCOMES["answer complete"], RULES, NOW, RNG)
    assert decision.outputs == (TEXT,)

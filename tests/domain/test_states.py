"""TRANSITIONS is the only list of moves; it and the triggers say the same (design section 6)."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.domain.decide import Decision
from orchestrator.domain.states import (
    ACTIVE,
    FINAL,
    TRANSITIONS,
    Due,
    IllegalTransition,
    State,
    Trigger,
    check_transition,
)

NOTES = frozenset(
    {
        Trigger.EXTRA_PAID_TASK,
        Trigger.OUTPUT_LOST,
        Trigger.OUTPUT_AT_RISK,
        Trigger.OUTPUT_REFETCHED,
        Trigger.EVIDENCE_STORED,
        Trigger.CANCEL_REQUESTED,
        Trigger.DEPENDENCIES_MET,
        Trigger.ERASED,
    }
)
LISTED = frozenset((t.source, t.trigger, t.target) for t in TRANSITIONS)


def test_every_trigger_moves_something_or_is_a_note() -> None:
    """A trigger that nothing uses is a name without a meaning; the notes of the history are named here."""
    assert {t.trigger for t in TRANSITIONS} == frozenset(Trigger) - NOTES


def test_no_move_is_listed_twice() -> None:
    """One row, one due."""
    assert len(LISTED) == len(TRANSITIONS)


def test_only_listed_moves_pass() -> None:
    """Every triple of state, trigger and state: listed passes, any other raises."""
    for source, trigger, target in itertools.product([None, *State], Trigger, State):
        if (source, trigger, target) in LISTED:
            check_transition(source, trigger, target)
        else:
            with pytest.raises(IllegalTransition):
                check_transition(source, trigger, target)


def test_a_decision_cannot_be_made_of_an_unlisted_move() -> None:
    """By construction: no code has to remember to check."""
    with pytest.raises(IllegalTransition):
        Decision(State.SUCCEEDED, Trigger.RETRIED, State.QUEUED, None, "")


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: f"{t.source}-{t.trigger}-{t.target}")
def test_something_is_due_exactly_while_a_job_is_active(transition: object) -> None:
    """Final and held jobs are nobody's work; active ones always are somebody's."""
    assert any(transition is t and (t.due is not Due.NEVER) == (t.target in ACTIVE) for t in TRANSITIONS)


def test_states_are_active_held_or_final() -> None:
    """Waiting to retry is not a state."""
    assert ACTIVE | FINAL | {State.NEEDS_REVIEW} == frozenset(State)
    assert not ACTIVE & FINAL


def test_success_is_never_left_and_only_archiving_or_a_person_reaches_it() -> None:
    """Promise 6. A rebuilt job had been archived before its row was lost."""
    assert not [t for t in TRANSITIONS if t.source is State.SUCCEEDED]
    into = {(t.source, t.trigger) for t in TRANSITIONS if t.target is State.SUCCEEDED}
    assert {trigger for _, trigger in into} == {Trigger.ARCHIVED, Trigger.RETRIED, Trigger.REBUILT}


def test_only_a_claim_of_a_queued_job_begins_a_submission() -> None:
    """Promise 2: one way into submitting."""
    into = [(t.source, t.trigger) for t in TRANSITIONS if t.target is State.SUBMITTING]
    assert into == [(State.QUEUED, Trigger.SUBMISSION_STARTED)]


def test_an_unknown_never_fails_or_queues_a_job_by_itself() -> None:
    """Promise 3: never guessed, never under failed."""
    assert {t.target for t in TRANSITIONS if t.trigger is Trigger.UNKNOWN} == {State.NEEDS_REVIEW}

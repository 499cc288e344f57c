"""Job states, what moves them, and the only list of transitions that may ever happen (design section 6).

docs/lifecycle.md is drawn from TRANSITIONS; the database write of every transition is checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job stands. Waiting to retry is not a state: it is a due_at in the future."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    PROCESSING = "processing"
    ARCHIVING = "archiving"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NEEDS_REVIEW = "needs_review"


ACTIVE = frozenset({State.QUEUED, State.SUBMITTING, State.PROCESSING, State.ARCHIVING})
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
BEST_FIRST = (
    State.SUCCEEDED,
    State.ARCHIVING,
    State.PROCESSING,
    State.SUBMITTING,
    State.QUEUED,
    State.NEEDS_REVIEW,
    State.FAILED,
    State.CANCELLED,
)
"""How far jobs of one request have come: which of them speaks for it."""


class Trigger(StrEnum):
    """What moved a job; also the type of its row in the history."""

    ACCEPTED = "accepted"
    ADOPTED = "adopted"
    SUBMISSION_STARTED = "submission_started"
    DEPENDENCY_FAILED = "dependency_failed"
    INPUT_MISSING = "input_missing"
    INPUT_CHANGED = "input_changed"
    SUBMITTED = "submitted"
    OUTPUTS_READY = "outputs_ready"
    NOT_SENT = "not_sent"
    THROTTLED = "throttled"
    REFUSED = "refused"
    REJECTED = "rejected"
    PROVIDER_FAILED = "provider_failed"
    UNKNOWN = "unknown"
    LATE_TASK_ID = "late_task_id"
    LATE_ANSWER = "late_answer"
    RESUBMIT = "resubmit"
    WRITTEN_OFF = "written_off"
    STILL_RUNNING = "still_running"
    POLL_FAILED = "poll_failed"
    RESULT_LOST = "result_lost"
    NOTHING_USABLE = "nothing_usable"
    POISONED = "poisoned"
    ARCHIVED = "archived"
    ARCHIVE_FAILED = "archive_failed"
    FRESH_LINK_ASKED = "fresh_link_asked"
    OUTPUT_EXPIRED = "output_expired"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RESTORED = "restored"
    RELEASED = "released"
    REBUILT = "rebuilt"
    # Notes: rows of the history that move nothing.
    EXTRA_PAID_TASK = "extra_paid_task"
    OUTPUT_LOST = "output_lost"
    OUTPUT_AT_RISK = "output_at_risk"
    OUTPUT_REFETCHED = "output_refetched"
    EVIDENCE_STORED = "evidence_stored"
    DEPENDENCIES_MET = "dependencies_met"
    ERASED = "erased"


class Due(StrEnum):
    """When the next step may be claimed after a transition, in the words of docs/lifecycle.md."""

    NEVER = "-"
    NOW = "now"
    NOT_BEFORE = "now, or not_before"
    LEASE = "now + lease"
    FIRST_POLL = "now + the kind's first poll"
    SCHEDULE = "poll schedule"
    BACKOFF = "backoff"
    PAUSE = "backoff or the pause's end"
    ASK_DELAY = "the ask delay"


@dataclass(frozen=True)
class Transition:
    """One allowed move. `source` None means the job did not exist before."""

    source: State | None
    trigger: Trigger
    target: State
    due: Due


def _moves(sources: State | tuple[State, ...] | None, trigger: Trigger, target: State, due: Due) -> list[Transition]:
    group = sources if isinstance(sources, tuple) else (sources,)
    return [Transition(source, trigger, target, due) for source in group]


_S, _T = State, Trigger

TRANSITIONS: tuple[Transition, ...] = tuple(
    _moves(None, _T.ACCEPTED, _S.QUEUED, Due.NOT_BEFORE)
    + _moves(None, _T.ADOPTED, _S.PROCESSING, Due.NOW)
    + _moves(None, _T.REBUILT, _S.SUCCEEDED, Due.NEVER)
    + _moves(None, _T.REBUILT, _S.CANCELLED, Due.NEVER)
    + _moves(_S.QUEUED, _T.SUBMISSION_STARTED, _S.SUBMITTING, Due.LEASE)
    + _moves(_S.QUEUED, _T.DEPENDENCY_FAILED, _S.FAILED, Due.NEVER)
    + _moves((_S.QUEUED, _S.SUBMITTING), _T.INPUT_MISSING, _S.FAILED, Due.NEVER)
    + _moves((_S.QUEUED, _S.SUBMITTING), _T.INPUT_CHANGED, _S.FAILED, Due.NEVER)
    + _moves(_S.SUBMITTING, _T.SUBMITTED, _S.PROCESSING, Due.FIRST_POLL)
    + _moves(_S.SUBMITTING, _T.OUTPUTS_READY, _S.ARCHIVING, Due.NOW)
    + _moves(_S.SUBMITTING, _T.NOT_SENT, _S.QUEUED, Due.BACKOFF)
    + _moves(_S.SUBMITTING, _T.THROTTLED, _S.QUEUED, Due.PAUSE)
    + _moves(_S.SUBMITTING, _T.REFUSED, _S.QUEUED, Due.PAUSE)
    + _moves(_S.NEEDS_REVIEW, _T.NOT_SENT, _S.QUEUED, Due.NOW)
    + _moves(_S.NEEDS_REVIEW, _T.THROTTLED, _S.QUEUED, Due.NOW)
    + _moves(_S.NEEDS_REVIEW, _T.REFUSED, _S.QUEUED, Due.NOW)
    + _moves((_S.SUBMITTING, _S.NEEDS_REVIEW), _T.REJECTED, _S.FAILED, Due.NEVER)
    + _moves((_S.SUBMITTING, _S.NEEDS_REVIEW, _S.PROCESSING), _T.PROVIDER_FAILED, _S.FAILED, Due.NEVER)
    + _moves(_S.SUBMITTING, _T.UNKNOWN, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves((_S.NEEDS_REVIEW, _S.QUEUED, _S.FAILED), _T.LATE_TASK_ID, _S.PROCESSING, Due.NOW)
    + _moves((_S.NEEDS_REVIEW, _S.QUEUED, _S.FAILED), _T.LATE_ANSWER, _S.ARCHIVING, Due.NOW)
    + _moves(_S.NEEDS_REVIEW, _T.RESUBMIT, _S.QUEUED, Due.NOW)
    + _moves(_S.NEEDS_REVIEW, _T.WRITTEN_OFF, _S.FAILED, Due.NEVER)
    + _moves(_S.PROCESSING, _T.STILL_RUNNING, _S.PROCESSING, Due.SCHEDULE)
    + _moves(_S.PROCESSING, _T.POLL_FAILED, _S.PROCESSING, Due.SCHEDULE)
    + _moves(_S.PROCESSING, _T.OUTPUTS_READY, _S.ARCHIVING, Due.NOW)
    + _moves((_S.PROCESSING, _S.NEEDS_REVIEW), _T.RESULT_LOST, _S.FAILED, Due.NEVER)
    + _moves(_S.PROCESSING, _T.PROVIDER_FAILED, _S.PROCESSING, Due.NOW)
    + _moves(_S.PROCESSING, _T.RESULT_LOST, _S.PROCESSING, Due.NOW)
    + _moves((_S.PROCESSING, _S.ARCHIVING), _T.NOTHING_USABLE, _S.PROCESSING, Due.NOW)
    + _moves(_S.ARCHIVING, _T.OUTPUT_EXPIRED, _S.PROCESSING, Due.NOW)
    + _moves(_S.PROCESSING, _T.PROVIDER_FAILED, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves(_S.PROCESSING, _T.RESULT_LOST, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves(_S.ARCHIVING, _T.OUTPUT_EXPIRED, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves((_S.PROCESSING, _S.ARCHIVING), _T.NOTHING_USABLE, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves((_S.PROCESSING, _S.ARCHIVING), _T.POISONED, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves(_S.SUBMITTING, _T.POISONED, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves(_S.QUEUED, _T.POISONED, _S.FAILED, Due.NEVER)
    + _moves(_S.ARCHIVING, _T.ARCHIVED, _S.SUCCEEDED, Due.NEVER)
    + _moves(_S.ARCHIVING, _T.ARCHIVE_FAILED, _S.ARCHIVING, Due.BACKOFF)
    + _moves(_S.ARCHIVING, _T.FRESH_LINK_ASKED, _S.PROCESSING, Due.ASK_DELAY)
    + _moves((_S.ARCHIVING, _S.NEEDS_REVIEW), _T.OUTPUT_EXPIRED, _S.FAILED, Due.NEVER)
    + _moves((_S.QUEUED, _S.SUBMITTING, _S.NEEDS_REVIEW, _S.ARCHIVING), _T.CANCELLED, _S.CANCELLED, Due.NEVER)
    + _moves((_S.FAILED, _S.CANCELLED, _S.NEEDS_REVIEW), _T.RETRIED, _S.SUCCEEDED, Due.NEVER)
    + _moves((_S.FAILED, _S.CANCELLED, _S.NEEDS_REVIEW), _T.RETRIED, _S.ARCHIVING, Due.NOW)
    + _moves((_S.FAILED, _S.CANCELLED, _S.NEEDS_REVIEW), _T.RETRIED, _S.PROCESSING, Due.NOW)
    + _moves((_S.FAILED, _S.CANCELLED), _T.RETRIED, _S.QUEUED, Due.NOW)
    + _moves((_S.QUEUED, _S.SUBMITTING, _S.NEEDS_REVIEW), _T.RESTORED, _S.NEEDS_REVIEW, Due.NEVER)
    + _moves(_S.NEEDS_REVIEW, _T.RELEASED, _S.QUEUED, Due.NOT_BEFORE)
)

_ALLOWED = frozenset((t.source, t.trigger, t.target) for t in TRANSITIONS)


class IllegalTransition(Exception):
    """A bug of ours: a move that TRANSITIONS does not list."""


def check_transition(source: State | None, trigger: Trigger, target: State) -> None:
    """Raise IllegalTransition unless TRANSITIONS lists the move."""
    if (source, trigger, target) not in _ALLOWED:
        raise IllegalTransition(f"{source} --{trigger}--> {target} is not in TRANSITIONS")

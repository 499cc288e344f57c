"""The rules that rows of `jobs` keep: the CHECKs once more, and what no CHECK can see."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, Table, and_, exists, func, not_, or_, select

from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.events import EVENTS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, table_of
from orchestrator.db.tables import BatchMemberRow
from orchestrator.domain.job import OPTIONAL_ROLES, Origin, Verdict
from orchestrator.domain.states import ACTIVE, FINAL, State, Trigger

MEMBERS = table_of(BatchMemberRow)
SWEEP_GRACE = timedelta(minutes=5)  # ten sweeps: one that is a little late is no finding
LONG_DUE = timedelta(minutes=10)
FAR_AHEAD = timedelta(days=366)
PAID = (Verdict.ACCEPTED, Verdict.ANSWERED)
_WRITTEN_OFF = "written_off"

_state = JOBS.c.state
_is_final = _state.in_(sorted(FINAL))
_is_resting = _state.in_(sorted({*FINAL, State.NEEDS_REVIEW}))
_is_active = _state.in_(sorted(ACTIVE))


def select_jobs(span: Span) -> Select[tuple[object, ...]]:
    """Return the rows of a span with the facts that the rules' words name."""
    names = ("state", "due_at", "finished_at", "failure_code", "provider_task_id", "sequence", "submission_count")
    columns = [JOBS.c[name] for name in (*names, "batch_id", "line_number")]
    query: Select[tuple[object, ...]] = select(
        JOBS.c.id.label("subject"),
        JOBS.c.id.label("job"),
        *columns,
        _count_events().label("event_count"),
        _last_event().label("last_event"),
        _count_own().label("own_submissions"),
        _count_open_calls().label("open_calls"),
        _count_extra().label("extra_tasks"),
    )
    return query.where(span.of(JOBS.c.id))


def job_rules(now: datetime) -> list[RowRule]:
    """Return the rules over single jobs, as of `now`."""
    return [*_state_rules(now), *_history_rules(), *_money_rules(), *_output_rules(), *_waiting_rules(now)]


def _state_rules(now: datetime) -> list[RowRule]:
    is_waiting = and_(_state == State.QUEUED, JOBS.c.waiting_on_count > 0)
    start = func.coalesce(JOBS.c.not_before, JOBS.c.created_at)
    is_far = and_(_state == State.QUEUED, JOBS.c.due_at > now + FAR_AHEAD, JOBS.c.due_at != start)
    return [
        RowRule("state_unknown", _state.not_in(sorted(State))),
        RowRule("final_unfinished", _is_final != JOBS.c.finished_at.is_not(None)),
        RowRule("resting_is_due", and_(_is_resting, or_(JOBS.c.due_at.is_not(None), JOBS.c.lease_token.is_not(None)))),
        RowRule("active_not_due", and_(_is_active, JOBS.c.due_at.is_(None), not_(is_waiting))),
        RowRule("queued_never_due", is_far),
        RowRule("failed_without_code", (_state == State.FAILED) != JOBS.c.failure_code.is_not(None)),
        RowRule("processing_without_task", and_(_state == State.PROCESSING, JOBS.c.provider_task_id.is_(None))),
    ]


def _history_rules() -> list[RowRule]:
    newest = and_(EVENTS.c.job_id == JOBS.c.id, EVENTS.c.sequence == JOBS.c.sequence)
    member = and_(MEMBERS.c.job_id == JOBS.c.id, MEMBERS.c.batch_id == JOBS.c.batch_id)
    is_member = exists(select(MEMBERS.c.job_id).where(member, MEMBERS.c.line_number == JOBS.c.line_number))
    gap = or_(_count_events() != JOBS.c.sequence, func.coalesce(_last_event(), 0) != JOBS.c.sequence)
    disagrees = exists(select(EVENTS.c.id).where(newest, EVENTS.c.to_state != _state))
    return [
        RowRule("history_gap", gap),
        RowRule("history_disagrees", disagrees),
        RowRule("member_missing", and_(JOBS.c.batch_id.is_not(None), not_(is_member))),
    ]


def _money_rules() -> list[RowRule]:
    own_task = exists(_of_job(SUBMISSIONS).where(SUBMISSIONS.c.task_id == JOBS.c.provider_task_id))
    open_call = exists(_of_job(SUBMISSIONS).where(SUBMISSIONS.c.verdict.is_(None)))
    unknown = and_(SUBMISSIONS.c.verdict == Verdict.UNKNOWN, SUBMISSIONS.c.superseded_at.is_(None))
    is_unknown = exists(_of_job(SUBMISSIONS).where(unknown))
    # A job that was written off is failed with its unknown; one that moves by another paid task may have one too.
    must_hold = and_(
        _state.in_((State.QUEUED, State.SUBMITTING, State.FAILED)),
        func.coalesce(JOBS.c.failure_code, "") != _WRITTEN_OFF,
    )
    is_paid = and_(SUBMISSIONS.c.verdict.in_(PAID), SUBMISSIONS.c.final_at.is_(None))
    is_idle = and_(or_(_is_final, _state == State.QUEUED), exists(_of_job(SUBMISSIONS).where(is_paid)))
    is_asking = and_(_state == State.PROCESSING, JOBS.c.provider_task_id.is_not(None))
    return [
        RowRule("task_of_no_submission", and_(is_asking, not_(own_task))),
        RowRule("submission_count_wrong", JOBS.c.submission_count != _count_own()),
        RowRule("calls_at_once", _count_open_calls() > 1),
        RowRule("call_outside_submitting", and_(_state != State.SUBMITTING, open_call)),
        RowRule("unknown_not_held", and_(must_hold, is_unknown)),
        RowRule("paid_and_idle", and_(is_idle, _count_extra() == 0)),
        RowRule("extra_paid_task", _count_extra() > 0),
    ]


def _output_rules() -> list[RowRule]:
    is_archived = OUTPUTS.c.archived_at.is_not(None)
    is_open = and_(OUTPUTS.c.role.not_in(sorted(OPTIONAL_ROLES)), OUTPUTS.c.archived_at.is_(None))
    has_archived = exists(_of_job(OUTPUTS).where(is_archived))
    return [
        RowRule("succeeded_without_output", and_(_state == State.SUCCEEDED, not_(has_archived))),
        RowRule("succeeded_unarchived", and_(_state == State.SUCCEEDED, exists(_of_job(OUTPUTS).where(is_open)))),
    ]


def _waiting_rules(now: datetime) -> list[RowRule]:
    is_standing = _state.in_((State.PROCESSING, State.ARCHIVING))
    return [
        RowRule("submitting_lapsed", and_(_state == State.SUBMITTING, JOBS.c.due_at < now - SWEEP_GRACE)),
        RowRule("work_waits", and_(is_standing, JOBS.c.due_at < now - LONG_DUE)),
    ]


def _of_job(table: Table) -> Select[tuple[object, ...]]:
    return select(table.c.id).where(table.c.job_id == JOBS.c.id).correlate(JOBS)


def _count_events() -> ColumnElement[int]:
    return select(func.count()).where(EVENTS.c.job_id == JOBS.c.id).correlate(JOBS).scalar_subquery()


def _last_event() -> ColumnElement[int]:
    return select(func.max(EVENTS.c.sequence)).where(EVENTS.c.job_id == JOBS.c.id).correlate(JOBS).scalar_subquery()


def _count_extra() -> ColumnElement[int]:
    is_extra = and_(EVENTS.c.job_id == JOBS.c.id, EVENTS.c.type == Trigger.EXTRA_PAID_TASK)
    return select(func.count()).where(is_extra).correlate(JOBS).scalar_subquery()


def _count_own() -> ColumnElement[int]:
    is_own = and_(SUBMISSIONS.c.job_id == JOBS.c.id, SUBMISSIONS.c.origin == Origin.OURS)
    return select(func.count()).where(is_own).correlate(JOBS).scalar_subquery()


def _count_open_calls() -> ColumnElement[int]:
    is_open = and_(SUBMISSIONS.c.job_id == JOBS.c.id, SUBMISSIONS.c.verdict.is_(None))
    return select(func.count()).where(is_open).correlate(JOBS).scalar_subquery()

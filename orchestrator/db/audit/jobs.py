"""The rules that rows of `jobs` keep: the CHECKs once more, and what no CHECK can see.

What belongs to a job in other tables is summed up per span and joined: a subquery per job and rule took ten times longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, exists, func, not_, or_, select
from sqlalchemy.sql.selectable import FromClause

from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.events import EVENTS
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, table_of
from orchestrator.db.tables import BatchMemberRow, BatchRow
from orchestrator.db.waiting import is_straggler, is_waiting
from orchestrator.domain.job import OPTIONAL_ROLES, Verdict
from orchestrator.domain.states import ACTIVE, FINAL, State, Trigger

MEMBERS = table_of(BatchMemberRow)
BATCHES = table_of(BatchRow)
SWEEP_GRACE = timedelta(minutes=5)  # ten sweeps: one that is a little late is no finding
LONG_DUE = timedelta(minutes=10)
FAR_AHEAD = timedelta(days=366)
PAID = (Verdict.ACCEPTED, Verdict.ANSWERED)
_WRITTEN_OFF = "written_off"
_FACTS = ("state", "due_at", "finished_at", "failure_code", "provider_task_id", "sequence", "submission_count")

_state = JOBS.c.state
_is_final = _state.in_(sorted(FINAL))
_is_resting = _state.in_(sorted({*FINAL, State.NEEDS_REVIEW}))
_is_active = _state.in_(sorted(ACTIVE))


@dataclass(frozen=True)
class Around:
    """What other tables say of the jobs of a span, one row a job; `newest` is the event that the job's row names."""

    events: Subquery
    calls: Subquery
    outputs: Subquery
    newest: FromClause
    member: FromClause


def look_around_jobs(span: Span) -> Around:
    """Return the sums over a span of jobs."""
    call, output = SUBMISSIONS.c, OUTPUTS.c
    is_unknown = and_(call.verdict == Verdict.UNKNOWN, call.superseded_at.is_(None))
    is_open_task = and_(call.verdict.in_(PAID), call.final_at.is_(None))
    is_missing = and_(output.role.not_in(sorted(OPTIONAL_ROLES)), output.archived_at.is_(None))
    return Around(
        events=_sums(
            span,
            EVENTS,
            func.count().label("total"),
            func.max(EVENTS.c.sequence).label("last"),
            _sum_of(EVENTS.c.type == Trigger.EXTRA_PAID_TASK, "extra"),
        ),
        calls=_sums(
            span,
            SUBMISSIONS,
            func.count().label("total"),  # adopted ones too: a job counts those that it was given
            _sum_of(call.verdict.is_(None), "in_flight"),
            _sum_of(is_unknown, "unknown"),
            _sum_of(is_open_task, "open_tasks"),
        ),
        outputs=_sums(
            span, OUTPUTS, _sum_of(output.archived_at.is_not(None), "archived"), _sum_of(is_missing, "missing")
        ),
        newest=EVENTS.alias("newest"),
        member=MEMBERS.alias("member"),
    )


def select_jobs(span: Span, around: Around) -> Select[tuple[object, ...]]:
    """Return the rows of a span with the facts that the rules' words name."""
    newest, member = around.newest.c, around.member.c
    own_line = and_(member.batch_id == JOBS.c.batch_id, member.line_number == JOBS.c.line_number)
    joined = (
        JOBS.outerjoin(around.events, around.events.c.job_id == JOBS.c.id)
        .outerjoin(around.calls, around.calls.c.job_id == JOBS.c.id)
        .outerjoin(around.outputs, around.outputs.c.job_id == JOBS.c.id)
        .outerjoin(around.newest, and_(newest.job_id == JOBS.c.id, newest.sequence == JOBS.c.sequence))
        .outerjoin(around.member, and_(own_line, member.job_id == JOBS.c.id))
    )
    query: Select[tuple[object, ...]] = select(
        JOBS.c.id.label("subject"),
        JOBS.c.id.label("job"),
        *(JOBS.c[name] for name in (*_FACTS, "batch_id", "line_number")),
        _or_none(around.events.c.total).label("event_count"),
        around.events.c.last.label("last_event"),
        _or_none(around.events.c.extra).label("extra_tasks"),
        _or_none(around.calls.c.total).label("submissions"),
        _or_none(around.calls.c.in_flight).label("open_calls"),
    )
    return query.select_from(joined).where(span.of(JOBS.c.id))


def job_rules(around: Around, now: datetime) -> list[RowRule]:
    """Return the rules over single jobs, as of `now`."""
    return [
        *_state_rules(now),
        *_history_rules(around),
        *_money_rules(around),
        *_output_rules(around),
        *_waiting_rules(now),
    ]


def _state_rules(now: datetime) -> Iterable[RowRule]:
    is_waiting = and_(_state == State.QUEUED, JOBS.c.waiting_on_count > 0)
    start = func.coalesce(JOBS.c.not_before, JOBS.c.created_at)
    is_far = and_(_state == State.QUEUED, JOBS.c.due_at > now + FAR_AHEAD, JOBS.c.due_at != start)
    return (
        RowRule("state_unknown", _state.not_in(sorted(State))),
        RowRule("final_unfinished", _is_final != JOBS.c.finished_at.is_not(None)),
        RowRule("resting_is_due", and_(_is_resting, or_(JOBS.c.due_at.is_not(None), JOBS.c.lease_token.is_not(None)))),
        RowRule("active_not_due", and_(_is_active, JOBS.c.due_at.is_(None), not_(is_waiting))),
        RowRule("queued_never_due", is_far),
        RowRule("failed_without_code", (_state == State.FAILED) != JOBS.c.failure_code.is_not(None)),
        RowRule("processing_without_task", and_(_state == State.PROCESSING, JOBS.c.provider_task_id.is_(None))),
    )


def _history_rules(around: Around) -> Iterable[RowRule]:
    total, last = _or_none(around.events.c.total), _or_none(around.events.c.last)
    newest_state = func.coalesce(around.newest.c.to_state, _state)  # an event that is missing is a gap
    return (
        RowRule("history_gap", or_(total != JOBS.c.sequence, last != JOBS.c.sequence)),
        RowRule("history_disagrees", newest_state != _state),
        RowRule("member_missing", and_(JOBS.c.batch_id.is_not(None), around.member.c.job_id.is_(None))),
    )


def _money_rules(around: Around) -> Iterable[RowRule]:
    calls, extra = around.calls.c, _or_none(around.events.c.extra)
    own = select(SUBMISSIONS.c.id).where(SUBMISSIONS.c.job_id == JOBS.c.id).correlate(JOBS)
    own_task = exists(own.where(SUBMISSIONS.c.task_id == JOBS.c.provider_task_id))
    is_asking = and_(_state == State.PROCESSING, JOBS.c.provider_task_id.is_not(None))
    # A job that was written off is failed with its unknown; one that moves by another paid task may have one too.
    is_written_off = func.coalesce(JOBS.c.failure_code, "") == _WRITTEN_OFF
    must_hold = and_(_state.in_((State.QUEUED, State.SUBMITTING, State.FAILED)), not_(is_written_off))
    is_idle = or_(_is_final, _state == State.QUEUED)
    return (
        RowRule("task_of_no_submission", and_(is_asking, not_(own_task))),
        RowRule("submission_count_wrong", JOBS.c.submission_count != _or_none(calls.total)),
        RowRule("calls_at_once", _or_none(calls.in_flight) > 1),
        RowRule("call_outside_submitting", and_(_state != State.SUBMITTING, _or_none(calls.in_flight) > 0)),
        RowRule("unknown_not_held", and_(must_hold, _or_none(calls.unknown) > 0)),
        RowRule("paid_and_idle", and_(is_idle, _or_none(calls.open_tasks) > 0, extra == 0)),
        RowRule("extra_paid_task", extra > 0),
    )


def _output_rules(around: Around) -> Iterable[RowRule]:
    succeeded = _state == State.SUCCEEDED
    return (
        RowRule("succeeded_without_output", and_(succeeded, _or_none(around.outputs.c.archived) == 0)),
        RowRule("succeeded_unarchived", and_(succeeded, _or_none(around.outputs.c.missing) > 0)),
    )


def _waiting_rules(now: datetime) -> Iterable[RowRule]:
    paused = [
        and_(CREDENTIALS.c.name == JOBS.c.credential, CREDENTIALS.c.poll_paused_until > now),
        and_(
            MODEL_LIMITS.c.credential == JOBS.c.credential,
            MODEL_LIMITS.c.model == JOBS.c.model,
            MODEL_LIMITS.c.poll_paused_until > now,
        ),
    ]
    is_paused = or_(*(exists().where(condition) for condition in paused))
    is_standing = or_(_state == State.ARCHIVING, and_(_state == State.PROCESSING, not_(is_paused)))
    return (
        RowRule("waits_for_nothing", is_straggler()),
        RowRule("parent_unknown", and_(is_waiting(), _has_unknown_parent())),
        RowRule("submitting_lapsed", and_(_state == State.SUBMITTING, JOBS.c.due_at < now - SWEEP_GRACE)),
        RowRule("work_waits", and_(is_standing, JOBS.c.due_at < now - LONG_DUE)),
    )


def _has_unknown_parent() -> ColumnElement[bool]:
    """The file is in, and a name in it still stands for no job."""
    unknown = select(DEPENDENCIES.c.job_id).join(BATCHES, BATCHES.c.id == DEPENDENCIES.c.batch_id)
    unknown = unknown.where(DEPENDENCIES.c.job_id == JOBS.c.id, DEPENDENCIES.c.parent_id.is_(None))
    return unknown.where(BATCHES.c.intake_done_at.is_not(None)).correlate(JOBS).exists()


def _sums(span: Span, table: FromClause, *sums: ColumnElement[int]) -> Subquery:
    job_id = table.c.job_id
    return select(job_id, *sums).where(span.of(job_id)).group_by(job_id).subquery()


def _sum_of(condition: ColumnElement[bool], name: str) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0)).label(name)


def _or_none(count: ColumnElement[int]) -> ColumnElement[int]:
    """A job without such rows is in no sum."""
    return func.coalesce(count, 0)

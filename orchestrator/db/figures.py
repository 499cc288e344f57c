"""Figures over every owner: of what lives by its indexes, of the whole history in one walk over each table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from orchestrator.db import slots
from orchestrator.db.engine import Database
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.figures import Duration, Figures, ModelPause, Totals
from orchestrator.domain.job import FinalAnswer, Verdict
from orchestrator.domain.states import ACTIVE, FINAL, State
from orchestrator.domain.webhooks import DeliveryState

CREDENTIAL = "default"
SECONDS_A_DAY = 86_400

Key = tuple[str, str, str]
Waits = Mapping[tuple[str, str], tuple[float, int]]
"""Seconds and how many of them were added up, by (kind, model)."""


class SqlFigures:
    """The FiguresSource port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, is_slot_held_until_final: bool) -> Figures:
        return self._database.read(lambda c: self._read(c, is_held_until_final=is_slot_held_until_final))

    def _read(self, connection: Connection, *, is_held_until_final: bool) -> Figures:
        now = self._database.now(connection)
        return Figures(
            at=now,
            jobs=_count_live_jobs(connection),
            oldest_queued_at=_least(connection, JOBS.c.created_at, JOBS.c.state == State.QUEUED),
            oldest_poll_at=_find_oldest_poll(connection, now),
            soonest_expiry_at=_least(connection, JOBS.c.source_expires_at, JOBS.c.state == State.ARCHIVING),
            unknown_count=_count_unknown(connection),
            slots_held=slots.count_held(connection, CREDENTIAL, now=now, is_held_until_final=is_held_until_final),
            slot_limits=find_slot_limits(connection),
            pauses=list_pauses(connection, now),
            oldest_delivery_at=_least(connection, DELIVERIES.c.created_at, DELIVERIES.c.state == DeliveryState.PENDING),
            failing_endpoint_count=_count_failing(connection),
        )

    def read_totals(self) -> Totals:
        return self._database.read(self._read_totals)

    def _read_totals(self, connection: Connection) -> Totals:
        jobs = _add_up_jobs(connection, is_sqlite=self._database.is_sqlite)
        calls = _add_up_submissions(connection, is_sqlite=self._database.is_sqlite)
        return replace(
            calls,
            jobs=jobs.jobs,
            failures=jobs.failures,
            queue_waits=jobs.queue_waits,
            deliveries=_count_deliveries(connection),
        )


def _count_live_jobs(connection: Connection) -> dict[tuple[str, str, str], int]:
    keys = (JOBS.c.state, JOBS.c.kind, JOBS.c.model)
    live = JOBS.c.state.in_(sorted([*ACTIVE, State.NEEDS_REVIEW]))
    rows = connection.execute(select(*keys, func.count()).where(live).group_by(*keys))
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def _add_up_jobs(connection: Connection, *, is_sqlite: bool) -> Totals:
    """One walk over the jobs for all that is added up of them."""
    wait = _seconds(JOBS.c.submitted_at, func.coalesce(JOBS.c.not_before, JOBS.c.created_at), is_sqlite)
    keys = (JOBS.c.state, JOBS.c.kind, JOBS.c.model, JOBS.c.failure_code)
    sums = (func.count(), func.count(JOBS.c.submitted_at), func.sum(wait))
    ended, failures = Counter[Key](), Counter[Key]()
    waits: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for state, kind, model, code, count, taken, waited in connection.execute(select(*keys, *sums).group_by(*keys)):
        if state in FINAL:
            ended[state, kind, model] += count
        if code is not None:
            failures[code, kind, model] += count
        waits[kind, model] = (waits[kind, model][0] + float(waited or 0), waits[kind, model][1] + taken)
    return Totals(jobs=ended, failures=failures, queue_waits=_durations(waits))


def _add_up_submissions(connection: Connection, *, is_sqlite: bool) -> Totals:
    """One walk over the submissions: times at the provider, how late their ends were noticed, and what was paid.

    The cost is that of tasks which ended in a result, whatever became of their job: such a sum never falls. That of the
    jobs falls when a task fails or a job is paid for anew, and who counts by it takes the fall for a new beginning.
    """
    call = SUBMISSIONS.c
    keys = (call.kind, call.model, call.price_currency)
    is_paid = call.final_answer != FinalAnswer.FAIL
    query = (
        select(
            *keys,
            func.sum(_seconds(call.final_at, call.intent_at, is_sqlite)),
            func.count(),
            func.sum(_seconds(call.final_at, call.last_running_at, is_sqlite)),
            func.count(call.last_running_at),
            func.sum(case((is_paid, call.price_micros))),
        )
        .where(call.final_at.is_not(None))
        .group_by(*keys)
    )
    times: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    lags: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    costs = Counter[str]()
    for kind, model, currency, took, count, late, known, cost in connection.execute(query):
        times[kind, model] = (times[kind, model][0] + float(took or 0), times[kind, model][1] + count)
        lags[kind, model] = (lags[kind, model][0] + float(late or 0), lags[kind, model][1] + known)
        if currency is not None:
            costs[currency] += int(cost or 0)
    return Totals(provider_times=_durations(times), notice_lags=_durations(lags), cost_micros=costs)


def _seconds(end: ColumnElement[Any], start: ColumnElement[Any], is_sqlite: bool) -> ColumnElement[Any]:  # noqa: FBT001
    if is_sqlite:
        return (func.julianday(end) - func.julianday(start)) * SECONDS_A_DAY
    return func.extract("epoch", end - start)


def _durations(sums: Waits) -> Sequence[Duration]:
    """A clock that was set back makes no negative duration."""
    return [Duration(*key, max(total, 0.0), count) for key, (total, count) in sorted(sums.items()) if count]


def _least(connection: Connection, column: ColumnElement[datetime], where: ColumnElement[bool]) -> datetime | None:
    found: datetime | None = connection.execute(select(func.min(column)).where(where)).scalar_one()
    return found


def _find_oldest_poll(connection: Connection, now: datetime) -> datetime | None:
    """What is paused is due too, and is not asked about: those models and accounts are left out."""
    models = select(MODEL_LIMITS.c.model).where(
        MODEL_LIMITS.c.credential == JOBS.c.credential,
        MODEL_LIMITS.c.model == JOBS.c.model,
        MODEL_LIMITS.c.poll_paused_until.is_not(None),
    )
    accounts = select(CREDENTIALS.c.name).where(
        CREDENTIALS.c.name == JOBS.c.credential, CREDENTIALS.c.poll_paused_until.is_not(None)
    )
    is_asked = ~models.exists() & ~accounts.exists()
    return _least(connection, JOBS.c.due_at, (JOBS.c.state == State.PROCESSING) & (JOBS.c.due_at < now) & is_asked)


def _count_deliveries(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(DELIVERIES.c.state, func.count()).group_by(DELIVERIES.c.state))
    return {row[0]: row[1] for row in rows}


def _count_failing(connection: Connection) -> int:
    is_failing = ENDPOINTS.c.failing_since.is_not(None) & ENDPOINTS.c.deleted_at.is_(None)
    return connection.execute(select(func.count()).select_from(ENDPOINTS).where(is_failing)).scalar_one()


def _count_unknown(connection: Connection) -> int:
    is_open = (SUBMISSIONS.c.verdict == Verdict.UNKNOWN) & SUBMISSIONS.c.superseded_at.is_(None)
    return connection.execute(select(func.count()).select_from(SUBMISSIONS).where(is_open)).scalar_one()


def find_slot_limits(connection: Connection) -> dict[str, int]:
    """Return the limits that an operator set over the settings, by model."""
    query = select(MODEL_LIMITS.c.model, MODEL_LIMITS.c.slot_limit).where(
        MODEL_LIMITS.c.credential == CREDENTIAL, MODEL_LIMITS.c.slot_limit.is_not(None)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def list_pauses(connection: Connection, now: datetime) -> Sequence[ModelPause]:
    """Return the pauses on submitting that are not over: the account's first."""
    models = select(
        MODEL_LIMITS.c.model,
        MODEL_LIMITS.c.submit_paused_until,
        MODEL_LIMITS.c.submit_pause_code,
        MODEL_LIMITS.c.submit_pause_message,
    ).where(MODEL_LIMITS.c.submit_paused_until > now)
    accounts = select(
        CREDENTIALS.c.submit_paused_until, CREDENTIALS.c.submit_pause_code, CREDENTIALS.c.submit_pause_message
    ).where(CREDENTIALS.c.submit_paused_until > now)
    of_models = [ModelPause(row[0], row[1], row[2], row[3]) for row in connection.execute(models)]
    return [*(ModelPause(None, row[0], row[1], row[2]) for row in connection.execute(accounts)), *of_models]

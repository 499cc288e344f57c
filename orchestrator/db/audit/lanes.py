"""The rules of pauses and their probes, and of the maintenance tasks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, literal, literal_column, not_, select

from orchestrator.db.audit.jobs import SWEEP_GRACE
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.db.sweeps import SWEEPS
from orchestrator.domain.audit import Violation
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.states import ACTIVE, State

FAILED = "failed"
"""What the result of a maintenance task begins with when it did not work."""


def select_dead_probes(now: datetime) -> list[Select[tuple[object, ...]]]:
    """Return pauses that have passed and whose probe can bring no answer any more: nothing else ends them."""
    model = MODEL_LIMITS.c.credential + " " + MODEL_LIMITS.c.model
    return [
        _select_dead(table, name, lane, now)
        for table, name in ((CREDENTIALS, CREDENTIALS.c.name), (MODEL_LIMITS, model))
        for lane in PauseLane
    ]


def _select_dead(table: Table, name: ColumnElement[str], lane: PauseLane, now: datetime) -> Select[tuple[object, ...]]:
    until, probe = table.c[f"{lane}_paused_until"], table.c[f"{lane}_probe_id"]
    is_awaited = _is_asking(probe) if lane is PauseLane.POLL else _is_sending(probe)
    columns = (name.label("subject"), literal(lane.value).label("lane"), probe.label("probe"))
    query = select(*columns).where(probe.is_not(None), until < now - SWEEP_GRACE, not_(is_awaited))
    # The next poll claim clears a dead probe by itself: without anything to poll it holds nobody up.
    return query.where(exists(_processing())) if lane is PauseLane.POLL else query


def _processing() -> Select[tuple[object, ...]]:
    return select(JOBS.c.id).where(JOBS.c.state == literal_column("'processing'"))


def _is_asking(probe: ColumnElement[str]) -> ColumnElement[bool]:
    return exists(_processing().where(JOBS.c.id == probe, JOBS.c.lease_token.is_not(None)))


def _is_sending(probe: ColumnElement[str]) -> ColumnElement[bool]:
    sending = select(SUBMISSIONS.c.id).join(JOBS, JOBS.c.id == SUBMISSIONS.c.job_id)
    is_open = and_(SUBMISSIONS.c.id == probe, SUBMISSIONS.c.verdict.is_(None), JOBS.c.state == State.SUBMITTING)
    return exists(sending.where(is_open))


def find_idle_sweeps(connection: Connection, now: datetime) -> list[Violation]:
    """Return what maintenance says: that it failed, or that there was none for too long while jobs are active."""
    rows = connection.execute(select(SWEEPS).order_by(SWEEPS.c.name)).mappings().all()
    found = [
        Violation("sweep_failing", row["name"], {"result": row["result"]})
        for row in rows
        if (row["result"] or "").startswith(FAILED)
    ]
    newest = max((row["finished_at"] for row in rows if row["finished_at"]), default=None)
    is_idle = newest is None or newest < now - SWEEP_GRACE
    if is_idle and _has_old_work(connection, now):
        found.append(Violation("sweeps_stopped", "sweeps", {"since": newest or "the beginning"}))
    return found


def _has_old_work(connection: Connection, now: datetime) -> bool:
    """A job that has just been recorded may wait for whoever will run it."""
    due = JOBS.c.due_at < now - SWEEP_GRACE
    return any(
        connection.execute(select(JOBS.c.id).where(JOBS.c.state == state, due).limit(1)).first()
        for state in sorted(ACTIVE)
    )

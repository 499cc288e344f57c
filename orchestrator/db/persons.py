"""Moves that nobody holds a lease for: persons' decisions, and the policy that stands in for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, func, literal_column, select, update

from orchestrator.db.attaching import adopt
from orchestrator.db.dependencies import load_parents
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS, EventDraft, append_events
from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.db.settling import close_used_answer, load_job, lock_job
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import Permanent
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Adopted, Adoption, Applied
from orchestrator.domain.states import State, Trigger

FLAGGABLE = (State.SUBMITTING, State.PROCESSING)


def transact(
    connection: Connection,
    job_id: str,
    change: Callable[[Job, datetime], Decision | None],
    *,
    actor: str,
    reason: str,
    database: Database,
) -> Applied:
    """Lock a job, load all of it, write what `change` returns. Raises NotFound; Conflicts of `change` come out."""
    job = replace(load_job(connection, lock_job(connection, job_id)), parents=load_parents(connection, job_id))
    now = database.now(connection)
    decision = change(job, now)
    if decision is not None:
        write = Write(job, decision, None, actor, reason)
        write_decisions(connection, [write], now=now, database=database)
        close_used_answer(connection, job, decision, now=now)
    return Applied(job_id, decision)


def flag_cancels(
    connection: Connection, job_ids: Sequence[str], *, actor: str, reason: str, now: datetime, database: Database
) -> int:
    """Set cancel_requested_at on submitting and processing jobs, once each; return on how many it is new.

    Their holders' leases stay good.
    """
    if not job_ids:
        return 0
    flag = update(JOBS).where(JOBS.c.id.in_(job_ids), JOBS.c.state.in_(FLAGGABLE), JOBS.c.cancel_requested_at.is_(None))
    flag = flag.values(cancel_requested_at=now, sequence=JOBS.c.sequence + 1)
    rows = connection.execute(flag.returning(JOBS.c.id, JOBS.c.state, JOBS.c.sequence)).all()
    events = {
        row.id: [EventDraft(Trigger.CANCEL_REQUESTED, State(row.state), State(row.state), actor, reason)]
        for row in rows
    }
    append_events(connection, events, {row.id: row.sequence for row in rows}, now=now, rng=database.rng)
    return len(rows)


def adopt_once(adoption: Adoption, *, database: Database) -> Adopted:
    """Adopt a task; whoever loses a race for it finds the winner's job."""
    try:
        return database.write(lambda c: adopt(c, adoption, database=database))
    except Permanent:  # a unique key refused it: another adopted the same task, and has committed
        return database.write(lambda c: adopt(c, adoption, database=database))


def list_held_unknown(connection: Connection, *, after: str, limit: int) -> Sequence[str]:
    """Return ids of held jobs with an unsettled submission and no cancel flag, by id."""
    unsettled = select(SUBMISSIONS.c.id).where(
        SUBMISSIONS.c.job_id == JOBS.c.id,
        SUBMISSIONS.c.verdict == literal_column("'unknown'"),
        SUBMISSIONS.c.superseded_at.is_(None),
    )
    query = (
        select(JOBS.c.id)
        .where(
            JOBS.c.state == literal_column("'needs_review'"),
            JOBS.c.cancel_requested_at.is_(None),
            JOBS.c.id > after,
            unsettled.exists(),
        )
        .order_by(JOBS.c.id)
        .limit(limit)
    )
    return connection.execute(query).scalars().all()


def count_resubmissions(connection: Connection, job_id: str, actor: str) -> int:
    """Return how often this actor has resubmitted a job."""
    query = select(func.count()).where(
        EVENTS.c.job_id == job_id, EVENTS.c.type == Trigger.RESUBMIT, EVENTS.c.actor == actor
    )
    return connection.execute(query).scalar_one()

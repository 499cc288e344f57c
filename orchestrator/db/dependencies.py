"""Jobs that wait for others: who depends on whom, and what follows when one of them ends or comes back.

No wake-up is lost: whoever moves a job then locks those that depend on it, and counts in a new statement; whoever enters
a dependency (db.waiting) locks the job depended on first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from random import Random
from typing import Any

from sqlalchemy import Connection, Select, case, func, select, union, update
from sqlalchemy.sql.dml import ReturningUpdate

from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.rows import JOBS, read_job, table_of
from orchestrator.db.rowset import INT, TEXT, UTC, Types, encode_keys, encode_rows, is_among, make_rowset
from orchestrator.db.tables import JobDependencyRow
from orchestrator.domain.decide import Decision, Standing, decide_dependent, find_due
from orchestrator.domain.job import Job, Parent
from orchestrator.domain.states import FINAL, State, Trigger

DEPENDENCIES = table_of(JobDependencyRow)
_DEAD = (State.FAILED, State.CANCELLED)


def find_affected(connection: Connection, moved: Collection[tuple[str, Decision]]) -> Sequence[str]:
    """Return the jobs whose waiting these moves may change: dependents of what ended or came back, and jobs that are
    queued again and depend on others themselves.
    """
    parents = [job_id for job_id, decision in moved if _matters_to_dependents(decision)]
    again = [job_id for job_id, decision in moved if _is_queued_again(decision)]
    if not parents and not again:
        return []
    query = _affected_query(connection.dialect.name == "sqlite")
    asked = {"parents": encode_keys(parents), "again": encode_keys(again)}
    return sorted(connection.execute(query, asked).scalars())


def _matters_to_dependents(decision: Decision) -> bool:
    if decision.source is decision.target:
        return False
    return decision.target in FINAL or decision.source in _DEAD


def _is_queued_again(decision: Decision) -> bool:
    return decision.target is State.QUEUED and decision.source in (*FINAL, State.NEEDS_REVIEW)


@cache
def _affected_query(is_sqlite: bool) -> Any:  # noqa: ANN401, FBT001 - a union; the cache's key
    dependents = select(DEPENDENCIES.c.job_id).where(is_among(DEPENDENCIES.c.parent_id, "parents", is_sqlite=is_sqlite))
    own = select(DEPENDENCIES.c.job_id).where(is_among(DEPENDENCIES.c.job_id, "again", is_sqlite=is_sqlite))
    return union(dependents, own)


def follow(connection: Connection, job_ids: Sequence[str], *, now: datetime, rng: Random) -> list[tuple[Job, Decision]]:
    """Lock these jobs, count anew for what they wait, let go those that wait for nobody any more, and return the moves
    that are to be written of those that fail or come back with their parents.
    """
    jobs = lock_jobs(connection, job_ids)
    standings = read_standings(connection, job_ids)
    moves: list[tuple[Job, Decision]] = []
    staying: list[Job] = []
    for job_id in sorted(standings):
        decision = decide_dependent(jobs[job_id], standings[job_id], now)
        if decision is not None:
            moves.append((jobs[job_id], decision))
        elif jobs[job_id].state is State.QUEUED:
            staying.append(jobs[job_id])
    write_counts(connection, staying, standings, now=now, rng=rng)
    return moves


def lock_jobs(connection: Connection, job_ids: Sequence[str]) -> Mapping[str, Job]:
    """Lock jobs in the order of their ids and return them as they then stand."""
    query = _lock_query(connection.dialect.name == "sqlite")
    rows = connection.execute(query, {"wanted": encode_keys(job_ids)}).mappings()
    return {row["id"]: read_job(row) for row in rows}


@cache
def _lock_query(is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    wanted = is_among(JOBS.c.id, "wanted", is_sqlite=is_sqlite)
    return select(JOBS).where(wanted).order_by(JOBS.c.id).with_for_update()


def read_standings(connection: Connection, job_ids: Collection[str]) -> Mapping[str, Standing]:
    """Return how the parents of each job stand now. Ask after the jobs are locked, in a statement of its own."""
    query = _standing_query(connection.dialect.name == "sqlite")
    return {row.job_id: _read_standing(row) for row in connection.execute(query, {"children": encode_keys(job_ids)})}


@cache
def _standing_query(is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    parent = JOBS.alias("parent")
    is_dead = parent.c.state.in_(_DEAD)
    is_met = parent.c.state == State.SUCCEEDED
    dead_name = case((is_dead, DEPENDENCIES.c.parent_name))  # NULL for the living
    return (
        select(
            DEPENDENCIES.c.job_id,
            func.sum(case((is_met, 0), else_=1)).label("waiting_count"),
            func.min(dead_name).label("dead_name"),
        )
        .join_from(DEPENDENCIES, parent, parent.c.id == DEPENDENCIES.c.parent_id, isouter=True)
        .where(is_among(DEPENDENCIES.c.job_id, "children", is_sqlite=is_sqlite))
        .group_by(DEPENDENCIES.c.job_id)
    )


def _read_standing(row: Any) -> Standing:  # noqa: ANN401 - a row of the query above
    return Standing(int(row.waiting_count), row.dead_name)


def load_parents(connection: Connection, job_id: str) -> tuple[Parent, ...]:
    """Return those that a job depends on, by name."""
    query = (
        select(DEPENDENCIES.c.parent_name, DEPENDENCIES.c.parent_id, JOBS.c.state)
        .join_from(DEPENDENCIES, JOBS, JOBS.c.id == DEPENDENCIES.c.parent_id, isouter=True)
        .where(DEPENDENCIES.c.job_id == job_id)
        .order_by(DEPENDENCIES.c.parent_name)
    )
    return tuple(
        Parent(row.parent_name, row.parent_id, State(str(row.state)) if row.state else None)
        for row in connection.execute(query)
    )


def write_counts(
    connection: Connection, jobs: Collection[Job], standings: Mapping[str, Standing], *, now: datetime, rng: Random
) -> int:
    """Set the count and the time of queued, locked jobs whose parents stand otherwise than it says; return how many
    may be submitted now.
    """
    rows = [row for job in jobs if (row := _count_row(job, standings[job.id], now)) is not None]
    if not rows:
        return 0
    write = _count_statement(connection.dialect.name == "sqlite")
    written = connection.execute(write, {"counts": encode_rows(rows)})
    released = {row.id: row.sequence for row in written if row.waiting_on_count == 0}
    queued = State.QUEUED
    event = EventDraft(Trigger.DEPENDENCIES_MET, queued, queued, "system", "every job that it depends on has succeeded")
    append_events(connection, {job_id: [event] for job_id in released}, released, now=now, rng=rng)
    return len(released)


def _count_row(job: Job, standing: Standing, now: datetime) -> dict[str, object] | None:
    """None when the row says so already. A job that waits for nobody keeps its own due time."""
    if standing.waiting_count == job.waiting_on_count and (job.due_at is None) == (standing.waiting_count > 0):
        return None
    event_count = 0 if standing.waiting_count else 1
    due_at = find_due(job, standing, now)
    row: dict[str, object] = {"id": job.id, "count": standing.waiting_count, "due_at": due_at}
    return row | {"event_count": event_count, "source": State.QUEUED}


@cache
def _count_statement(is_sqlite: bool) -> ReturningUpdate[str, int, int]:  # noqa: FBT001 - the cache's key
    """The state to be in comes with each row: with a constant SQLite walks all queued jobs and, for each, all rows."""
    types: Types = {"id": TEXT, "count": INT, "due_at": UTC, "event_count": INT, "source": TEXT}
    rows = make_rowset("counts", types, is_sqlite=is_sqlite)
    guard = (JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source)
    values = {
        "waiting_on_count": rows.c["count"],
        "due_at": rows.c.due_at,
        "sequence": JOBS.c.sequence + rows.c.event_count,
    }
    return update(JOBS).where(*guard).values(values).returning(JOBS.c.id, JOBS.c.sequence, JOBS.c.waiting_on_count)

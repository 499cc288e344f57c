"""The BatchCancels port: a group of members is locked, decided about and written in one short transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, func, select, update

from orchestrator.db.engine import Database
from orchestrator.db.persons import flag_cancels
from orchestrator.db.rows import JOBS, load_submissions, read_job, table_of
from orchestrator.db.tables import BatchMemberRow, BatchRow
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Job
from orchestrator.domain.ports import CancelledGroup
from orchestrator.domain.states import State

BATCHES = table_of(BatchRow)
MEMBERS = table_of(BatchMemberRow)
AT_ONCE = 500  # jobs a transaction: the knee of both databases
STOPPABLE = (State.QUEUED, State.SUBMITTING, State.PROCESSING)


class SqlBatchCancels:
    """Cancels in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)

    def request_cancel(self, batch_id: str) -> None:
        database = self._database

        def work(connection: Connection) -> None:
            now = database.now(connection)
            mark = update(BATCHES).where(BATCHES.c.id == batch_id)
            mark = mark.values(
                cancel_requested_at=func.coalesce(BATCHES.c.cancel_requested_at, now),
                intake_done_at=func.coalesce(BATCHES.c.intake_done_at, now),
            )
            if connection.execute(mark.returning(BATCHES.c.id)).first() is None:
                raise NotFound(f"there is no batch {batch_id}")

        database.write(work)

    def cancel_group(
        self,
        batch_id: str,
        change: Callable[[Job, datetime], Decision | None],
        *,
        after_line: int,
        actor: str,
        reason: str,
    ) -> CancelledGroup:
        database = self._database

        def work(connection: Connection) -> CancelledGroup:
            lines = _next_lines(connection, batch_id, after_line)
            jobs = _lock_jobs(connection, [job_id for _, job_id in lines])
            now = database.now(connection)
            decided = [(job, change(job, now)) for job in jobs]
            writes = [Write(job, decision, None, actor, reason) for job, decision in decided if decision is not None]
            moved = write_decisions(connection, writes, now=now, database=database)
            runs_on = [job.id for job, decision in decided if decision is None]
            flag_cancels(connection, runs_on, actor=actor, reason=reason, now=now, database=database)
            return CancelledGroup(lines[-1][0] if lines else None, len(moved), len(runs_on))

        return database.write(work)


def _next_lines(connection: Connection, batch_id: str, after_line: int) -> list[tuple[int, str]]:
    query = (
        select(MEMBERS.c.line_number, MEMBERS.c.job_id)
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.line_number > after_line, JOBS.c.state.in_(STOPPABLE))
        .order_by(MEMBERS.c.line_number)
        .limit(AT_ONCE)
    )
    return [(line, job_id) for line, job_id in connection.execute(query)]


def _lock_jobs(connection: Connection, ids: Sequence[str]) -> list[Job]:
    """A job that has moved on since its line was read is left to itself."""
    query = select(JOBS).where(JOBS.c.id.in_(ids), JOBS.c.state.in_(STOPPABLE)).order_by(JOBS.c.id).with_for_update()
    rows = connection.execute(query).mappings().all()
    submissions = load_submissions(connection, [row["id"] for row in rows]) if rows else {}
    return [read_job(row, submissions=submissions[row["id"]]) for row in rows]

"""The BulkJobs port: a group of jobs is locked, decided about and written in one short transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, select

from orchestrator.db.dependencies import DEPENDENCIES, load_parents
from orchestrator.db.engine import Database
from orchestrator.db.persons import flag_cancels
from orchestrator.db.rows import JOBS, load_outputs, load_submissions, read_job
from orchestrator.db.rowset import encode_keys, is_among
from orchestrator.db.settling import close_used_answer, lock_found
from orchestrator.db.writes import Write, lock_batches, write_decisions
from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job
from orchestrator.domain.ports.bulk import ChangedGroup
from orchestrator.domain.states import State


class SqlBulkJobs:
    """Groups of jobs in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)

    def load(self, job_ids: Sequence[str]) -> Sequence[Job]:
        def work(connection: Connection) -> list[Job]:
            wanted = is_among(JOBS.c.id, "keys", is_sqlite=self._database.is_sqlite)
            rows = connection.execute(select(JOBS).where(wanted), {"keys": encode_keys(job_ids)}).mappings()
            return _complete(connection, {row["id"]: read_job(row) for row in rows})

        return self._database.read(work)

    def change_group(
        self, job_ids: Sequence[str], change: Callable[[Job, datetime], Decision | None], *, actor: str, reason: str
    ) -> ChangedGroup:
        database = self._database

        def work(connection: Connection) -> ChangedGroup:
            lock_batches(connection, job_ids)  # before the jobs, in the order of submit claims
            locked = lock_found(connection, job_ids)
            jobs = _complete(connection, {job_id: read_job(row) for job_id, row in locked.items()})
            now = database.now(connection)
            decided, refused = _decide(jobs, change, now)
            writes = [Write(job, decision, None, actor, reason) for job, decision in decided if decision is not None]
            moved = write_decisions(connection, writes, now=now, database=database)
            for write in writes:
                close_used_answer(connection, write.job, write.decision, now=now)
            runs_on = [job.id for job, decision in decided if decision is None]
            flag_cancels(connection, runs_on, actor=actor, reason=reason, now=now, database=database)
            targets = {write.job.id: State(write.decision.target) for write in writes if write.job.id in moved}
            return ChangedGroup(targets, len(runs_on), refused)

        return database.write(work)


def _decide(
    jobs: Sequence[Job], change: Callable[[Job, datetime], Decision | None], now: datetime
) -> tuple[list[tuple[Job, Decision | None]], dict[str, str]]:
    decided: list[tuple[Job, Decision | None]] = []
    refused: dict[str, str] = {}
    for job in jobs:
        try:
            decided.append((job, change(job, now)))
        except Conflict as conflict:  # one that cannot be changed does not stop the others
            refused[job.id] = conflict.message
    return decided, refused


def _complete(connection: Connection, jobs: dict[str, Job]) -> list[Job]:
    """Return the jobs, newest first, with all that belongs to them."""
    ids = sorted(jobs, reverse=True)
    if not ids:
        return []
    submissions, outputs = load_submissions(connection, ids), load_outputs(connection, ids)
    waiting = select(DEPENDENCIES.c.job_id).where(
        is_among(DEPENDENCIES.c.job_id, "keys", is_sqlite=connection.dialect.name == "sqlite")
    )
    dependents = set(connection.execute(waiting.distinct(), {"keys": encode_keys(ids)}).scalars())
    return [
        replace(
            jobs[job_id],
            submissions=tuple(submissions[job_id]),
            outputs=tuple(outputs[job_id]),
            parents=load_parents(connection, job_id) if job_id in dependents else (),
        )
        for job_id in ids
    ]

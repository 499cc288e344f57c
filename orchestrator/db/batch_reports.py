"""The BatchReports port: batches as they are shown, their families, and which of their files are still to be written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, case, exists, func, select, update

from orchestrator.db.batch_cancels import STOPPABLE
from orchestrator.db.batch_sums import BATCHES, MEMBERS, count_states_of, count_unpriced, read_batch, sum_costs_of
from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS, load_outputs, load_submissions, read_job, table_of
from orchestrator.db.tables import JobDependencyRow
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Batch, Job
from orchestrator.domain.ports import Costs, ErrorGroup, JobCounts, LineJob, Shared
from orchestrator.domain.states import FINAL, State

DEPENDENCIES = table_of(JobDependencyRow)
EXAMPLES = 3
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


class SqlBatchReports:
    """Reads of batches. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_batches(self, *, limit: int, after: str | None = None, owner: str | None = None) -> Sequence[Batch]:
        query = select(BATCHES).order_by(BATCHES.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(BATCHES.c.id < after)
        if owner is not None:
            query = query.where(BATCHES.c.owner == owner)
        return self._database.read(lambda c: [read_batch(row) for row in c.execute(query).mappings()])

    def count_states_of(self, batch_ids: Collection[str]) -> Mapping[str, JobCounts]:
        return self._database.read(lambda c: count_states_of(c, batch_ids))

    def sum_costs_of(self, batch_ids: Collection[str]) -> Mapping[str, Sequence[Costs]]:
        return self._database.read(lambda c: sum_costs_of(c, batch_ids))

    def count_unpriced(self, batch_id: str) -> int:
        return self._database.read(lambda c: count_unpriced(c, batch_id))

    def list_archives(self, batch_ids: Collection[str]) -> Sequence[str]:
        mine = MEMBERS.join(JOBS, JOBS.c.id == MEMBERS.c.job_id)
        query = select(JOBS.c.archive_url).select_from(mine).where(MEMBERS.c.batch_id.in_(batch_ids))
        query = query.distinct().order_by(JOBS.c.archive_url)
        return self._database.read(lambda c: c.execute(query).scalars().all())

    def count_shared(self, batch_id: str) -> Shared:
        linked = select(func.count()).where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.linked_from.is_not(None))
        other = MEMBERS.alias("other")
        is_shared = exists().where(other.c.job_id == MEMBERS.c.job_id, other.c.batch_id != batch_id)
        stoppable = (
            select(func.count())
            .select_from(MEMBERS.join(JOBS, JOBS.c.id == MEMBERS.c.job_id))
            .where(MEMBERS.c.batch_id == batch_id, JOBS.c.state.in_(STOPPABLE), is_shared)
        )

        def work(connection: Connection) -> Shared:
            return Shared(connection.execute(linked).scalar_one(), connection.execute(stoppable).scalar_one())

        return self._database.read(work)

    def list_family(self, batch_id: str) -> Sequence[Batch]:
        return self._database.read(lambda c: _read_family(c, batch_id))

    def list_lines(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[LineJob]:
        query = (
            select(MEMBERS.c.line_number, MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.line_number > after_line)
            .order_by(MEMBERS.c.line_number)
            .limit(limit)
        )

        def work(connection: Connection) -> list[LineJob]:
            return _load_lines(connection, [(line, job_id) for line, job_id in connection.execute(query)])

        return self._database.read(work)

    def list_best(
        self, batch_id: str, family: Collection[str], *, after_line: int = 0, limit: int = 500
    ) -> Sequence[LineJob]:
        mine = (
            select(MEMBERS.c.line_number)
            .where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.line_number > after_line)
            .order_by(MEMBERS.c.line_number)
            .limit(limit)
        )

        def work(connection: Connection) -> list[LineJob]:
            lines = list(connection.execute(mine).scalars())
            best = _find_best(connection, family, lines)
            return _load_lines(connection, [(line, best[line]) for line in lines])

        return self._database.read(work)

    def group_errors(self, batch_id: str) -> Sequence[ErrorGroup]:
        unhappy = (*FINAL - {State.SUCCEEDED}, State.NEEDS_REVIEW)
        name = func.coalesce(MEMBERS.c.custom_id, MEMBERS.c.job_id)
        place = func.row_number().over(
            partition_by=(JOBS.c.state, JOBS.c.failure_code, JOBS.c.provider_code), order_by=MEMBERS.c.line_number
        )
        numbered = (
            select(JOBS.c.state, JOBS.c.failure_code, JOBS.c.provider_code, name.label("name"), place.label("place"))
            .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id, JOBS.c.state.in_(unhappy))
            .subquery()
        )
        kind = (numbered.c.state, numbered.c.failure_code, numbered.c.provider_code)
        examples = [func.max(case((numbered.c.place == nth, numbered.c.name))) for nth in range(1, EXAMPLES + 1)]
        query = select(*kind, func.count(), *examples).group_by(*kind).order_by(func.count().desc(), *kind)
        rows = self._database.read(lambda c: c.execute(query).all())
        return [
            ErrorGroup(State(row[0]), row[1], row[2], row[3], tuple(name for name in row[4:] if name is not None))
            for row in rows
        ]

    def list_files_due(self, *, after: str = "", limit: int = 20) -> Sequence[Batch]:
        due = BATCHES.c.finished_at.is_not(None) & BATCHES.c.files_written_at.is_(None)
        query = select(BATCHES).where(due, BATCHES.c.id > after).order_by(BATCHES.c.id).limit(limit)
        return self._database.read(lambda c: [read_batch(row) for row in c.execute(query).mappings()])

    def mark_files_written(self, batch_id: str, *, finished_at: datetime) -> bool:
        database = self._database

        def work(connection: Connection) -> bool:
            same = (BATCHES.c.id == batch_id) & (BATCHES.c.finished_at == finished_at)
            mark = update(BATCHES).where(same).values(files_written_at=database.now(connection))
            if connection.execute(mark.returning(BATCHES.c.id)).first() is not None:
                return True
            # What was just put may have replaced what a later finish had put: that one's files are due again.
            connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(files_written_at=None))
            return False

        return database.write(work)

    def list_dependencies(self, job_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        query = (
            select(DEPENDENCIES.c.job_id, DEPENDENCIES.c.parent_name)
            .where(DEPENDENCIES.c.job_id.in_(job_ids))
            .order_by(DEPENDENCIES.c.job_id, DEPENDENCIES.c.parent_name)
        )
        found: dict[str, list[str]] = defaultdict(list)
        for job_id, name in self._database.read(lambda c: c.execute(query).all()):
            found[job_id].append(name)
        return {job_id: tuple(names) for job_id, names in found.items()}


def _read_family(connection: Connection, batch_id: str) -> list[Batch]:
    root = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).mappings().first()
    if root is None:
        raise NotFound(f"there is no batch {batch_id}")
    while root["parent_id"] is not None:
        root = connection.execute(select(BATCHES).where(BATCHES.c.id == root["parent_id"])).mappings().one()
    family, youngest = [read_batch(root)], [root["id"]]
    while youngest:
        children = select(BATCHES).where(BATCHES.c.parent_id.in_(youngest)).order_by(BATCHES.c.id)
        found = [read_batch(row) for row in connection.execute(children).mappings()]
        family += found
        youngest = [batch.id for batch in found]
    return sorted(family, key=lambda batch: batch.id)


def _find_best(connection: Connection, family: Collection[str], lines: Sequence[int]) -> dict[int, str]:
    """A retry keeps the line numbers of what it tries again: that is what makes a family's members one line."""
    if not lines:
        return {}
    query = (
        select(MEMBERS.c.line_number, JOBS.c.id, JOBS.c.state)
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(MEMBERS.c.batch_id.in_(family), MEMBERS.c.line_number.between(lines[0], lines[-1]))
        .order_by(JOBS.c.id)
    )
    best: dict[int, tuple[int, str]] = {}
    for line, job_id, state in connection.execute(query):
        rank = BEST_FIRST.index(State(state))
        if line not in best or rank <= best[line][0]:
            best[line] = (rank, job_id)
    return {line: job_id for line, (_, job_id) in best.items()}


def _load_lines(connection: Connection, lines: Sequence[tuple[int, str]]) -> list[LineJob]:
    ids = [job_id for _, job_id in lines]
    if not ids:
        return []
    jobs = _load_jobs(connection, ids)
    return [LineJob(line, jobs[job_id]) for line, job_id in lines]


def _load_jobs(connection: Connection, ids: Sequence[str]) -> dict[str, Job]:
    rows = connection.execute(select(JOBS).where(JOBS.c.id.in_(ids))).mappings().all()
    submissions, outputs = load_submissions(connection, ids), load_outputs(connection, ids)
    return {
        row["id"]: read_job(
            row,
            submissions=submissions[row["id"]],
            outputs=sorted(outputs[row["id"]], key=lambda output: output.index),
        )
        for row in rows
    }

"""Dependencies entered at the end of an intake, and jobs whose waiting does not follow from those they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from sqlalchemy import ColumnElement, Connection, Select, Update, bindparam, literal_column, select, update

from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_many
from orchestrator.db.rows import JOBS, load_outputs, read_job, table_of
from orchestrator.db.rowset import encode_keys, is_among
from orchestrator.db.tables import BatchMemberRow
from orchestrator.db.writes import settle_dependents
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.states import State

MEMBERS = table_of(BatchMemberRow)
PAGE = 500  # jobs a transaction: those that they wait for are locked meanwhile


def insert_dependencies(connection: Connection, batch_id: str, jobs: Sequence[NewJob]) -> None:
    """Insert what new jobs wait for, by name; the names are looked up once every line is in."""
    rows = [
        {"job_id": job.id, "parent_name": name, "batch_id": batch_id, "parent_id": None}
        for job in jobs
        for name in job.depends_on
    ]
    insert_many(connection, DEPENDENCIES, rows)


def enter_parents(batch_id: str, *, database: Database) -> None:
    """Look up the names that the jobs of a batch depend on, and let each wait, go or fail as those stand."""
    page: Sequence[str] = [""]
    while page := database.read(partial(_find_dependents, batch_id=batch_id, after=page[-1])):
        database.write(partial(_enter_page, batch_id=batch_id, job_ids=page, database=database))


def load_parents(connection: Connection, job_id: str) -> dict[str, Job]:
    """Return the jobs that one depends on, by the name it knows them by, with their outputs."""
    query = select(DEPENDENCIES.c.parent_name, JOBS).join_from(
        DEPENDENCIES, JOBS, JOBS.c.id == DEPENDENCIES.c.parent_id
    )
    rows = connection.execute(query.where(DEPENDENCIES.c.job_id == job_id)).mappings().all()
    outputs = load_outputs(connection, [row["id"] for row in rows])
    return {row["parent_name"]: read_job(row, outputs=outputs[row["id"]]) for row in rows}


def settle_stragglers(*, limit: int, database: Database) -> int:
    """Settle jobs that wait although nothing keeps them, or whose parents have ended otherwise; return how many."""
    found = database.read(lambda c: find_stragglers(c, limit=limit))
    if found:
        database.write(lambda c: settle_dependents(c, found, now=database.now(c), database=database))
    return len(found)


def find_stragglers(connection: Connection, *, limit: int) -> Sequence[str]:
    """Return waiting jobs one of whose parents has failed, or all of whose parents have succeeded."""
    return connection.execute(_stragglers_query(), {"most": limit}).scalars().all()


@cache
def _stragglers_query() -> Select[str]:
    return select(JOBS.c.id).where(is_straggler()).order_by(JOBS.c.id).limit(bindparam("most"))


def is_straggler() -> ColumnElement[bool]:
    """Return whether a job waits for others although one of them has failed, or all of them have succeeded."""
    parent = JOBS.alias("parent")
    theirs = select(DEPENDENCIES.c.job_id).join(parent, parent.c.id == DEPENDENCIES.c.parent_id, isouter=True)
    theirs = theirs.where(DEPENDENCIES.c.job_id == JOBS.c.id).correlate(JOBS)
    is_dead = theirs.where(parent.c.state.in_((State.FAILED, State.CANCELLED))).exists()
    is_unmet = theirs.where(parent.c.state.is_distinct_from(State.SUCCEEDED)).exists()
    return is_waiting() & (is_dead | ~is_unmet)


def is_waiting() -> ColumnElement[bool]:
    """Return whether a job is queued behind others; spelled so that its own index serves."""
    return (JOBS.c.state == literal_column("'queued'")) & (JOBS.c.waiting_on_count > literal_column("0"))


def _find_dependents(connection: Connection, *, batch_id: str, after: str) -> Sequence[str]:
    query = (
        select(DEPENDENCIES.c.job_id)
        .where(DEPENDENCIES.c.batch_id == batch_id, DEPENDENCIES.c.job_id > after)
        .group_by(DEPENDENCIES.c.job_id)
        .order_by(DEPENDENCIES.c.job_id)
        .limit(PAGE)
    )
    return connection.execute(query).scalars().all()


def _enter_page(connection: Connection, *, batch_id: str, job_ids: Sequence[str], database: Database) -> None:
    """The parents are locked before they are entered: whoever moves one afterwards sees who waits for it, and whoever
    moved it before is seen.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    asked = {"children": encode_keys(job_ids), "batch": batch_id}
    connection.execute(_lock_parents(is_sqlite), asked).all()
    connection.execute(_enter_statement(is_sqlite), {"children": asked["children"]})
    settle_dependents(connection, job_ids, now=database.now(connection), database=database)


@cache
def _lock_parents(is_sqlite: bool) -> Select[str]:  # noqa: FBT001 - the cache's key
    """A parent is never moved from its lock to our commit; other intakes may lock it too."""
    mine = is_among(DEPENDENCIES.c.job_id, "children", is_sqlite=is_sqlite)
    named = (MEMBERS.c.batch_id == DEPENDENCIES.c.batch_id) & (MEMBERS.c.custom_id == DEPENDENCIES.c.parent_name)
    theirs = select(MEMBERS.c.job_id).join_from(DEPENDENCIES, MEMBERS, named)
    theirs = theirs.where(mine, DEPENDENCIES.c.batch_id == bindparam("batch"))
    return select(JOBS.c.id).where(JOBS.c.id.in_(theirs)).order_by(JOBS.c.id).with_for_update(read=True)


@cache
def _enter_statement(is_sqlite: bool) -> Update:  # noqa: FBT001 - the cache's key
    """By the jobs' ids alone: they are of this batch, and a name means the same each time it is looked up. Each further
    condition made PostgreSQL, which knows nothing of tables that were just filled, expect a single row and walk all ids
    for every line of the batch.
    """
    mine = is_among(DEPENDENCIES.c.job_id, "children", is_sqlite=is_sqlite)
    named = (MEMBERS.c.batch_id == DEPENDENCIES.c.batch_id) & (MEMBERS.c.custom_id == DEPENDENCIES.c.parent_name)
    job_of = select(MEMBERS.c.job_id).where(named).correlate(DEPENDENCIES).limit(1).scalar_subquery()
    return update(DEPENDENCIES).where(mine).values(parent_id=job_of)

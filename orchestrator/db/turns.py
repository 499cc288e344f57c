"""Whose turn it is: the order in which queued jobs of one model get its free slots (design section 5).

Priority first; within one priority round robin over fair keys (batches and owners), the longest unserved key first;
within one key by due_at, id. Every step is an index seek: nothing here reads the queue from end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import groupby

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    SmallInteger,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from orchestrator.db.rows import JOBS, SUBMISSIONS, table_of
from orchestrator.db.rowset import TEXT, encode_rows, make_rowset
from orchestrator.db.tables import BatchMemberRow, BatchRow
from orchestrator.db.types import Utc

MEMBERS = table_of(BatchMemberRow)
BATCHES = table_of(BatchRow)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
GROUPS_AT_ONCE = 100  # terms of one UNION ALL; SQLite allows 500


@dataclass(frozen=True)
class Queue:
    """The queued jobs of one model that a claim may look at."""

    credential: str
    model: str
    batch_id: str | None = None
    fair_keys: tuple[str, ...] = ()
    """With a batch: the fair keys under which its members wait."""

    @property
    def parameters(self) -> dict[str, object]:
        """What `_of_queue` leaves open."""
        mine: dict[str, object] = {"credential": self.credential, "model": self.model}
        return mine if self.batch_id is None else mine | {"batch_id": self.batch_id, "fair_keys": self.fair_keys}


@dataclass(frozen=True, order=True)
class Turn:
    """A job's place in the order; the smallest goes first."""

    rank: tuple[int, int, datetime, datetime]
    job_id: str
    fair_key: str = field(compare=False)
    model: str = field(compare=False)

    @property
    def place(self) -> tuple[str, int, str]:
        """Return the part of the queue behind one head: model, priority and fair key."""
        return self.model, -self.rank[0], self.fair_key


@dataclass(frozen=True)
class Head:
    """The first job of one priority and fair key."""

    job_id: str
    priority: int
    fair_key: str
    due_at: datetime
    has_budget: bool
    """Its batch has one: whether it may be taken is to be looked at (db.budgets)."""


def find_models(connection: Connection, credential: str) -> list[str]:
    """Return the models that have queued jobs, in name order, by skipping through the index from its end.

    Claims take from the beginning of each model's part, and leave versions there that no vacuum may have removed.
    """
    return sorted(connection.execute(_models_query(), {"credential": credential}).scalars())


def find_fair_keys(connection: Connection, batch_id: str) -> tuple[str, ...]:
    """Return the fair keys under which members of a batch may wait: its own, and those of linked jobs."""
    linked = select(MEMBERS.c.linked_from).where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.linked_from.is_not(None))
    return (batch_id, *connection.execute(linked.distinct()).scalars())


def find_heads(connection: Connection, queue: Queue) -> list[Head]:
    """Return the first job of every (priority, fair key) that has queued jobs, due or not, highest priority first."""
    rows = connection.execute(_heads_query(queue.batch_id is not None), queue.parameters)
    found = [Head(row.id, row.priority, row.fair_key, row.due_at, row.has_budget) for row in rows]
    return sorted(found, key=lambda head: (-head.priority, head.fair_key))


def pick(connection: Connection, queue: Queue, heads: Sequence[Head], *, limit: int, now: datetime) -> list[Turn]:
    """Return the next `limit` due jobs of a queue, in order, from behind those of its heads that may be taken."""
    due = [head for head in heads if head.due_at <= now]
    picked: list[Turn] = []
    for _, group in groupby(due, key=lambda head: head.priority):
        left = limit - len(picked)
        if left <= 0:
            break
        picked += _pick_of_priority(connection, queue, list(group), left, now)
    return picked


def is_queued(jobs: FromClause) -> ColumnElement[bool]:
    """Queued and not waiting for others; the state as a literal, which is what lets the partial index serve it."""
    return (jobs.c.state == literal_column("'queued'")) & jobs.c.due_at.is_not(None)


def _pick_of_priority(
    connection: Connection, queue: Queue, heads: Sequence[Head], limit: int, now: datetime
) -> list[Turn]:
    served = _find_last_served(connection, queue, [head.fair_key for head in heads])
    ordered = sorted(heads, key=lambda head: (served.get(head.fair_key) or NEVER, head.due_at, head.job_id))[:limit]
    turns: list[Turn] = []
    for start in range(0, len(ordered), GROUPS_AT_ONCE):
        part = ordered[start : start + GROUPS_AT_ONCE]
        asked = queue.parameters | _parameters_of(part, limit if len(ordered) < limit else 1, now)
        for row in connection.execute(_first_of_each(queue.batch_id is not None, len(part)), asked):
            rank = (-part[0].priority, row.place, served.get(row.fair_key) or NEVER, row.due_at)
            turns.append(Turn(rank, row.id, row.fair_key, queue.model))
    return sorted(turns)[:limit]


def _parameters_of(heads: Sequence[Head], limit: int, now: datetime) -> dict[str, object]:
    asked: dict[str, object] = {"priority": heads[0].priority, "limit": limit, "now": now}
    for place, head in enumerate(heads):
        asked |= {f"key_{place}": head.fair_key, f"due_{place}": head.due_at, f"id_{place}": head.job_id}
    return asked


def _find_last_served(connection: Connection, queue: Queue, fair_keys: Sequence[str]) -> dict[str, datetime | None]:
    asked = {"credential": queue.credential, "model": queue.model, "keys": encode_rows([{"key": k} for k in fair_keys])}
    rows = connection.execute(_last_served_query(connection.dialect.name == "sqlite"), asked)
    return {row.key: row.served_at for row in rows}


# -- statements, built once: only their parameters change ----------------------------------------------------------


@lru_cache(maxsize=GROUPS_AT_ONCE)
def _first_of_each(has_batch: bool, count: int) -> Select[str, str, datetime, int]:  # noqa: FBT001 - the cache's key
    """The first `limit` due jobs from the head of each of `count` fair keys of one priority, numbered within their key."""
    parts = []
    for place in range(count):
        group = (
            select(JOBS.c.id, JOBS.c.fair_key, JOBS.c.due_at)
            .where(
                _of_queue(JOBS, has_batch),
                JOBS.c.priority == bindparam("priority", type_=SmallInteger()),
                JOBS.c.fair_key == bindparam(f"key_{place}", type_=TEXT),
                tuple_(
                    JOBS.c.due_at, JOBS.c.id
                )  # rows gone from before the head leave versions that are not read again
                >= tuple_(bindparam(f"due_{place}", type_=Utc()), bindparam(f"id_{place}", type_=TEXT)),
            )
            .where(JOBS.c.due_at <= bindparam("now", type_=Utc()))
            .order_by(JOBS.c.due_at, JOBS.c.id)
            .limit(bindparam("limit", type_=Integer()))
            .subquery()
        )
        parts.append(select(group.c.id, group.c.fair_key, group.c.due_at))
    rows = union_all(*parts).subquery("groups")
    number = func.row_number().over(partition_by=rows.c.fair_key, order_by=(rows.c.due_at, rows.c.id))
    return select(rows.c.id, rows.c.fair_key, rows.c.due_at, number.label("place"))


@cache
def _models_query() -> Select[str]:
    queued = (JOBS.c.credential == bindparam("credential")) & is_queued(JOBS)
    last = select(func.max(JOBS.c.model)).where(queued).scalar_subquery()
    models = select(last.label("model")).cte("models", recursive=True)
    earlier = select(func.max(JOBS.c.model)).where(queued, JOBS.c.model < models.c.model).scalar_subquery()
    models = models.union_all(select(earlier).where(models.c.model.is_not(None)))
    return select(models.c.model).where(models.c.model.is_not(None))


@cache
def _last_served_query(is_sqlite: bool) -> Select[str, datetime]:  # noqa: FBT001 - the cache's key
    keys = make_rowset("keys", {"key": TEXT}, is_sqlite=is_sqlite)
    newest = (
        select(func.max(SUBMISSIONS.c.intent_at))
        .where(
            SUBMISSIONS.c.credential == bindparam("credential"),
            SUBMISSIONS.c.model == bindparam("model"),
            SUBMISSIONS.c.fair_key == keys.c.key,
        )
        .scalar_subquery()
    )
    return select(keys.c.key, newest.label("served_at"))


@cache
def _heads_query(has_batch: bool) -> Select[str, int, str, datetime, bool]:  # noqa: FBT001 - the cache's key
    """Skip from the first job of one (priority, fair key) to the first of the next."""
    head, following = JOBS.alias("head"), JOBS.alias("following")
    heads = (
        select(head.c.id, head.c.priority, head.c.fair_key, head.c.due_at)
        .where(head.c.id == _first_of(has_batch, _highest_priority(has_batch)))
        .cte("heads", recursive=True)
    )
    lower = _highest_priority(has_batch, below=heads.c.priority).correlate(heads)
    same_priority = _first_of(has_batch, heads.c.priority, after=heads.c.fair_key).correlate(heads)
    next_priority = _first_of(has_batch, lower).correlate(heads)
    heads = heads.union_all(
        select(following.c.id, following.c.priority, following.c.fair_key, following.c.due_at).join_from(
            heads, following, following.c.id == func.coalesce(same_priority, next_priority)
        )
    )
    may_be_limited = BATCHES.c.max_cost_micros.is_not(None) | BATCHES.c.parent_id.is_not(None)
    limited = select(literal(1)).where(BATCHES.c.id == heads.c.fair_key, may_be_limited)
    has_budget = limited.correlate(heads).exists().label("has_budget")
    return select(heads.c.id, heads.c.priority, heads.c.fair_key, heads.c.due_at, has_budget)


def _highest_priority(
    has_batch: bool,  # noqa: FBT001 - passed on from the cache's key
    *,
    below: ColumnElement[int] | None = None,
) -> ScalarSelect[int]:
    jobs = JOBS.alias("any_priority" if below is None else "lower_priority")
    query = select(jobs.c.priority).where(_of_queue(jobs, has_batch))
    if below is not None:
        query = query.where(jobs.c.priority < below)
    return query.order_by(jobs.c.priority.desc()).limit(1).scalar_subquery()


def _first_of(
    has_batch: bool,  # noqa: FBT001 - passed on from the cache's key
    priority: ColumnElement[int] | ScalarSelect[int],
    *,
    after: ColumnElement[str] | None = None,
) -> ScalarSelect[str]:
    jobs = JOBS.alias("same_priority" if after is not None else "one_priority")
    query = select(jobs.c.id).where(_of_queue(jobs, has_batch), jobs.c.priority == priority)
    if after is not None:
        query = query.where(jobs.c.fair_key > after)
    return query.order_by(jobs.c.fair_key, jobs.c.due_at, jobs.c.id).limit(1).scalar_subquery()


def _of_queue(jobs: FromClause, has_batch: bool) -> ColumnElement[bool]:  # noqa: FBT001 - as above
    mine = and_(jobs.c.credential == bindparam("credential"), jobs.c.model == bindparam("model"), is_queued(jobs))
    if not has_batch:
        return mine
    member = select(literal(1)).where(MEMBERS.c.job_id == jobs.c.id, MEMBERS.c.batch_id == bindparam("batch_id"))
    return and_(mine, jobs.c.fair_key.in_(bindparam("fair_keys", expanding=True)), member.exists())

"""The outbox: events and their deliveries, written by the transaction that changes the state (design promise 8).

Where nobody listens nothing is rendered: one indexed question a transaction says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import CompoundSelect, Connection, FromClause, RowMapping, Select, func, select, union_all

from orchestrator.db.batch_sums import count_states_of, count_unpriced, read_batch, sum_costs_of
from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_many
from orchestrator.db.rows import JOBS, load_outputs, load_submissions, read_job, table_of
from orchestrator.db.rowset import TEXT, encode_keys, encode_rows, is_among, make_rowset
from orchestrator.db.tables import (
    BatchMemberRow,
    BatchRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookEventRow,
    WebhookLinkRow,
)
from orchestrator.db.types import clean_text
from orchestrator.domain import ids
from orchestrator.domain.job import Batch, Job
from orchestrator.domain.ports.webhooks import BatchEnd, Render
from orchestrator.domain.subscriptions import is_subscribed
from orchestrator.domain.webhooks import BATCH_FINISHED, ENDPOINT_DISABLED, DeliveryState, Endpoint

ENDPOINTS = table_of(WebhookEndpointRow)
LINKS = table_of(WebhookLinkRow)
WEBHOOK_EVENTS = table_of(WebhookEventRow)
DELIVERIES = table_of(WebhookDeliveryRow)
BATCHES = table_of(BatchRow)
MEMBERS = table_of(BatchMemberRow)


@dataclass(frozen=True)
class JobEnd:
    """A job that has just moved to where an event tells of it; `sequence` is that of its newest history row."""

    job_id: str
    owner: str
    event_type: str
    sequence: int


def record_jobs(connection: Connection, ends: Sequence[JobEnd], *, now: datetime, database: Database) -> None:
    """Write the events of these moves and a delivery for each endpoint that hears of them."""
    render = database.render
    if render is None or not ends or not _is_anybody_listening(connection, {end.owner for end in ends}):
        return
    listeners = _find_listeners(connection, _listening_to_jobs, [(end.job_id, end.owner) for end in ends])
    heard = {end.job_id: _choose(listeners[end.job_id], end.event_type) for end in ends}
    wanted = [end for end in ends if heard[end.job_id]]
    jobs = _load_jobs(connection, [end.job_id for end in wanted])
    drafts = [
        _Draft(
            end.event_type,
            end.owner,
            render(end.event_type, jobs[end.job_id], at=now, sequence=end.sequence),
            heard[end.job_id],
            job_id=end.job_id,
            sequence=end.sequence,
        )
        for end in wanted
    ]
    _write(connection, drafts, now=now, database=database)


def record_batches(connection: Connection, batch_ids: Sequence[str], *, now: datetime, database: Database) -> None:
    """Write batch.finished for batches that this transaction has closed."""
    if database.render is None or not batch_ids:
        return
    query = select(BATCHES).where(BATCHES.c.id.in_(batch_ids)).order_by(BATCHES.c.id)
    batches = [read_batch(row) for row in connection.execute(query).mappings()]
    if not _is_anybody_listening(connection, {batch.owner for batch in batches}):
        return
    listeners = _find_listeners(connection, _listening_to_batches, [(batch.id, batch.owner) for batch in batches])
    heard = {batch.id: _choose(listeners[batch.id], BATCH_FINISHED) for batch in batches}
    wanted = [batch for batch in batches if heard[batch.id]]
    ends = _load_ends(connection, wanted)
    sequences = _next_sequences(connection, [batch.id for batch in wanted])
    drafts = [_draft_batch(database.render, end, sequences, heard, now=now) for end in ends]
    _write(connection, drafts, now=now, database=database)


def record_disabled(connection: Connection, endpoint: Endpoint, *, now: datetime, database: Database) -> None:
    """Tell the owner's other endpoints that this one takes no more events."""
    if database.render is None:
        return
    others = (ENDPOINTS.c.owner == endpoint.owner) & ENDPOINTS.c.is_global & (ENDPOINTS.c.id != endpoint.id)
    query = select(ENDPOINTS.c.id, ENDPOINTS.c.patterns).where(others, ENDPOINTS.c.disabled_at.is_(None))
    heard = _choose([(row.id, row.patterns) for row in connection.execute(query)], ENDPOINT_DISABLED)
    if heard:
        record_for(connection, ENDPOINT_DISABLED, endpoint, heard, now=now, database=database)


def record_for(
    connection: Connection,
    event_type: str,
    endpoint: Endpoint,
    heard_by: Sequence[str],
    *,
    now: datetime,
    database: Database,
) -> str:
    """Write an event that tells of an endpoint, for these endpoints; return its id."""
    if database.render is None:
        raise ValueError("a database without a renderer has no events to write")
    body = database.render(event_type, endpoint, at=now, sequence=0)
    draft = _Draft(event_type, endpoint.owner, body, heard_by, endpoint_id=endpoint.id)
    (event_id,) = _write(connection, [draft], now=now, database=database)
    return event_id


@dataclass(frozen=True)
class _Draft:
    event_type: str
    owner: str
    body: str
    heard_by: Sequence[str]
    job_id: str | None = None
    batch_id: str | None = None
    endpoint_id: str | None = None
    sequence: int = 0


def _write(connection: Connection, drafts: Sequence[_Draft], *, now: datetime, database: Database) -> list[str]:
    numbered = [(ids.make_id(ids.EVENT, now=now, rng=database.rng), draft) for draft in drafts]
    insert_many(connection, WEBHOOK_EVENTS, [_event_row(event_id, draft, now) for event_id, draft in numbered])
    deliveries = [
        _delivery_row(event_id, endpoint_id, now, database)
        for event_id, draft in numbered
        for endpoint_id in draft.heard_by
    ]
    insert_many(connection, DELIVERIES, deliveries)
    return [event_id for event_id, _ in numbered]


def _event_row(event_id: str, draft: _Draft, now: datetime) -> dict[str, object]:
    return {
        "id": event_id,
        "type": draft.event_type,
        "owner": draft.owner,
        "job_id": draft.job_id,
        "batch_id": draft.batch_id,
        "endpoint_id": draft.endpoint_id,
        "sequence": draft.sequence,
        "body": clean_text(draft.body),
        "created_at": now,
    }


def _delivery_row(event_id: str, endpoint_id: str, now: datetime, database: Database) -> dict[str, object]:
    return {
        "id": ids.make_id(ids.DELIVERY, now=now, rng=database.rng),
        "event_id": event_id,
        "endpoint_id": endpoint_id,
        "state": DeliveryState.PENDING,
        "attempt_count": 0,
        "resent_count": 0,
        "due_at": now,
        "created_at": now,
        "finished_at": None,
    }


def _is_anybody_listening(connection: Connection, owners: Collection[str]) -> bool:
    enabled = select(ENDPOINTS.c.id).where(ENDPOINTS.c.owner.in_(owners), ENDPOINTS.c.disabled_at.is_(None)).limit(1)
    return connection.execute(enabled).first() is not None


_Listener = tuple[str, Sequence[str]]
"""An endpoint's id and its patterns."""


def _choose(listeners: Sequence[_Listener], event_type: str) -> list[str]:
    return sorted({endpoint_id for endpoint_id, patterns in listeners if is_subscribed(patterns, event_type)})


def _find_listeners(
    connection: Connection,
    query: Callable[[bool], CompoundSelect[*tuple[Any, ...]]],
    subjects: Sequence[tuple[str, str]],
) -> Mapping[str, Sequence[_Listener]]:
    statement = query(connection.dialect.name == "sqlite")
    rows = encode_rows([{"subject": subject, "owner": owner} for subject, owner in subjects])
    found: dict[str, list[_Listener]] = defaultdict(list)
    for row in connection.execute(statement, {"subjects": rows}):
        found[row.subject].append((row.id, row.patterns))
    return found


@cache
def _listening_to_jobs(is_sqlite: bool) -> CompoundSelect[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    """Global endpoints of each job's owner, those that the job named, those that a batch it is a member of named."""
    subjects = _subjects(is_sqlite)
    named = _select_listeners(subjects).join(LINKS, LINKS.c.job_id == subjects.c.subject)
    by_batch = _select_listeners(subjects).join(MEMBERS, MEMBERS.c.job_id == subjects.c.subject)
    by_batch = by_batch.join(LINKS, LINKS.c.batch_id == MEMBERS.c.batch_id)
    return union_all(_select_global(subjects), _linked(named), _linked(by_batch))


@cache
def _listening_to_batches(is_sqlite: bool) -> CompoundSelect[*tuple[Any, ...]]:  # noqa: FBT001 - as above
    subjects = _subjects(is_sqlite)
    named = _select_listeners(subjects).join(LINKS, LINKS.c.batch_id == subjects.c.subject)
    return union_all(_select_global(subjects), _linked(named))


def _subjects(is_sqlite: bool) -> FromClause:  # noqa: FBT001 - which of two spellings
    return make_rowset("subjects", {"subject": TEXT, "owner": TEXT}, is_sqlite=is_sqlite)


def _select_listeners(subjects: FromClause) -> Select[*tuple[Any, ...]]:
    return select(subjects.c.subject, ENDPOINTS.c.id, ENDPOINTS.c.patterns).select_from(subjects)


def _select_global(subjects: FromClause) -> Select[*tuple[Any, ...]]:
    is_theirs = (ENDPOINTS.c.owner == subjects.c.owner) & ENDPOINTS.c.is_global & ENDPOINTS.c.disabled_at.is_(None)
    return _select_listeners(subjects).join(ENDPOINTS, is_theirs)


def _linked(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return query.join(ENDPOINTS, (ENDPOINTS.c.id == LINKS.c.endpoint_id) & ENDPOINTS.c.disabled_at.is_(None))


def _load_jobs(connection: Connection, job_ids: Sequence[str]) -> Mapping[str, Job]:
    """Return the jobs as this transaction leaves them."""
    if not job_ids:
        return {}
    wanted = is_among(JOBS.c.id, "wanted", is_sqlite=connection.dialect.name == "sqlite")
    rows = connection.execute(select(JOBS).where(wanted), {"wanted": encode_keys(job_ids)}).mappings().all()
    submissions, outputs = load_submissions(connection, job_ids), load_outputs(connection, job_ids)
    return {row["id"]: _read_whole(row, submissions, outputs) for row in rows}


def _read_whole(row: RowMapping, submissions: Mapping[str, Any], outputs: Mapping[str, Any]) -> Job:
    return read_job(row, submissions=submissions[row["id"]], outputs=outputs[row["id"]])


def _load_ends(connection: Connection, batches: Sequence[Batch]) -> list[BatchEnd]:
    batch_ids = [batch.id for batch in batches]
    if not batch_ids:
        return []
    counts, costs = count_states_of(connection, batch_ids), sum_costs_of(connection, batch_ids)
    return [
        BatchEnd(batch, counts[batch.id], costs[batch.id], count_unpriced(connection, batch.id)) for batch in batches
    ]


def _next_sequences(connection: Connection, batch_ids: Sequence[str]) -> Mapping[str, int]:
    of_batches = (WEBHOOK_EVENTS.c.batch_id.in_(batch_ids)) & (WEBHOOK_EVENTS.c.type == BATCH_FINISHED)
    query = select(WEBHOOK_EVENTS.c.batch_id, func.max(WEBHOOK_EVENTS.c.sequence)).where(of_batches)
    rows = connection.execute(query.group_by(WEBHOOK_EVENTS.c.batch_id)).all()
    last = {row[0]: row[1] for row in rows}
    return {batch_id: last.get(batch_id, 0) + 1 for batch_id in batch_ids}


def _draft_batch(
    render: Render, end: BatchEnd, sequences: Mapping[str, int], heard: Mapping[str, Sequence[str]], *, now: datetime
) -> _Draft:
    batch, sequence = end.batch, sequences[end.batch.id]
    body = render(BATCH_FINISHED, end, at=now, sequence=sequence)
    return _Draft(BATCH_FINISHED, batch.owner, body, heard[batch.id], batch_id=batch.id, sequence=sequence)

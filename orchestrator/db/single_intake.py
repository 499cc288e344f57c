"""One request taken in by one transaction: the use of its idempotency key, its batch of one, its job, the line of the log.

Nothing of it can be there without the rest, so whoever repeats a request finds all of it or nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import DBAPIError

from orchestrator.db.access import append_audit
from orchestrator.db.access_tables import IdempotencyRow
from orchestrator.db.batches import BATCHES, insert_members, make_batch_row, make_job_row
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.inserts import insert_missing
from orchestrator.db.rows import JOBS, table_of
from orchestrator.domain import ids
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import RepeatKey, SingleIntake, Taken
from orchestrator.domain.states import State, Trigger, check_transition

USES = table_of(IdempotencyRow)
FORGOTTEN_AT_ONCE = 100  # old rows leave with the new ones, never many in one transaction
LOCK_WAIT_MS = 5000  # how long the second of two equal requests waits for the first one's commit
LOCK_NOT_AVAILABLE = "55P03"


class SqlSingleIntakes:
    """The SingleIntakes port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def take(self, single: SingleIntake) -> Taken:
        database = self._database

        def work(connection: Connection) -> Taken:
            if single.repeat is not None and not database.is_sqlite:
                connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
            now = database.now(connection)
            if single.repeat is not None:
                earlier = _enter(connection, single.repeat, single.job.id, now=now, rng=database.rng)
                if earlier is not None:
                    return earlier
            _insert(connection, single, now=now, rng=database.rng)
            return Taken(single.job.id, now, is_new=True)

        return database.write(work)


def _enter(connection: Connection, repeat: RepeatKey, job_id: str, *, now: datetime, rng: Random) -> Taken | None:
    """Note that the key has made this job; return what it made before, if it has. Two at once meet at the unique key."""
    same = (USES.c.owner == repeat.owner) & (USES.c.key == repeat.key)
    _forget_old(connection, now - repeat.kept)
    connection.execute(delete(USES).where(same, USES.c.begun_at <= now - repeat.kept))
    row = {"id": ids.make_id(ids.REPEAT, now=now, rng=rng), "owner": repeat.owner, "key": repeat.key}
    try:
        insert_missing(
            connection, USES, [row | {"request_sha256": repeat.request_sha256, "job_id": job_id, "begun_at": now}]
        )
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        message = "the first request with this idempotency key is still being carried out"
        raise Conflict(message, param="idempotency_key", hint="try again") from error
    there = connection.execute(select(USES.c.job_id, USES.c.request_sha256).where(same)).one()
    if there.job_id == job_id:
        return None
    return Taken(there.job_id, now, is_new=False, is_same_request=there.request_sha256 == repeat.request_sha256)


def _forget_old(connection: Connection, before: datetime) -> None:
    old = select(USES.c.id).where(USES.c.begun_at <= before).order_by(USES.c.begun_at).limit(FORGOTTEN_AT_ONCE)
    connection.execute(delete(USES).where(USES.c.id.in_(old)))


def _insert(connection: Connection, single: SingleIntake, *, now: datetime, rng: Random) -> None:
    check_transition(None, Trigger.ACCEPTED, State.QUEUED)
    batch, job, audit = single.batch, single.job, single.audit
    connection.execute(insert(BATCHES).values(make_batch_row(batch) | {"created_at": now, "intake_done_at": now}))
    connection.execute(insert(JOBS).values(make_job_row(job, batch.id, now)))
    insert_members(connection, batch.id, [job])
    event = EventDraft(Trigger.ACCEPTED, None, State.QUEUED, audit.actor, "accepted")
    append_events(connection, {job.id: [event]}, {job.id: 1}, now=now, rng=rng)
    append_audit(connection, audit, now=now, rng=rng)

"""One request taken in by one transaction: the use of its idempotency key, its batch of one, its job, the line of the log.

Nothing of it can be there without the rest, so whoever repeats a request finds all of it or nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, delete, select, text, tuple_
from sqlalchemy.exc import DBAPIError

from orchestrator.db.access import AUDIT, make_audit_rows
from orchestrator.db.batch_sums import BATCHES, MEMBERS, make_batch_row
from orchestrator.db.batches import make_job_row, make_member_row
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS, EventDraft, make_event_rows
from orchestrator.db.inserts import insert_all, insert_missing
from orchestrator.db.named_webhooks import Named, link_webhooks
from orchestrator.db.rows import JOBS, table_of
from orchestrator.db.search import make_searched_rows
from orchestrator.db.tables import IdempotencyRow
from orchestrator.domain import ids
from orchestrator.domain.errors import Conflict, StepError
from orchestrator.domain.ports import RepeatKey, SingleIntake, Taken
from orchestrator.domain.states import State, Trigger, check_transition

USES = table_of(IdempotencyRow)
MOST_AT_ONCE = 100  # below COPY_FROM: a group is one statement a table
FORGOTTEN_AT_ONCE = 100  # old rows leave with the new ones, never many in one transaction
LOCK_WAIT_MS = 2000  # how long the second of two equal requests waits for the first one's commit
LOCK_NOT_AVAILABLE = "55P03"


class SqlSingleIntakes:
    """The SingleIntakes port. Requests that come while another is being written are written together, by one of their
    threads: a commit and a statement a table for all of them. Raises Transient("database_unavailable") when the database
    cannot be reached.
    """

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def take(self, single: SingleIntake) -> Taken:
        taken = self.take_all([single])[0]
        if isinstance(taken, Exception):
            raise taken
        return taken

    def take_all(self, singles: Sequence[SingleIntake]) -> Sequence[Taken | Exception]:
        mine = [_Waiting(single) for single in singles]
        self._waiting.extend(mine)
        with self._turn:  # whoever comes next takes everybody along; those find themselves served
            while not all(one.is_served for one in mine):
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
                self._serve(group)
        return [one.result() for one in mine]

    def find_repeats(self, repeats: Collection[RepeatKey]) -> Mapping[RepeatKey, Taken]:
        """By the clock port's time: a key that goes at this very moment is looked at again when it is written."""
        now = self._database.clock.now()
        asked = {(repeat.owner, repeat.key): repeat for repeat in repeats}
        query = select(USES).where(tuple_(USES.c.owner, USES.c.key).in_(list(asked)))
        found = {}
        for row in self._database.read(lambda c: c.execute(query).all()) if asked else ():
            repeat = asked[row.owner, row.key]
            if row.begun_at > now - repeat.kept:
                found[row.owner, row.key] = (row.job_id, row.request_sha256)
        return {
            repeat: Taken(made[0], now, is_new=False, is_same_request=made[1] == repeat.request_sha256)
            for repeat in repeats
            if (made := found.get((repeat.owner, repeat.key))) is not None
        }

    def _serve(self, group: Sequence[_Waiting], *, is_again: bool = False) -> None:
        """What one transaction cannot take is taken one by one: nobody's trouble is another's, whatever it is (a driver's
        own exception for a value is none of the database's).
        """
        try:
            for one, taken in zip(group, self._write([one.single for one in group], is_again=is_again), strict=True):
                one.taken = taken
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            if is_again or (len(group) == 1 and not isinstance(error, StepError)):
                group[0].error = error
                return
            for one in group:
                self._serve([one], is_again=True)
        except BaseException as error:
            for one in group:
                one.error = error
            raise

    def _write(self, singles: Sequence[SingleIntake], *, is_again: bool) -> list[Taken]:
        database = self._database

        def work(connection: Connection) -> list[Taken]:
            if not database.is_sqlite and any(single.repeat for single in singles):
                connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
            now = database.now(connection)
            done = _find_done(connection, singles) if is_again else {}
            earlier = [
                done.get(single.job.id) or _enter(connection, single, now=now, rng=database.rng) for single in singles
            ]
            new = [single for single, taken in zip(singles, earlier, strict=True) if taken is None]
            if new:
                _insert(connection, new, now=now, rng=database.rng)
            return [
                taken or Taken(single.job.id, now, is_new=True) for single, taken in zip(singles, earlier, strict=True)
            ]

        return database.write(work)


@dataclass(eq=False)
class _Waiting:
    """A request on its way into the table."""

    single: SingleIntake
    taken: Taken | None = None
    error: BaseException | None = None

    @property
    def is_served(self) -> bool:
        return self.taken is not None or self.error is not None

    def result(self) -> Taken | Exception:
        if isinstance(self.error, Exception):
            return self.error
        if self.error is not None:
            raise self.error
        assert self.taken is not None
        return self.taken


def _find_done(connection: Connection, singles: Sequence[SingleIntake]) -> dict[str, Taken]:
    """Return what has been written already, by a commit whose answer did not come (fault C2)."""
    query = select(JOBS.c.id, JOBS.c.created_at).where(JOBS.c.id.in_([single.job.id for single in singles]))
    return {row.id: Taken(row.id, row.created_at, is_new=True) for row in connection.execute(query)}


def _enter(connection: Connection, single: SingleIntake, *, now: datetime, rng: Random) -> Taken | None:
    """Note that the key has made this job; return what it made before, if it has. Two at once meet at the unique key."""
    if single.repeat is None:
        return None
    repeat, job_id = single.repeat, single.job.id
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


def _insert(connection: Connection, singles: Sequence[SingleIntake], *, now: datetime, rng: Random) -> None:
    check_transition(None, Trigger.ACCEPTED, State.QUEUED)
    done = {"created_at": now, "intake_done_at": now}
    batches = [make_batch_row(single.batch) | done for single in singles]
    jobs = [make_job_row(single.job, single.batch.id, now) for single in singles]
    members = [make_member_row(single.batch.id, single.job) for single in singles]
    events = {
        single.job.id: [EventDraft(Trigger.ACCEPTED, None, State.QUEUED, single.audit.actor, "accepted")]
        for single in singles
    }
    accepted = make_event_rows(events, dict.fromkeys(events, 1), now=now, rng=rng)
    audits = make_audit_rows([single.audit for single in singles], now=now, rng=rng)
    searched = make_searched_rows(jobs)
    rows = [(BATCHES, batches), (JOBS, jobs), *searched, (MEMBERS, members), (EVENTS, accepted), (AUDIT, audits)]
    insert_all(connection, rows)
    named = [Named(each.job.owner, each.job.webhook, job_id=each.job.id) for each in singles if each.job.webhook]
    link_webhooks(connection, named, now=now, rng=rng)

"""Idempotency keys in the database: of any number of equal requests at once, one is carried out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import Connection, RowMapping, delete, select, update

from orchestrator.db.access_tables import IdempotencyRow
from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_missing
from orchestrator.db.rows import table_of
from orchestrator.domain import ids
from orchestrator.domain.ports import Repeat

USES = table_of(IdempotencyRow)
FORGOTTEN_AT_ONCE = 100  # old rows leave with the new ones, never many in one transaction


class SqlRepeats:
    """The Repeats port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def begin(self, owner: str, key: str, request_sha256: str, *, kept: timedelta, lease: timedelta) -> Repeat:
        database = self._database
        same = (USES.c.owner == owner) & (USES.c.key == key)
        mine = select(USES).where(same).with_for_update()

        def work(connection: Connection) -> Repeat:
            now = database.now(connection)
            _forget_old(connection, now - kept)
            connection.execute(delete(USES).where(same, USES.c.begun_at <= now - kept))
            new_id = ids.make_id(ids.REPEAT, now=now, rng=database.rng)
            fresh = {"id": new_id, "owner": owner, "key": key, "request_sha256": request_sha256, "job_id": None}
            insert_missing(connection, USES, [fresh | {"begun_at": now, "lease_until": now + lease}])
            row = connection.execute(mine).mappings().one()
            is_ours = row["id"] == new_id or _take_over(connection, row, request_sha256, now, lease)
            return Repeat(row["id"], row["job_id"], row["request_sha256"], is_ours)

        return database.write(work)

    def finish(self, repeat: Repeat, job_id: str) -> None:
        change = update(USES).where(USES.c.id == repeat.id).values(job_id=job_id)
        self._database.write(lambda c: c.execute(change))

    def forget(self, repeat: Repeat) -> None:
        unfinished = delete(USES).where(USES.c.id == repeat.id, USES.c.job_id.is_(None))
        self._database.write(lambda c: c.execute(unfinished))


def _take_over(connection: Connection, row: RowMapping, request_sha256: str, now: datetime, lease: timedelta) -> bool:
    """The same request of somebody who died goes on under the same name: what it had made already is found again."""
    is_dead = row["job_id"] is None and row["lease_until"] <= now
    if not is_dead or row["request_sha256"] != request_sha256:
        return False
    connection.execute(update(USES).where(USES.c.id == row["id"]).values(lease_until=now + lease))
    return True


def _forget_old(connection: Connection, before: datetime) -> None:
    old = select(USES.c.id).where(USES.c.begun_at <= before).order_by(USES.c.begun_at).limit(FORGOTTEN_AT_ONCE)
    connection.execute(delete(USES).where(USES.c.id.in_(old)))

"""Keys and the audit log in the database: every change of a key and its line of the log are one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_many
from orchestrator.db.rows import table_of
from orchestrator.db.tables import ApiKeyRow, AuditRow
from orchestrator.db.types import clean_text
from orchestrator.domain import ids
from orchestrator.domain.access import ApiKey, AuditEntry, Role
from orchestrator.domain.errors import NotFound

KEYS = table_of(ApiKeyRow)
AUDIT = table_of(AuditRow)


class SqlKeys:
    """The Keys port. Raises Transient("database_unavailable") when the database cannot be reached."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def add(self, make: Callable[[datetime], ApiKey], entry: AuditEntry) -> ApiKey:
        database = self._database

        def work(connection: Connection) -> ApiKey:
            now = database.now(connection)
            key = make(now)
            connection.execute(insert(KEYS).values(_row(key)))
            append_audit(connection, entry, now=now, rng=database.rng)
            return key

        return database.write(work)

    def find(self, key_id: str) -> tuple[ApiKey | None, datetime]:
        found, now = self.find_all([key_id])
        return found.get(key_id), now

    def find_all(self, key_ids: Collection[str]) -> tuple[Mapping[str, ApiKey], datetime]:
        query = select(KEYS).where(KEYS.c.id.in_(key_ids))

        def work(connection: Connection) -> tuple[Mapping[str, ApiKey], datetime]:
            found = [_read(row) for row in connection.execute(query).mappings()]
            return {key.id: key for key in found}, self._database.clock.now()

        return self._database.read(work)

    def list_keys(self, *, limit: int, after: str | None = None) -> Sequence[ApiKey]:
        query = select(KEYS).order_by(KEYS.c.id).limit(limit)
        if after is not None:
            query = query.where(KEYS.c.id > after)
        return self._database.read(lambda c: [_read(row) for row in c.execute(query).mappings()])

    def revoke(self, key_id: str, entry: AuditEntry) -> ApiKey:
        database = self._database
        mine = select(KEYS).where(KEYS.c.id == key_id)

        def work(connection: Connection) -> ApiKey:
            if connection.execute(mine).first() is None:
                raise NotFound(f"there is no key {key_id}")
            now = database.now(connection)
            unrevoked = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_at.is_(None))
            connection.execute(unrevoked.values(revoked_at=now))
            append_audit(connection, entry, now=now, rng=database.rng)
            return _read(connection.execute(mine).mappings().one())

        return database.write(work)

    def has_any(self) -> bool:
        now = self._database.clock.now()
        is_good = KEYS.c.revoked_at.is_(None) & or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > now)
        query = select(KEYS.c.id).where(is_good).limit(1)
        return self._database.read(lambda c: c.execute(query).first()) is not None


class SqlAuditLog:
    """The AuditLog port."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def append(self, entry: AuditEntry) -> None:
        database = self._database
        database.write(lambda c: append_audit(c, entry, now=database.now(c), rng=database.rng))

    def list_entries(self, *, limit: int, after: str | None = None) -> Sequence[AuditEntry]:
        query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(AUDIT.c.id < after)
        return self._database.read(lambda c: [AuditEntry(**row) for row in c.execute(query).mappings()])


def append_audit(connection: Connection, entry: AuditEntry, *, now: datetime, rng: Random) -> None:
    """Write one line of the audit log in the caller's transaction."""
    append_audits(connection, [entry], now=now, rng=rng)


def append_audits(connection: Connection, entries: Sequence[AuditEntry], *, now: datetime, rng: Random) -> None:
    """Write lines of the audit log in the caller's transaction."""
    insert_many(connection, AUDIT, make_audit_rows(entries, now=now, rng=rng))


def make_audit_rows(entries: Sequence[AuditEntry], *, now: datetime, rng: Random) -> list[dict[str, object]]:
    """Return the rows of `append_audits`."""
    return [
        {
            "id": ids.make_id(ids.AUDIT, now=now, rng=rng),
            "at": now,
            "actor": entry.actor,
            "action": entry.action,
            "subject": clean_text(entry.subject),
            "owner": entry.owner,
            "reason": clean_text(entry.reason),
            "count": entry.count,
        }
        for entry in entries
    ]


def _row(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "owner": key.owner,
        "secret_hmac": key.secret_hmac,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _read(row: RowMapping) -> ApiKey:
    return ApiKey(**{**row, "role": Role(row["role"])})

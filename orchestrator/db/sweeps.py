"""Leases of maintenance tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_missing
from orchestrator.db.rows import table_of
from orchestrator.db.tables import SweepRow
from orchestrator.db.tokens import make_token
from orchestrator.db.types import clean_text

SWEEPS = table_of(SweepRow)


def find_due(connection: Connection, names: Sequence[str], *, now: datetime) -> tuple[str, ...]:
    """Return those tasks that nobody is to wait for: due, lapsed, or never run. Only `claim` says whose they are."""
    waiting = select(SWEEPS.c.name).where(SWEEPS.c.name.in_(names), SWEEPS.c.due_at > now)
    resting = set(connection.execute(waiting).scalars())
    return tuple(name for name in names if name not in resting)


def claim(connection: Connection, name: str, *, lease: timedelta, database: Database) -> str | None:
    """Lease a task that is due, or whose lease has lapsed; return the token."""
    insert_missing(connection, SWEEPS, [{"name": name, "due_at": database.now(connection)}])
    now = database.now(connection)
    token = make_token(database.rng)
    take = update(SWEEPS).where(SWEEPS.c.name == name, SWEEPS.c.due_at <= now)
    taken = connection.execute(take.values(lease_token=token, due_at=now + lease, started_at=now))
    return token if taken.rowcount else None


def finish(connection: Connection, name: str, token: str, *, every: timedelta, result: str, now: datetime) -> None:
    """Record a run and make the task due again; nothing happens when the lease went to another."""
    done = update(SWEEPS).where(SWEEPS.c.name == name, SWEEPS.c.lease_token == token)
    connection.execute(done.values(lease_token=None, due_at=now + every, finished_at=now, result=clean_text(result)))

"""Reads that may take long, for as long as anybody should wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Connection

from orchestrator.db.engine import Database, StatementTimeout
from orchestrator.domain.query import QueryTooSlow

T = TypeVar("T")


def read_within(
    database: Database, patience: timedelta, work: Callable[[Connection], T], *, settings: Sequence[str] = ()
) -> T:
    """Run `work` in one reading transaction, PostgreSQL told these `settings`. Raises QueryTooSlow on PostgreSQL, which stops a statement at `patience`.

    SQLite has no such limit: its reader is the only one that waits.
    """

    def limited(connection: Connection) -> T:
        if not database.is_sqlite:
            limit = f"statement_timeout = {int(patience.total_seconds() * 1000)}"
            connection.exec_driver_sql("; ".join(f"SET LOCAL {setting}" for setting in (limit, *settings)))
        return work(connection)

    try:
        return database.read(limited)
    except StatementTimeout as error:
        raise QueryTooSlow(patience) from error

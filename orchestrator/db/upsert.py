"""INSERT ... ON CONFLICT, which both databases spell alike and SQLAlchemy keeps per dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; those that are there already stay as they are."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).on_conflict_do_nothing(), list(rows))


def insert_or_refresh(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, object]],
    *,
    key: Sequence[str],
    refresh: Sequence[str],
    where: ColumnElement[bool],
) -> None:
    """Insert rows; where one with the same key exists and `where` holds of it, set its `refresh` columns anew."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in refresh}, where=where
    )
    connection.execute(statement, list(rows))

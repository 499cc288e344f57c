"""Ways to insert that the two databases do not spell, or do not run, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import JSON, ColumnElement, Connection, Insert, Table, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.db.rowset import encode_rows, make_rowset, type_of


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that all name the same columns; nothing happens without rows.

    On PostgreSQL as one parameter of one statement: a statement a row took five times as long.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), list(rows))
    else:
        connection.execute(_insert_from_rowset(table, tuple(rows[0])), {"rows": encode_rows(rows)})


@cache
def _insert_from_rowset(table: Table, columns: tuple[str, ...]) -> Insert:
    kinds = {name: table.c[name].type for name in columns}
    types = {name: postgresql.JSONB() if isinstance(kind, JSON) else type_of(kind) for name, kind in kinds.items()}
    rows = make_rowset("rows", types, is_sqlite=False)
    return insert(table).from_select(list(columns), select(*(rows.c[name] for name in columns)))


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; those that are there already stay as they are."""
    insert_into = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert_into(table).on_conflict_do_nothing(), list(rows))


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
    insert_into = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert_into(table)
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in refresh}, where=where
    )
    connection.execute(statement, list(rows))

"""Ways to insert that the two databases do not spell, or do not run, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Select, Table, insert, select
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
    return insert(table).from_select(list(columns), _select_rowset(table, columns))


@cache
def _select_rowset(table: Table, columns: tuple[str, ...]) -> Select[*tuple[Any, ...]]:
    types = {name: type_of(table.c[name].type) for name in columns}
    rows = make_rowset("rows", types, is_sqlite=False)
    return select(*(rows.c[name] for name in columns))


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
    newest = list({tuple(row[name] for name in key): row for row in rows}.values())
    if connection.dialect.name == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_update(
            index_elements=list(key), set_=_refreshed(sqlite.insert(table), refresh), where=where
        )
        connection.execute(statement, newest)
    else:
        columns = tuple(newest[0])
        upsert = postgresql.insert(table).from_select(list(columns), _select_rowset(table, columns))
        upsert = upsert.on_conflict_do_update(index_elements=list(key), set_=_refreshed(upsert, refresh), where=where)
        connection.execute(upsert, {"rows": encode_rows(newest)})


def _refreshed(statement: sqlite.Insert | postgresql.Insert, names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    return {name: statement.excluded[name] for name in names}

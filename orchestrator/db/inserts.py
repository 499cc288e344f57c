"""Ways to insert that the two databases do not spell, or do not run, alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Select, Table, case, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from orchestrator.db.rowset import encode_rows, make_rowset, type_of
from orchestrator.db.types import clean_text, dump_json, format_utc

COPY_FROM = 100
"""Rows from which COPY, which cannot share a compiled statement, is worth its own round trips."""
_ESCAPED = re.compile(r"[\\\n\r\t]")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that all name the same columns; nothing happens without rows.

    On PostgreSQL as one parameter of one statement: a statement a row took five times as long. Many go by COPY, which
    the server reads in a third of the time that it takes for as much JSON.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), list(rows))
    elif len(rows) >= COPY_FROM:
        _copy(connection, table, rows)
    else:
        connection.execute(_insert_from_rowset(table, tuple(rows[0])), {"rows": encode_rows(rows)})


def insert_all(connection: Connection, parts: Sequence[tuple[Table, Sequence[Mapping[str, object]]]]) -> None:
    """Insert rows into several tables, parents first; of one table all rows name the same columns.

    On PostgreSQL as one statement: each of its own would be another round trip, and another wait for a turn. Foreign
    keys are looked at when it ends.
    """
    given = [(table, rows) for table, rows in parts if rows]
    if connection.dialect.name == "sqlite" or any(len(rows) >= COPY_FROM for _, rows in given):
        for table, rows in given:
            insert_many(connection, table, rows)
    elif given:
        shape = tuple((table, tuple(rows[0])) for table, rows in given)
        connection.execute(_insert_all(shape), {_name(table): encode_rows(rows) for table, rows in given})


@cache
def _insert_all(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> Select[int]:
    inserts = [
        insert(table).from_select(list(columns), _select_rowset(table, columns, _name(table))).cte(f"into_{table.name}")
        for table, columns in shape
    ]
    return select(literal(1)).add_cte(*inserts)


def _name(table: Table) -> str:
    return f"rows_{table.name}"


def _copy(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """COPY in text format, without the columns that are NULL in every row: a new job has many.

    The driver's exceptions leave as SQLAlchemy's, as those of every other statement do.
    """
    quote = connection.dialect.identifier_preparer.quote
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    statement = f"COPY {quote(table.name)} ({', '.join(map(quote, columns))}) FROM STDIN"
    text = clean_text("".join("\t".join([_copied(row[name]) for name in columns]) + "\n" for row in rows))
    driver: Any = connection.dialect.dbapi
    source: Any = connection.connection
    try:
        with source.cursor() as cursor, cursor.copy(statement) as stream:
            stream.write(text)
    except driver.Error as error:
        is_gone = connection.dialect.is_disconnect(error, source.dbapi_connection, None)
        raise DBAPIError.instance(
            statement, None, error, driver.Error, connection_invalidated=is_gone, dialect=connection.dialect
        ) from error


def _copied(value: object) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES) if _ESCAPED.search(value) else value
    if isinstance(value, datetime):
        return _format_again(value)
    if isinstance(value, dict | list):
        return _copied(dump_json(value))
    return str(value)


@lru_cache(maxsize=16)
def _format_again(moment: datetime) -> str:
    """The rows of one transaction share its time."""
    return format_utc(moment)


@cache
def _insert_from_rowset(table: Table, columns: tuple[str, ...]) -> Insert:
    return insert(table).from_select(list(columns), _select_rowset(table, columns))


@cache
def _select_rowset(table: Table, columns: tuple[str, ...], parameter: str = "rows") -> Select[*tuple[Any, ...]]:
    types = {name: type_of(table.c[name].type) for name in columns}
    rows = make_rowset(parameter, types, is_sqlite=False)
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
    once_per: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Insert rows; where one with the same key exists and `where` holds of it, set its `refresh` columns anew, and a
    column of `once_per` only when the one it belongs to changes.
    """
    newest = list({tuple(row[name] for name in key): row for row in rows}.values())
    if connection.dialect.name == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_update(
            index_elements=list(key), set_=_refreshed(sqlite.insert(table), table, refresh, once_per), where=where
        )
        connection.execute(statement, newest)
    else:
        columns = tuple(newest[0])
        upsert = postgresql.insert(table).from_select(list(columns), _select_rowset(table, columns))
        fresh = _refreshed(upsert, table, refresh, once_per)
        upsert = upsert.on_conflict_do_update(index_elements=list(key), set_=fresh, where=where)
        connection.execute(upsert, {"rows": encode_rows(newest)})


def _refreshed(
    statement: sqlite.Insert | postgresql.Insert, table: Table, names: Sequence[str], once_per: Mapping[str, str]
) -> dict[str, ColumnElement[Any]]:
    new = statement.excluded
    kept = {
        name: case((table.c[owner] == new[owner], table.c[name]), else_=new[name]) for name, owner in once_per.items()
    }
    return {**{name: new[name] for name in names}, **kept}

"""Many rows as one parameter: a JSON array that a statement joins like a table, on both databases.

One statement text whatever the number of rows, so it is compiled once; no round trip per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    SmallInteger,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from orchestrator.db.types import Utc, dump_json, format_utc

TEXT, INT, FLOAT, BOOL, UTC = Text(), BigInteger(), Float(), Boolean(), Utc()

Types = Mapping[str, TypeEngine[Any]]


def make_rowset(name: str, types: Types, *, is_sqlite: bool) -> FromClause:
    """Return the parameter `name`, filled by `encode_rows`, as a table of that name with typed columns."""
    data = bindparam(name, type_=Text())
    if is_sqlite:
        each = func.json_each(data).table_valued("value", name=f"{name}_each")
        columns = [func.json_extract(each.c.value, f"$.{key}", type_=kind).label(key) for key, kind in types.items()]
        return select(*columns).subquery(name)
    typed = [column(key, kind) for key, kind in types.items()]
    return (
        func.json_to_recordset(cast(data, JSON()))
        .table_valued(*typed, name=name)
        .render_derived(name=name, with_types=True)
    )


def encode_rows(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as the parameter's value. Values: text, numbers, aware times, None."""
    return dump_json(rows, default=_encode)


def is_among(column: ColumnElement[str], name: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return whether the column is one of the parameter `name`, filled by `encode_keys`.

    An IN of as many parameters as there are keys is another statement for every number of keys.
    """
    keys = make_rowset(name, {"key": TEXT}, is_sqlite=is_sqlite)
    return column.in_(select(keys.c.key))


def encode_keys(keys: Iterable[str]) -> str:
    """Return keys as the parameter's value."""
    return encode_rows([{"key": key} for key in keys])


def type_of(kind: TypeEngine[Any], *, is_sqlite: bool = False) -> TypeEngine[Any]:
    """Return the rowset type for a column's type."""
    if isinstance(kind, JSON):
        return JSON() if is_sqlite else JSONB()
    if isinstance(kind, Utc):
        return UTC
    if isinstance(kind, Integer | SmallInteger):
        return INT
    if isinstance(kind, Boolean):
        return BOOL
    return FLOAT if isinstance(kind, Float) else TEXT


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return format_utc(value)
    raise TypeError(f"a rowset does not take {type(value).__name__}")

"""Walking a table of any size in bounded memory: short reads, each over a span of ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, or_, select

from orchestrator.db.engine import Database
from orchestrator.domain.audit import Violation

SPAN_ROWS = 10_000
"""Rows of one read: some milliseconds for either database, and no snapshot that holds up a vacuum."""


@dataclass(frozen=True)
class Span:
    """Ids above `low`, up to and with `high`; without `high` to the end."""

    low: str
    high: str | None

    def of(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that a column's value lies in the span."""
        return column > self.low if self.high is None else and_(column > self.low, column <= self.high)


@dataclass(frozen=True)
class RowRule:
    """A rule that single rows break: its code and when it is broken."""

    code: str
    is_broken: ColumnElement[bool]


def iter_spans(database: Database, ids: ColumnElement[str]) -> Iterator[Span]:
    """Yield spans that together hold every value of `ids`, a unique column."""
    low = ""
    while True:
        some = select(ids.label("id")).where(ids > low).order_by(ids).limit(SPAN_ROWS).subquery()
        query = select(func.count(), func.max(some.c.id))
        count, high = database.read(lambda c, query=query: c.execute(query).one())  # type: ignore[misc]
        yield Span(low, high if count == SPAN_ROWS else None)
        if count < SPAN_ROWS:
            return
        low = high


def find_broken(database: Database, query: Select[tuple[object, ...]], rules: Sequence[RowRule]) -> list[Violation]:
    """Return the violations among the rows of `query`, which selects `subject` and facts; one row may break several."""
    flags = [rule.is_broken.label(f"breaks_{rule.code}") for rule in rules]
    broken = query.where(or_(*(rule.is_broken for rule in rules))).add_columns(*flags)
    rows = database.read(lambda c: c.execute(broken).mappings().all())
    return [
        Violation(rule.code, str(row["subject"]), _facts(row))
        for row in rows
        for rule in rules
        if row[f"breaks_{rule.code}"]
    ]


def find_each(database: Database, code: str, query: Select[tuple[object, ...]]) -> list[Violation]:
    """Return one violation for each row of `query`."""
    rows = database.read(lambda c: c.execute(query).mappings().all())
    return [Violation(code, str(row["subject"]), _facts(row)) for row in rows]


def _facts(row: RowMapping) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "subject" and not name.startswith("breaks_")}

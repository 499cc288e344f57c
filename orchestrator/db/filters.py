"""A parsed query of the history as SQL conditions. The text of the user is only ever a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, select

from orchestrator.db.engine import SQLITE_LOWER
from orchestrator.db.rows import JOBS, SUBMISSIONS, table_of
from orchestrator.db.tables import BatchMemberRow
from orchestrator.domain.query import CostRange, Filter, Match, TagMatch, Term, TimeRange, Words

MEMBERS = table_of(BatchMemberRow)

_COLUMNS = {"status": "state", "kind": "kind", "model": "model", "custom_id": "custom_id", "id": "id", "owner": "owner"}
"""`owner` is no field of the grammar: nobody writes it, services add it (domain.query.within)."""
_TIMES = {"created": "created_at", "submitted": "submitted_at", "finished": "finished_at"}


def conditions_of(wanted: Filter, *, is_sqlite: bool) -> list[ColumnElement[bool]]:
    """Return the conditions on `jobs` that together mean the filter."""
    return [_condition(term, is_sqlite=is_sqlite) for term in wanted.terms]


def _condition(term: Term, *, is_sqlite: bool) -> ColumnElement[bool]:
    found = _positive(term, is_sqlite=is_sqlite)
    return not_(func.coalesce(found, false())) if term.is_negated else found


def _positive(term: Term, *, is_sqlite: bool) -> ColumnElement[bool]:
    match term:
        case Match(field=field, values=values):
            return _match(field, values)
        case TagMatch(name=name, value=value):
            return _has_tag(name, value, is_sqlite=is_sqlite)
        case TimeRange(field=field, start=start, end=end):
            return _within(JOBS.c[_TIMES[field]], start, end)
        case CostRange(least=least, most=most):
            return _within(func.coalesce(JOBS.c.cost_final_micros, JOBS.c.price_micros), least, most, has_end=True)
        case Words(text=text):
            return _contains(text, is_sqlite=is_sqlite)


def _match(field: str, values: Sequence[str]) -> ColumnElement[bool]:
    if field in _COLUMNS:
        return JOBS.c[_COLUMNS[field]].in_(values)
    if field == "code":
        return or_(JOBS.c.failure_code.in_(values), JOBS.c.provider_code.in_(values))
    if field == "batch":
        return select(MEMBERS.c.job_id).where(MEMBERS.c.job_id == JOBS.c.id, MEMBERS.c.batch_id.in_(values)).exists()
    if field == "task":
        return (
            select(SUBMISSIONS.c.id)
            .where(SUBMISSIONS.c.job_id == JOBS.c.id, SUBMISSIONS.c.task_id.in_(values))
            .exists()
        )
    raise ValueError(f"no column answers {field}:")


def _has_tag(name: str, value: str | None, *, is_sqlite: bool) -> ColumnElement[bool]:
    each = func.json_each if is_sqlite else func.jsonb_each_text
    tags = each(JOBS.c.tags).table_valued("key", "value", name="tag")
    query = select(tags.c.key).where(tags.c.key == name)
    if value is not None:
        query = query.where(tags.c.value == value)
    return query.exists()


def _within(
    column: ColumnElement[Any], low: object | None, high: object | None, *, has_end: bool = False
) -> ColumnElement[bool]:
    """In [low, high), or [low, high] with `has_end`; None is open; what has no value is not in it."""
    parts: list[ColumnElement[bool]] = [column.is_not(None)]
    if low is not None:
        parts.append(column >= low)
    if high is not None:
        parts.append(column <= high if has_end else column < high)
    return and_(*parts)


def _contains(text: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    """Position instead of LIKE: nothing in the text is a wildcard."""
    prompt = JOBS.c.input["prompt"].as_string()
    if is_sqlite:
        lower = getattr(func, SQLITE_LOWER)
        return func.instr(lower(prompt), text.lower()) > 0
    return func.strpos(func.lower(prompt), func.lower(text)) > 0

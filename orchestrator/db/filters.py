"""A parsed query of the history as SQL conditions. The text of the user is only ever a parameter.

A page is read newest first and must not walk the table for what is rare. An index gives the order of ids for one value of
a field; so a term with several values, or that looks at several columns, becomes branches, each of one value, whose first
rows together hold the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal, not_, or_, select

from orchestrator.db.rows import JOBS, SUBMISSIONS, table_of
from orchestrator.db.search import PROMPTS, TAGS, holds_all
from orchestrator.db.tables import BatchMemberRow
from orchestrator.domain.ids import JOB, first_id_at
from orchestrator.domain.query import CostRange, Filter, Match, TagMatch, Term, TimeRange, Words

MEMBERS = table_of(BatchMemberRow)
MOST_BRANCHES = 16  # parts of one statement: more terms than that are rare, and planning each costs
ID_SLACK = timedelta(days=1)
"""How far an id's time, which its maker's clock told, may be from created_at, which the database's clock told."""

_COLUMNS = {
    "status": ("state",),
    "kind": ("kind",),
    "model": ("model",),
    "custom_id": ("custom_id",),
    "id": ("id",),
    "code": ("failure_code", "provider_code"),
}
_TIMES = {"created": "created_at", "submitted": "submitted_at", "finished": "finished_at"}

Condition = ColumnElement[bool]
Ids = Select[*tuple[Any, ...]]


def conditions_of(wanted: Filter, *, is_sqlite: bool) -> list[Condition]:
    """Return the conditions on `jobs` that together mean the filter."""
    return [or_(*_either(term)) for term in _plain(wanted)] + _words(wanted, is_sqlite=is_sqlite)


def branches_of(wanted: Filter, *, is_sqlite: bool) -> list[list[Condition]]:
    """Return lists of conditions on `jobs`: what meets every condition of any list is what the filter means."""
    branches: list[list[Condition]] = [_words(wanted, is_sqlite=is_sqlite)]
    for term in _plain(wanted):
        either = _either(term)
        if len(either) * len(branches) > MOST_BRANCHES:
            either = [or_(*either)]
        branches = [[*branch, condition] for branch in branches for condition in either]
    return branches


def _plain(wanted: Filter) -> list[Term]:
    return [term for term in wanted.terms if not isinstance(term, Words)]


def _words(wanted: Filter, *, is_sqlite: bool) -> list[Condition]:
    """All words that a prompt must hold are looked up at once, each that it must not hold by itself."""
    terms = [term for term in wanted.terms if isinstance(term, Words)]
    held = [term.text for term in terms if not term.is_negated]
    found = [JOBS.c.id.in_(_with_words(held, is_sqlite=is_sqlite))] if held else []
    unwanted = [_with_words([term.text], is_sqlite=is_sqlite) for term in terms if term.is_negated]
    if is_sqlite:  # a full-text table is not looked into row by row
        return [*found, *(JOBS.c.id.not_in(query) for query in unwanted)]
    return [*found, *(~query.where(PROMPTS.c.job_id == JOBS.c.id).exists() for query in unwanted)]


def _with_words(words: Sequence[str], *, is_sqlite: bool) -> Ids:
    return select(PROMPTS.c.job_id).where(holds_all(words, is_sqlite=is_sqlite))


def _either(term: Term) -> list[Condition]:
    """Return conditions one of which must hold: a single one for most terms, and for every negated one."""
    if term.is_negated:
        return [_negated(term)]
    match term:
        case Match(field=field, values=values) if field in _COLUMNS:
            return [JOBS.c[column] == value for column in _COLUMNS[field] for value in values]
        case Match(field=field, values=values):
            return [JOBS.c.id.in_(_theirs(field, value)) for value in values]
        case TagMatch(name=name, value=value):
            return [JOBS.c.id.in_(_tagged(name, value))]
        case TimeRange(field=field, start=start, end=end):
            return [and_(_within(JOBS.c[_TIMES[field]], start, end), *_ids_of(field, start, end))]
        case CostRange(least=least, most=most):
            final, price = JOBS.c.cost_final_micros, JOBS.c.price_micros
            is_open = and_(final.is_(None), _within(price, least, most, has_end=True))
            return [_within(final, least, most, has_end=True), is_open]
        case Words():
            raise ValueError("words are looked up together")


def _negated(term: Term) -> Condition:
    """A field without a value is not equal to any, and is in no range."""
    match term:
        case Match(field=field, values=values) if field in _COLUMNS:
            return and_(*(_is_not(column, values) for column in _COLUMNS[field]))
        case Match(field=field, values=values):
            return and_(*(not_(_of_job(field, value).exists()) for value in values))
        case TagMatch(name=name, value=value):
            return not_(_tagged(name, value).where(TAGS.c.job_id == JOBS.c.id).exists())
        case TimeRange(field=field, start=start, end=end):
            column = JOBS.c[_TIMES[field]]
            return or_(column.is_(None), ~_within(column, start, end))
        case _:
            return and_(*(or_(*parts) for parts in _outside_costs(term)))


def _outside_costs(term: Term) -> list[list[Condition]]:
    """Final cost not in the range, or none and the estimate not in it."""
    assert isinstance(term, CostRange)
    parts = []
    for column, others in ((JOBS.c.cost_final_micros, []), (JOBS.c.price_micros, [JOBS.c.cost_final_micros])):
        outside = ~_within(column, term.least, term.most, has_end=True)
        parts.append([column.is_(None), outside, *(other.is_not(None) for other in others)])
    return parts


def _is_not(name: str, values: Sequence[str]) -> Condition:
    column = JOBS.c[name]
    differs = column.not_in(values)
    return or_(column.is_(None), differs) if column.nullable else differs


def _theirs(field: str, value: str) -> Ids:
    """The ids of the jobs of a batch, linked ones included, or of a task."""
    if field == "batch":
        return select(MEMBERS.c.job_id).where(MEMBERS.c.batch_id == value)
    if field == "task":
        return select(SUBMISSIONS.c.job_id).where(SUBMISSIONS.c.task_id == value)
    raise ValueError(f"no column answers {field}:")


def _of_job(field: str, value: str) -> Ids:
    table = MEMBERS if field == "batch" else SUBMISSIONS
    return _theirs(field, value).where(table.c.job_id == JOBS.c.id)


def _tagged(name: str, value: str | None) -> Ids:
    query = select(TAGS.c.job_id).where(TAGS.c.name == name)
    return query if value is None else query.where(TAGS.c.value == value)


def _within(column: ColumnElement[Any], low: object | None, high: object | None, *, has_end: bool = False) -> Condition:
    """In [low, high), or [low, high] with `has_end`; None is open; what has no value is not in it."""
    parts: list[Condition] = [column.is_not(None)]
    if low is not None:
        parts.append(column >= low)
    if high is not None:
        parts.append(column <= high if has_end else column < high)
    return and_(*parts)


def _ids_of(field: str, start: datetime | None, end: datetime | None) -> list[Condition]:
    """Bounds of id that follow from bounds of time: a page is read along the ids, and those of other times are skipped.

    Nothing is submitted or finished before it is created.
    """
    bounds: list[Condition] = []
    if start is not None and field == "created":
        bounds.append(JOBS.c.id >= literal(first_id_at(JOB, start - ID_SLACK)))
    if end is not None:
        bounds.append(JOBS.c.id < literal(first_id_at(JOB, end + ID_SLACK)))
    return bounds

"""A parsed query of the history as SQL conditions. The text of the user is only ever a parameter.

A page is read newest first and must not walk the table for what is rare. An index gives the order of ids for one value of
a field; so a term with several values, or that looks at several columns, becomes branches, each of one value, whose first
rows together hold the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    "owner": ("owner",),
}
"""`owner` is no field of the grammar: nobody writes it, services add it (domain.query.within)."""
_THEIRS = {"batch": MEMBERS, "task": SUBMISSIONS}
_TIMES = {"created": "created_at", "submitted": "submitted_at", "finished": "finished_at"}

Condition = ColumnElement[bool]
Ids = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Span:
    """The ids that a page may come from: those below `below` and from `begin` on; None is open."""

    below: str | None = None
    begin: str | None = None

    def holds(self, column: ColumnElement[str]) -> list[Condition]:
        """Return the bounds of an id's column: what they mean for one table a planner does not tell the next."""
        below = [] if self.below is None else [column < self.below]
        return below if self.begin is None else [*below, column >= self.begin]


@dataclass(frozen=True)
class Branch:
    """Conditions on `jobs`, and what its rows are to be ordered by before their id so that its index is used."""

    conditions: tuple[Condition, ...]
    order: tuple[ColumnElement[Any], ...] = ()

    def narrowed(self, more: Branch) -> Branch:
        """Return both."""
        return Branch((*self.conditions, *more.conditions), (*self.order, *more.order))


EVERYTHING = Span()


def conditions_of(wanted: Filter, *, is_sqlite: bool) -> list[Condition]:
    """Return the conditions on `jobs` that together mean the filter."""
    held = [or_(*(and_(*either.conditions) for either in _either(term, EVERYTHING))) for term in _plain(wanted)]
    return held + _words(wanted, EVERYTHING, is_sqlite=is_sqlite)


def branches_of(wanted: Filter, span: Span, *, is_sqlite: bool, words_first: int | None = None) -> list[Branch]:
    """Return branches: what meets every condition of any of them is what the filter means within the span.

    With `words_first` (PostgreSQL) the words are looked up in their index before anything else, and where nothing else is
    asked for only the newest `words_first` that hold them matter. Without it a planner may walk along the ids instead.
    """
    plain = _plain(wanted)
    words = (
        _words(wanted, span, is_sqlite=is_sqlite) if words_first is None else _words_first(wanted, span, words_first)
    )
    branches = [Branch((*span.holds(JOBS.c.id), *words))]
    for term in plain:
        either = _either(term, span)
        if len(either) * len(branches) > MOST_BRANCHES:
            either = [Branch((or_(*(and_(*each.conditions) for each in either)),))]
        branches = [branch.narrowed(each) for branch in branches for each in either]
    return branches


def _plain(wanted: Filter) -> list[Term]:
    return [term for term in wanted.terms if not isinstance(term, Words)]


def _words(wanted: Filter, span: Span, *, is_sqlite: bool) -> list[Condition]:
    """All words that a prompt must hold are looked up at once, each that it must not hold by itself."""
    held = held_words(wanted)
    found = [JOBS.c.id.in_(_with_words(held, span, is_sqlite=is_sqlite))] if held else []
    return found + _without_words(wanted, span, is_sqlite=is_sqlite)


def _words_first(wanted: Filter, span: Span, limit: int) -> list[Condition]:
    found = _with_words(held_words(wanted), span, is_sqlite=False).cte("words").prefix_with("MATERIALIZED")
    ids = select(found.c.job_id)
    if len(held_words(wanted)) == len(wanted.terms):
        newest = ids.order_by(found.c.job_id.desc()).limit(limit)
    else:
        newest = _newest(found.c.job_id, ids)
    return [JOBS.c.id.in_(newest), *_without_words(wanted, span, is_sqlite=False)]


def _without_words(wanted: Filter, span: Span, *, is_sqlite: bool) -> list[Condition]:
    unwanted = [term.text for term in wanted.terms if isinstance(term, Words) and term.is_negated]
    if is_sqlite:  # a full-text table is not looked into row by row
        return [JOBS.c.id.not_in(_with_words([word], span, is_sqlite=True)) for word in unwanted]
    queries = (_with_words([word], EVERYTHING, is_sqlite=False) for word in unwanted)
    return [not_(query.where(PROMPTS.c.job_id == JOBS.c.id).exists()) for query in queries]


def held_words(wanted: Filter) -> list[str]:
    """Return the words that a prompt must hold."""
    return [term.text for term in wanted.terms if isinstance(term, Words) and not term.is_negated]


def is_led_by_words(wanted: Filter) -> bool:
    """Return whether words are what few jobs may meet: a planner that has another value to begin with does better alone."""
    return bool(held_words(wanted)) and all(isinstance(term, Words) or term.is_negated for term in wanted.terms)


def _with_words(words: Sequence[str], span: Span, *, is_sqlite: bool) -> Ids:
    bounds = [] if is_sqlite else span.holds(PROMPTS.c.job_id)
    return select(PROMPTS.c.job_id).where(holds_all(words, is_sqlite=is_sqlite), *bounds)


def _newest(job_id: ColumnElement[str], query: Ids) -> Ids:
    """Each id once and in the order of pages: so a planner knows that it may go along this and look each job up."""
    return query.distinct().order_by(job_id.desc())


def _either(term: Term, span: Span) -> list[Branch]:
    """Return conditions one of which must hold: a single one for most terms, and for every negated one."""
    if term.is_negated:
        return [Branch((_negated(term),))]
    match term:
        case Match(field=field, values=values) if field in _COLUMNS:
            return [Branch((JOBS.c[column] == value,)) for column in _COLUMNS[field] for value in values]
        case Match(field=field, values=values):
            queries = (_theirs(field, value) for value in values)
            return [Branch((_among(_THEIRS[field].c.job_id, query, span),)) for query in queries]
        case TagMatch(name=name, value=value):
            return [Branch((_among(TAGS.c.job_id, _tagged(name, value), span),))]
        case TimeRange(field=field, start=start, end=end):
            return [Branch((_within(JOBS.c[_TIMES[field]], start, end), *_ids_of(field, start, end)))]
        case CostRange(least=least, most=most):
            final, price = JOBS.c.cost_final_micros, JOBS.c.price_micros
            is_open = (final.is_(None), _within(price, least, most, has_end=True))
            return [Branch((_within(final, least, most, has_end=True),)), Branch(is_open, (final.desc(),))]
        case Words():
            raise ValueError("words are looked up together")


def _among(job_id: ColumnElement[str], query: Ids, span: Span) -> Condition:
    return JOBS.c.id.in_(_newest(job_id, query.where(*span.holds(job_id))))


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
    table = _THEIRS[field]
    return select(table.c.job_id).where((table.c.batch_id if field == "batch" else table.c.task_id) == value)


def _of_job(field: str, value: str) -> Ids:
    return _theirs(field, value).where(_THEIRS[field].c.job_id == JOBS.c.id)


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

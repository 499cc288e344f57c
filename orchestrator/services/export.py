"""The history as a stream of text: one job a line of JSON or of CSV, page by page, however many there are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from orchestrator.domain.history import History
from orchestrator.domain.kind import Kind
from orchestrator.domain.query import Filter
from orchestrator.domain.redact import inert
from orchestrator.services.views import job_object

EXPORT_COLUMNS = (
    *("id", "custom_id", "kind", "model", "status", "status_reason", "created_at", "submitted_at", "finished_at"),
    *("priority", "batch_id", "provider_task_id", "cost.currency", "cost.estimate", "cost.final"),
    *("failure.code", "failure.message", "failure.advice", "input.prompt"),
)
"""Dotted paths into the job object; later versions add behind them."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, full-width signs of Japanese ones included."""


def export_jobs(
    history: History, wanted: Filter, *, now: datetime, kinds: Mapping[str, Kind], form: str
) -> Iterator[str]:
    """Yield the jobs that match as lines of `form` (csv or jsonl), newest first; memory does not grow with their number.

    Jobs that are added meanwhile are not in it; each line is as its page was read.
    """
    rows = (job_object(job, now=now, kinds=kinds) for job in history.iter_jobs(wanted))
    return csv_lines(rows, EXPORT_COLUMNS) if form == "csv" else map(json_line, rows)


def csv_lines(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Iterator[str]:
    """Yield a header and a line per row, in which no cell is run by a spreadsheet or obeyed by a terminal (fault I8)."""
    text = io.StringIO()
    writer = csv.writer(text)
    for cells in _cells(rows, columns):
        writer.writerow(cells)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def json_line(row: Mapping[str, object]) -> str:
    """Return a row as one line of readable JSON: what would act on a terminal is escaped."""
    return to_json(row) + "\n"


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return readable JSON in which nothing acts on a terminal: C1 controls and bidi marks are escaped like the rest."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def pick(row: Mapping[str, object], path: str) -> object:
    """Return what a dotted path leads to; None where it leads nowhere."""
    value: object = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def show_value(value: object) -> str:
    """Return a value as a cell shows it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def safe_cell(text: str) -> str:
    """Return text behind a quotation mark where a spreadsheet would run it, blanks before it or not; control characters
    are inert.
    """
    cell = inert(text, keep="\n\t")
    is_formula = text.startswith(FORMULA_STARTS) or text.lstrip().startswith(FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell


def _cells(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Iterator[list[str]]:
    yield list(columns)
    for row in rows:
        yield [safe_cell(show_value(pick(row, column))) for column in columns]

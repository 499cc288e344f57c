"""Data on stdout, in the four forms that every listing shares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from orchestrator.domain.redact import inert
from orchestrator.services.export import csv_lines, pick, show_value, to_json

Row = Mapping[str, object]
PIPE_WIDTH = 200
KEYS = frozenset({"id", "code"})
"""Columns that are of no use in part."""
PROSE = frozenset({"then", "meaning", "advice", "message", "hint"})
"""Columns to be read: they go on in the next line, and lose nothing."""
LEAST_PROSE = 12
GAP = 2  # between columns
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z")


def counted(count: int, noun: str) -> str:
    """Return how many of what: 1 job, 2 jobs."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def print_rows(rows: Iterable[Row], columns: Sequence[str], output: str) -> None:
    """Print many things. Tables and CSV show `columns` (dotted paths into the row); JSON shows everything."""
    if output == "json":
        click.echo(to_json(list(rows), indent=2))
    elif output == "jsonl":
        for row in rows:
            click.echo(to_json(row))
    elif output == "csv":
        for line in csv_lines(rows, columns):
            sys.stdout.write(line)
    else:
        _print_table(rows, columns)


def print_one(row: Row, output: str) -> None:
    """Print one thing whole: a two-column table, or JSON."""
    if output in {"json", "jsonl"}:
        click.echo(to_json(row, indent=2 if output == "json" else None))
    elif output == "csv":
        print_rows([row], list(row), "csv")
    else:
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in row.items():
            table.add_row(f"[bold]{name}[/bold]", _escaped(show_value(value)))
        _console().print(table)


def _print_table(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Keys are whole and prose is folded; what else does not fit a terminal is cut with an ellipsis, one line a row."""
    cells = [[_short(pick(row, column)) for column in columns] for row in rows]
    console = _console()
    widths = _fit(columns, cells, console.width)
    table = Table(box=None, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, no_wrap=column not in PROSE, overflow=_overflow(column))
    for texts in cells:
        table.add_row(*[_escaped(text) for text in texts])
    console.width = max(console.width, sum(widths) + GAP * (len(widths) - 1))
    console.print(table)


def _overflow(column: str) -> Literal["fold", "ellipsis"]:
    return "fold" if column in PROSE else "ellipsis"


def _fit(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return a width per column: the widest that may shrink gives way first, down to what can still be read."""
    room = width - GAP * (len(columns) - 1)
    natural = [max(map(_cell_width, texts)) for texts in zip(columns, *cells, strict=True)]
    least = [_least(column, wanted) for column, wanted in zip(columns, natural, strict=True)]
    widths = [max(min(wanted, room), low) for wanted, low in zip(natural, least, strict=True)]
    while sum(widths) > room:
        spare = [wanted if wanted > low else 0 for wanted, low in zip(widths, least, strict=True)]
        if not any(spare):
            break  # a terminal folds what is too long for it, and nothing of it is lost
        widths[spare.index(max(spare))] -= 1
    return widths


def _least(column: str, natural: int) -> int:
    if column in KEYS:
        return natural
    return min(natural, LEAST_PROSE) if column in PROSE else len(column)


def _cell_width(text: str) -> int:
    return max((cell_len(line) for line in inert(text).split("\n")), default=0)


def _console() -> Console:
    """A pipe has no width of its own: tables asked for there are hardly cut."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _short(value: object) -> str:
    """Times to the second, with a blank: tables are for eyes."""
    text = show_value(value)
    found = _TIME.fullmatch(text)
    return f"{found[1]} {found[2]}" if found else text


def inert_line(text: str) -> str:
    """Return inert text that stays on one line."""
    return inert(text, keep="")


def _escaped(text: str) -> str:
    """Neither markup nor control characters of a prompt reach the terminal."""
    return inert(text).replace("[", "\\[")

"""Data on stdout, in the four forms that every listing shares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table

from orchestrator.domain.redact import inert
from orchestrator.services.export import csv_lines, pick, show_value, to_json

Row = Mapping[str, object]
PIPE_WIDTH = 200
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z")


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
    """One line a row; what does not fit a terminal is cut with an ellipsis, ids last of all."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=len(column) if column != "id" else 36)
    for row in rows:
        table.add_row(*[_escaped(_short(pick(row, column))) for column in columns])
    _console().print(table)


def _console() -> Console:
    """A pipe has no width: tables asked for there are not cut."""
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

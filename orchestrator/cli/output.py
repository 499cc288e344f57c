"""Data on stdout, in the four forms that every listing shares."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table

Row = Mapping[str, object]
PIPE_WIDTH = 200
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def print_rows(rows: Iterable[Row], columns: Sequence[str], output: str) -> None:
    """Print many things. Tables and CSV show `columns` (dotted paths into the row); JSON shows everything."""
    if output == "json":
        click.echo(to_json(list(rows), indent=2))
    elif output == "jsonl":
        for row in rows:
            click.echo(to_json(row))
    elif output == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_safe_cell(_text(_pick(row, column))) for column in columns])
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
            table.add_row(f"[bold]{name}[/bold]", _escaped(_text(value)))
        _console().print(table)


def _print_table(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """One line a row; what does not fit a terminal is cut with an ellipsis, ids last of all."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=len(column) if column != "id" else 36)
    for row in rows:
        table.add_row(*[_escaped(_short(_pick(row, column))) for column in columns])
    _console().print(table)


def _console() -> Console:
    """A pipe has no width: tables asked for there are not cut."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _short(value: object) -> str:
    """Times to the second, with a blank: tables are for eyes."""
    text = _text(value)
    found = _TIME.fullmatch(text)
    return f"{found[1]} {found[2]}" if found else text


def _pick(row: Row, path: str) -> object:
    value: object = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def inert(text: str, *, keep: str = "\n") -> str:
    """Return text whose control characters cannot do anything to a terminal (fault I13), but for those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)


def inert_line(text: str) -> str:
    """Return inert text that stays on one line."""
    return inert(text, keep="")


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return readable JSON in which nothing acts on a terminal: C1 controls and bidi marks are escaped like the rest."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _escaped(text: str) -> str:
    """Neither markup nor control characters of a prompt reach the terminal."""
    return inert(text).replace("[", "\\[")


def _safe_cell(text: str) -> str:
    """A cell that a spreadsheet would run as a formula is prefixed (fault I8); one that a terminal would obey is inert."""
    cell = inert(text, keep="\n\t")
    return f"'{cell}" if text.startswith(_FORMULA_STARTS) else cell

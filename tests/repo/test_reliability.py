"""docs/reliability.md is the score of the fault catalogue; here it is kept true."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.repo.sources import ROOT, parse, python_files

COUNTS = {"A": 22, "B": 15, "C": 18, "D": 10, "E": 23, "F": 18, "G": 8, "H": 20, "I": 15}
"""How many rows each part of the catalogue has."""
CITED = re.compile(r"\b([A-I])(\d{1,2})(?:-\1?(\d{1,2}))?\b")
REASONS = ("comes with", "no such part here")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    tests: tuple[str, ...]
    note: str


def rows_cited(text: str | None) -> set[str]:
    """Return the rows that a docstring cites, ranges (A9-A12) written out."""
    return {
        f"{part}{number}"
        for part, first, last in CITED.findall(text or "")
        for number in range(int(first), int(last or first) + 1)
        if number <= COUNTS[part]
    }


def read_table() -> list[Row]:
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if re.match(r"\| [A-I]\d+ \|", line)]
    return [Row(row[0].strip(), tuple(re.findall(r"`([^`]+)`", row[3])), row[4].strip(" |")) for row in cells]


def find_tests() -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield every test's name below tests/, the rows that it or its class cites, and those that its module cites."""
    for path in python_files("tests"):
        if not path.name.startswith("test_"):
            continue
        tree, name = parse(path), path.relative_to(ROOT / "tests").as_posix()
        of_module = rows_cited(ast.get_docstring(tree))
        for node in tree.body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            prefix = f"{name}::{node.name}" if isinstance(node, ast.ClassDef) else name
            of_class = rows_cited(ast.get_docstring(node)) if isinstance(node, ast.ClassDef) else set()
            for test in inner:
                if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
                    yield f"{prefix}::{test.name}", rows_cited(ast.get_docstring(test)) | of_class, of_module


TABLE = read_table()
TESTS = {name: (cited, of_module) for name, cited, of_module in find_tests()}


def test_rows_are_the_catalogues_in_its_order_and_once() -> None:
    """A misspelt row would hide a fault."""
    names = [row.name for row in TABLE]
    assert names == sorted(set(names), key=lambda name: (name[0], int(name[1:])))
    assert [name for name in names if not 1 <= int(name[1:]) <= COUNTS[name[0]]] == []
    assert len(names) > 90


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_a_row_names_exists_and_cites_it(row: Row) -> None:
    """A test that was renamed, removed or rewritten for something else is missed here."""
    assert [name for name in row.tests if name not in TESTS] == []
    assert [name for name in row.tests if row.name not in set.union(*TESTS[name])] == []
    assert row.tests or row.note.startswith(REASONS), f"{row.name} has neither a test nor a reason"


def test_every_row_that_a_test_cites_is_in_the_table() -> None:
    """Whoever shows a row has it counted."""
    citing = defaultdict(list)
    for name, (cited, _) in TESTS.items():
        for row in cited:
            citing[row].append(name)
    listed = {row.name for row in TABLE if row.tests}
    assert {row: names for row, names in citing.items() if row not in listed} == {}


def test_citations_are_read_with_their_ranges() -> None:
    """And nothing else is taken for one."""
    assert rows_cited("A1, faults B3 and E1-E3, E5-6 (F18)") == {"A1", "B3", "E1", "E2", "E3", "E5", "E6", "F18"}
    assert rows_cited("UTF8, A99, MP4, A4 paper") == {"A4"}
    assert rows_cited(None) == set()

"""The table of guards that `make guards` removes fits the source, and the runner believes failed tests only."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.guards import load_guards
from scripts.guards.guard import Guard, GuardMoved
from scripts.guards.runner import Ended, Outcome, Tree, judge
from tests.repo.sources import ROOT

GUARDS = load_guards()
IDS = [guard.name for guard in GUARDS]


def test_names_are_unique() -> None:
    """--only and the results go by name."""
    assert [name for name, count in Counter(IDS).items() if count > 1] == []
    assert len(GUARDS) >= 60


@pytest.mark.parametrize("guard", GUARDS, ids=IDS)
def test_every_guard_is_where_the_table_says(guard: Guard) -> None:
    """A guard whose text has moved would be a promise that nobody tries any more; one that breaks the file tries none."""
    without = guard.remove((ROOT / guard.file).read_text(encoding="utf-8"))
    compile(without, guard.file, "exec")
    assert guard.kept != guard.removed
    for test in guard.tests:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8") if function else (ROOT / file).is_file()


def make_guard(kept: str, *, redundant: str = "", tests: tuple[str, ...] = ("test_it.py",)) -> Guard:
    return Guard("it", "It holds.", "it.py", kept, "pass", tests, redundant)


@pytest.mark.parametrize("source", ["", "guard guard"])
def test_a_guard_that_is_not_there_once_is_an_error(source: str) -> None:
    """Else the list would rot: nothing is removed, and the tests pass."""
    with pytest.raises(GuardMoved):
        make_guard("guard").remove(source)


@pytest.mark.parametrize(
    ("code", "output", "redundant", "outcome"),
    [
        (1, "FAILED tests/a.py::test_b[c d] - assert 1 == 2", "", Outcome.CAUGHT),
        (1, "FAILED tests/a.py::test_b", "another covers it", Outcome.NEEDED),
        (0, "2 passed", "", Outcome.SURVIVED),
        (0, "2 passed", "another covers it", Outcome.REDUNDANT),
        (1, "ERROR tests/a.py::test_b - a fixture failed", "", Outcome.BROKEN),
        (2, "ERROR tests/a.py - ImportError", "", Outcome.BROKEN),
        (5, "no tests ran", "", Outcome.BROKEN),
        (1, "FAILED tests/a.py::test_b - Failed: Timeout (>60.0s) from pytest-timeout.", "", Outcome.HUNG),
        (None, "", "", Outcome.HUNG),
    ],
)
def test_only_a_failed_test_catches(code: int | None, output: str, redundant: str, outcome: Outcome) -> None:
    """A collection error, a fixture's and a time limit say nothing about the promise."""
    found, by = judge(make_guard("x", redundant=redundant), Ended(code, output))
    assert found is outcome
    if outcome is Outcome.CAUGHT:
        assert by == "tests/a.py::test_b[c d]"


def test_a_time_limit_catches_where_the_table_says_so() -> None:
    """Some guards keep a loop from going round for ever: without them there is nothing to assert."""
    ended = Ended(1, "FAILED tests/a.py::test_b - Failed: Timeout (>20.0s) from pytest-timeout.")
    assert judge(replace(make_guard("x"), hangs=True), ended) == (Outcome.WAITED, "tests/a.py::test_b")
    assert judge(replace(make_guard("x"), hangs=True), Ended(None, ""))[0] is Outcome.HUNG


def test_a_guard_is_removed_tried_and_put_back(tmp_path: Path) -> None:
    """The test that asks for it fails without it, the one that does not survives, and the file is whole again."""
    source = "def is_safe() -> bool:\n    return True\n"
    (tmp_path / "it.py").write_text(source)
    (tmp_path / "test_it.py").write_text("import it\n\n\ndef test_it():\n    assert it.is_safe()\n")
    (tmp_path / "test_else.py").write_text("import it\n\n\ndef test_else():\n    assert it\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    warm = tmp_path / "scripts" / "guards" / "warm_pytest.py"
    warm.parent.mkdir(parents=True)
    warm.write_text((ROOT / "scripts" / "guards" / "warm_pytest.py").read_text().replace('"moto.server", ', ""))
    tree = Tree(tmp_path)
    try:
        caught = tree.try_without(make_guard("return True"))
        survived = tree.try_without(make_guard("return True", tests=("test_else.py",)))
    finally:
        tree.close()
    assert (caught.outcome, caught.by) == (Outcome.CAUGHT, "test_it.py::test_it")
    assert survived.outcome is Outcome.SURVIVED
    assert (tmp_path / "it.py").read_text() == source

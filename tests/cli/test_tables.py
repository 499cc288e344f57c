"""Tables on a terminal of any width: keys stay whole, prose is folded, the rest is cut on one line a row."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from rich.console import Console

from orchestrator.cli.errors import COLUMNS
from orchestrator.cli.main import main
from orchestrator.cli.output import print_rows
from orchestrator.services.views import error_object
from orchestrator.wiring import error_catalogue

JOB = {"id": "job_01a20f28a4897f2189d68c25a36e6fc2", "custom_id": "scene-" + "x" * 60, "model": "cogvideox-3"}


@pytest.fixture(params=[60, 80, 120, 160])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Give a terminal so wide."""
    width: int = request.param
    monkeypatch.setattr("orchestrator.cli.output._console", lambda: Console(width=width))
    return width


def whole_words(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines() if line.strip()}


def test_every_code_can_be_read(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The key of the list, whatever the advice needs; the advice is folded and not cut."""
    print_rows([error_object(entry) for entry in error_catalogue()], COLUMNS, "table")
    out = capsys.readouterr().out
    assert {entry.code for entry in error_catalogue()} <= whole_words(out)
    assert columns < 80 or "…" not in out


def test_a_pipe_shows_every_code() -> None:
    """Where no width is known."""
    out = CliRunner().invoke(main, ["errors", "list", "-o", "table"]).stdout
    assert {entry.code for entry in error_catalogue()} <= whole_words(out)
    assert "…" not in out


def test_a_long_name_is_cut_and_an_id_is_not(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a row; what is left of the width is shared by what may be cut."""
    print_rows([JOB, JOB], ("id", "custom_id", "model"), "table")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(JOB["id"]) for line in lines[1:])
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert ("…" in out) == (columns < 120)

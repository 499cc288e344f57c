"""`orchestrator archive`: exit codes, forms of output, data on stdout and words on stderr."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main

LAMP = ("submit", "image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512")


def call(settings: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data directory in which `submit --sandbox --wait` has made one picture."""
    folder = tmp_path_factory.mktemp("archive") / "data"
    ended = call({"ORCHESTRATOR_DATA_DIR": str(folder)}, *LAMP, "--sandbox", "--wait")
    assert ended.exit_code == 0, ended.output
    return folder


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """Give a copy of it, with its archive named where it lies now."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    execute(copy, "UPDATE jobs SET archive_url = ?", (copy / "sandbox/archive").as_uri())
    execute(copy, "UPDATE batches SET archive_url = ?", (copy / "sandbox/archive").as_uri())
    return copy


@pytest.fixture
def place(home: Path) -> dict[str, str]:
    """Give the settings of the copy."""
    return {"ORCHESTRATOR_DATA_DIR": str(home)}


def execute(home: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(home / "sandbox/orchestrator.db")) as connection, connection:
        connection.execute(statement, values)


def forget_archiving(home: Path) -> None:
    """Make the picture one that is not archived, whose link leads nowhere any more."""
    execute(
        home,
        "UPDATE outputs SET archived_at = NULL, source_url = 'http://127.0.0.1:9/x?sig=canary',"
        " source_expires_at = '2020-01-01T00:00:00.000000Z', is_expiry_assumed = 1",
    )
    execute(home, "UPDATE jobs SET state = 'archiving', finished_at = NULL, due_at = '2020-01-01T00:00:00.000000Z'")


def test_nothing_at_risk_is_exit_0(place: dict[str, str]) -> None:
    ended = call(place, "archive", "at-risk", "--sandbox", "-o", "json")
    assert (ended.exit_code, json.loads(ended.stdout)) == (0, [])


def test_something_at_risk_is_exit_3(home: Path, place: dict[str, str]) -> None:
    """With its host, without its link; in a table and in JSON; outside the span asked for it is no finding."""
    forget_archiving(home)
    ended = call(place, "archive", "at-risk", "--within", "72h", "--sandbox", "-o", "json")
    assert ended.exit_code == 3, ended.output
    (row,) = json.loads(ended.stdout)
    assert (row["host"], row["role"], row["is_assumed"], row["time_left"]) == ("127.0.0.1", "image", True, "over")
    assert "canary" not in ended.output
    table = call(place, "archive", "at-risk", "--sandbox", "-o", "table")
    assert (table.exit_code, "127.0.0.1" in table.stdout) == (3, True)
    execute(home, "UPDATE outputs SET source_expires_at = '2099-01-01T00:00:00.000000Z'")
    assert call(place, "archive", "at-risk", "--within", "72h", "--sandbox").exit_code == 0


def test_a_span_that_is_none_is_refused(place: dict[str, str]) -> None:
    ended = call(place, "archive", "at-risk", "--within", "soon", "--sandbox")
    assert ended.exit_code == 2
    assert "72h" in ended.output or "2h" in ended.output


def test_a_sweep_says_what_it_did(home: Path, place: dict[str, str]) -> None:
    """Counts on stdout, words on stderr; 3 while something is left, with the command that lists it."""
    done = call(place, "archive", "sweep", "--sandbox", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (
        0,
        {"archived": 0, "failed_tries": 0, "dead_links": 0, "unarchived": 0, "running": 0},
    )
    assert "uploads: 0 orphan uploads aborted" in done.stderr
    forget_archiving(home)
    left = call(place, "archive", "sweep", "--sandbox", "-o", "json")
    assert left.exit_code == 3, left.output
    assert json.loads(left.stdout)["unarchived"] == 1
    assert f"orchestrator --data-dir {home}/sandbox archive at-risk" in left.stderr


def test_the_table_is_rebuilt_from_the_archive(home: Path, place: dict[str, str]) -> None:
    """The database is gone; its jobs come back, the doctor has nothing to say; a second time is refused with a hint."""
    for path in (home / "sandbox").glob("orchestrator.db*"):
        path.unlink()
    done = call(place, "archive", "reindex", "--sandbox", "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rebuilt_count"] == 1
    there = ("--data-dir", f"{home}/sandbox")
    (line,) = call(place, *there, "jobs", "list", "-o", "jsonl").stdout.splitlines()
    assert json.loads(line)["status"] == "succeeded"
    assert call(place, *there, "doctor", "--verify", "100%").exit_code == 0
    again = call(place, "archive", "reindex", "--sandbox")
    assert again.exit_code == 2
    assert "--merge" in again.output
    assert call(place, "archive", "reindex", "--sandbox", "--merge").exit_code == 0


def test_a_manifest_that_cannot_be_used_is_exit_3(home: Path, place: dict[str, str]) -> None:
    (path,) = (home / "sandbox/archive").rglob("manifest.json")
    path.write_text("{")
    done = call(place, "archive", "reindex", "--sandbox", "--merge", "-o", "json")
    assert done.exit_code == 3
    (left,) = json.loads(done.stdout)["left_out"]
    assert left["key"].endswith("/manifest.json")
    assert "Invalid JSON" in left["message"]


def test_a_lost_object_is_told_and_mended(home: Path, place: dict[str, str]) -> None:
    """A row per drift on stdout, the sum on stderr; 3 whether mended or not, 0 once all is as stored."""
    (path,) = (home / "sandbox/archive").rglob("manifest.json")
    path.unlink()
    looked = call(place, "archive", "verify", "--no-mend", "--sandbox", "-o", "json")
    assert looked.exit_code == 3
    (row,) = json.loads(looked.stdout)
    assert (row["problem"], row["is_mended"]) == ("manifest_missing", False)
    assert "1 objects of 1 jobs read" in looked.stderr
    mended = call(place, "archive", "verify", "--sandbox", "-o", "jsonl")
    assert mended.exit_code == 3
    assert json.loads(mended.stdout)["is_mended"] is True
    whole = call(place, "archive", "verify", "--sandbox", "--sample", "100%", "-o", "json")
    assert (whole.exit_code, json.loads(whole.stdout)) == (0, [])


def test_a_share_that_is_none_is_refused(place: dict[str, str]) -> None:
    ended = call(place, "archive", "verify", "--sample", "lots", "--sandbox")
    assert ended.exit_code == 2
    assert "1% or 100%" in ended.output

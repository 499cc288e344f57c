"""`archive retention`: rules are made, shown at work, agreed to, and every step is in the audit log."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from orchestrator.clock import SystemClock
from orchestrator.db.engine import open_database
from orchestrator.db.rows import JOBS
from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import Desk, Ended

LINES = [
    {"custom_id": "old", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}},
    {"custom_id": "new", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite", "size": "512x512"}},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Give a data directory with two pictures, one of which ended 100 days ago."""
    with start(SandboxOptions(seed=4, speed=50.0)) as sandbox:
        desk = Desk(tmp_path_factory.mktemp("retention"), sandbox)
        assert desk.run("run", str(desk.write_jobs(LINES))).code == 0
    with closing(open_database(f"sqlite:///{desk.data_dir}/orchestrator.db", clock=SystemClock())) as database:
        old = JOBS.c.custom_id == "old"
        (ended,) = database.read(lambda c: c.execute(select(JOBS.c.finished_at).where(old)).scalars().all())
        older = update(JOBS).where(old).values(finished_at=ended - timedelta(days=100))
        database.write(lambda c: c.execute(older))
    return desk


def retention(desk: Desk, *arguments: str) -> Ended:
    return desk.run("archive", "retention", *arguments)


def test_the_way_of_a_rule(made: Desk) -> None:
    """Made, shown, refused without a yes, carried out; what is gone is said wherever it is asked for."""
    kept = retention(made, "keep", "kind:image", "90d", "--reason", "the contract says so")
    assert (kept.code, "archive retention run" in kept.err) == (0, True)
    (rule,) = retention(made, "list", "-o", "jsonl").lines
    assert (rule["selector"], rule["keep"], rule["agreed_at"], rule["reason"]) == (
        *("kind:image", "90d"),
        *(None, "the contract says so"),
    )
    dry = retention(made, "run", "--dry-run", "-o", "jsonl")
    assert (dry.code, dry.lines[0]["jobs"], dry.lines[0]["files"]) == (0, 1, 1)
    refused = retention(made, "run")
    assert (refused.code, "--yes" in refused.err, "nothing was taken away" in refused.err) == (4, True, True)
    before = usage(made)
    done = retention(made, "run", "--yes")
    assert (done.code, "1 job erased, the files of 1 deleted" in done.err) == (0, True), done.err
    assert (before["files"], usage(made)["files"]) == (2, 1)
    (shown,) = made.run("jobs", "list", "custom_id:old", "-o", "jsonl").lines
    assert "retention rule" in shown["status_reason"]
    link = made.run("outputs", "url", shown["outputs"][0]["id"])
    assert (link.code, "taken away by a retention rule" in link.err) == (5, True)
    gone = made.run("outputs", "download", shown["id"], "--dir", str(made.folder))
    assert (gone.code, "retention rule" in gone.err) == (5, True)
    for look in (("archive", "verify"), ("archive", "at-risk"), ("doctor", "--all")):  # nothing is missed, or put back
        looked = made.run(*look)
        assert looked.code == 0, (look, looked.out, looked.err)
    assert usage(made)["files"] == 1
    why = made.run("jobs", "retry", shown["id"], "--yes")
    assert why.code == 2
    assert retention(made, "list", "-o", "jsonl").lines[0]["agreed_at"] is not None


def test_a_hold(made: Desk) -> None:
    """Made and removed; removing what is not there is said."""
    held = retention(made, "hold", "tag:client=acme", "--reason", "a lawsuit")
    assert (held.code, "retention remove tag:client=acme" in held.out) == (0, True)
    rows = {row["selector"]: row["keep"] for row in retention(made, "list", "-o", "jsonl").lines}
    assert rows["tag:client=acme"] == "held"
    assert retention(made, "remove", "tag:client=acme").code == 0
    again = retention(made, "remove", "tag:client=acme")
    assert (again.code, "retention list" in again.err) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keep", "kinds:image", "90d"), "kind:video"),
        (("keep", "tag:campaign", "90d"), "tag:NAME=VALUE"),
        (("keep", "kind:image", "soon"), "AGE"),
        (("hold", ""), "names no jobs"),
    ],
)
def test_what_is_refused(made: Desk, arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, and how it is written."""
    refused = retention(made, *arguments)
    assert (refused.code, words in refused.err) == (2, True), refused.err


def test_no_rules(tmp_path: Path) -> None:
    """Then there is nothing to run, and a hint how to begin."""
    with start(SandboxOptions(seed=4)) as sandbox:
        desk = Desk(tmp_path, sandbox)
        retention(desk, "hold", "*")
        retention(desk, "remove", "*")
        none = retention(desk, "run")
    assert (none.code, "retention keep" in none.err) == (5, True)


def usage(desk: Desk) -> dict[str, object]:
    shown = desk.run("archive", "usage", "-o", "jsonl")
    assert any(row["object"] == "disk" and row["free"] > 0 for row in map(json.loads, shown.out.splitlines()))
    (row,) = [row for row in shown.lines if row["object"] == "archive_usage"]
    return row

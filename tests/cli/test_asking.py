"""What is asked before a batch is submitted, retried or cancelled: of a person at a terminal, never of a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import COMMAND, SECONDS, Desk, Ended

LINE = {"custom_id": "a", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp"}}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=11, speed=50.0)) as sandbox:
        yield Desk(tmp_path, sandbox)


def at_terminal(desk: Desk, answer: str, *arguments: str) -> Ended:
    """Run a command whose stdin is a terminal at which somebody types `answer`."""
    master, terminal = pty.openpty()
    try:
        os.write(master, answer.encode())
        ended = run(desk, terminal, *arguments)
    finally:
        os.close(master)
        os.close(terminal)
    return ended


def in_pipe(desk: Desk, *arguments: str) -> Ended:
    """Run a command whose stdin is a pipe that stays open and in which nothing ever comes."""
    source, sink = os.pipe()
    try:
        return run(desk, source, *arguments)
    finally:
        os.close(source)
        os.close(sink)


def run(desk: Desk, stdin: int, *arguments: str) -> Ended:
    command = [*COMMAND, *arguments]
    ended = subprocess.run(
        command,
        env=desk.environment(),
        cwd=desk.folder,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_a_submit_shows_the_cost_and_asks_at_a_terminal(desk: Desk) -> None:
    """A no records nothing and is exit 4; a yes records; a batch that is there already is not asked about."""
    path = str(desk.write_jobs([LINE]))
    refused = at_terminal(desk, "n\n", "batches", "submit", path)
    assert (refused.code, "cost 0.01 USD by the price table" in refused.err) == (4, True)
    assert "submit them?" in refused.err
    assert desk.run("jobs", "list", "-o", "jsonl").lines == []
    assert at_terminal(desk, "y\n", "batches", "submit", path).code == 0
    assert len(desk.run("jobs", "list", "-o", "jsonl").lines) == 1
    again = at_terminal(desk, "n\n", "batches", "submit", path)
    assert (again.code, "submit them?" in again.err) == (0, False)


def test_nothing_waits_for_an_answer_from_a_pipe(desk: Desk) -> None:
    """`submit` says it all by itself; what pays again or stops needs --yes there, and says so."""
    path = str(desk.write_jobs([LINE]))
    submitted = in_pipe(desk, "batches", "submit", path)
    assert (submitted.code, "cost 0.01 USD" in submitted.err) == (0, True)
    batch_id = json.loads(submitted.out)["id"]
    kept = in_pipe(desk, "batches", "cancel", batch_id)
    assert (kept.code, "--yes agrees" in kept.err) == (4, True)
    assert desk.run("batches", "cancel", batch_id, "--yes").code == 0
    retried = in_pipe(desk, "batches", "retry", batch_id, "--only", "cancelled")
    assert (retried.code, "--yes agrees" in retried.err) == (4, True)


def test_what_was_submitted_from_stdin_is_run_by_the_command_that_is_named(desk: Desk) -> None:
    """It can be pasted: a file that came through a pipe is not there any more."""
    (desk.folder / "in").write_text(json.dumps(LINE))
    with (desk.folder / "in").open() as given:
        submitted = run(desk, given.fileno(), "batches", "submit", "-")
    assert submitted.code == 0, submitted.err
    hint = next(line for line in submitted.err.splitlines() if "run it with: " in line)
    command = hint.partition("run it with: orchestrator ")[2].split()
    assert desk.run(*command).code == 0
    assert len(desk.ledger()) == 1

"""Processes killed (SIGKILL) while they take files in: what is there at the end is exactly the file (H2)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from orchestrator.db.batch_sums import MEMBERS
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS
from orchestrator.db.rows import JOBS
from tests.db.ingesting import CHUNK, take_in

ROOT = Path(__file__).parents[2]
KILLS = 50
LINES = 5 * CHUNK + 7
LONGEST_LIFE = 45  # statements: a whole intake of such a file takes about as many


@pytest.mark.acceptance
def test_fifty_kills_leave_exactly_the_right_jobs(database: Database, database_url: str, tmp_path: Path) -> None:
    """H2, H20: killed at 50 points of several intakes, some while going on after a kill; every line once, none more."""
    rng = Random(20261124)
    kills = number = 0
    with nursery() as forks:
        while kills < KILLS:
            path = write_file(tmp_path, number)
            kills += forks.count_kills(database_url, path, rng, at_most=KILLS - kills)
            check_batch(database, number, take_in(database_url, path, None).batch.id)
            number += 1
    jobs = read(database, JOBS.c.custom_id)
    expected = {name for done in range(number) for name in names(done)}
    assert Counter(jobs) == Counter(expected)
    assert set(Counter(read(database, EVENTS.c.job_id)).values()) == {1}


@dataclass
class Nursery:
    """The program that forks a process for each intake."""

    process: subprocess.Popen[str]

    def take_in(self, url: str, path: Path, kill_at: int) -> int:
        """Return the exit code of one intake."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps([url, str(path), kill_at])}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def count_kills(self, url: str, path: Path, rng: Random, *, at_most: int) -> int:
        """Take the file in again and again, killed somewhere each time, until one lives to the end."""
        for number in range(at_most):
            code = self.take_in(url, path, rng.randrange(LONGEST_LIFE))
            if code == 0:
                return number
            assert code == -signal.SIGKILL
        return at_most


@contextmanager
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.db.ingesting"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:  # ends with its input
        yield Nursery(process)


def names(number: int) -> list[str]:
    """Some lines in the middle of every file are the last of the one before: they are linked, not made again."""
    own = [f"f{number}-{line}" for line in range(LINES)]
    return own[:15] + ([f"f{number - 1}-{line}" for line in range(LINES - 5, LINES)] if number else []) + own[15:]


def write_file(folder: Path, number: int) -> Path:
    path = folder / f"jobs-{number}.jsonl"
    body = {"model": "glm-image", "prompt": "a red kite", "size": "1280x1280"}
    lines = [{"custom_id": name, "kind": "image", "body": body} for name in names(number)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def check_batch(database: Database, number: int, batch_id: str) -> None:
    query = select(MEMBERS.c.custom_id).where(MEMBERS.c.batch_id == batch_id).order_by(MEMBERS.c.line_number)
    found = database.read(lambda c: list(c.execute(query).scalars()))
    assert found == names(number)


def read(database: Database, column: object) -> list[object]:
    return database.read(lambda c: list(c.execute(select(column)).scalars()))  # type: ignore[call-overload]

"""Fault B15: a process that may open nothing more waits, and goes on once it may."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.db.migrate import upgrade
from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import Desk
from tests.crashes.forks import Forked, forked

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

JOBS = 12
BODY = {"model": "cogview-4-250304", "size": "512x512"}
SECONDS = 90.0


def test_a_run_without_descriptors_waits_and_ends_well(tmp_path: Path) -> None:
    """B15: calls that cannot open a connection were not sent; nothing is held, lost or paid twice, and the run ends."""
    with start(SandboxOptions(seed=15, speed=10.0)) as sandbox:
        desk = Desk(tmp_path, sandbox)
        desk.data_dir.mkdir()
        upgrade(f"sqlite:///{desk.data_dir / 'orchestrator.db'}")
        lines = [
            {"custom_id": f"job-{n}", "kind": "image", "body": {**BODY, "prompt": f"kite {n}"}} for n in range(JOBS)
        ]
        path = desk.write_jobs(lines)
        desk.control("PUT", "latency", {"*": {"mean_seconds": 2, "jitter": 0}})
        with forked(["run", str(path), "--concurrency", "1"], environment=desk.environment(), folder=tmp_path) as run:
            pid = run.process.pid
            assert pid is not None
            wait_until(desk, run, "SELECT 1 FROM jobs WHERE state = 'succeeded'")
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
            wait_until(desk, run, "SELECT 1 FROM submissions WHERE verdict = 'not_sent'")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert run.wait() == 0, run.said
        assert states(desk) == {"succeeded": JOBS}
        assert set(desk.charges_per_job().values()) == {1}


def wait_until(desk: Desk, run: Forked, statement: str) -> None:
    """Look again and again until the statement finds a row; the run must not end before."""
    give_up_at = time.monotonic() + SECONDS
    while not query(desk, statement):
        assert run.process.is_alive(), run.said
        assert time.monotonic() < give_up_at, run.said
        run.process.join(0.02)


def query(desk: Desk, statement: str) -> list[tuple[object, ...]]:
    """Look into the run's database."""
    with closing(sqlite3.connect(desk.data_dir / "orchestrator.db")) as connection:
        return connection.execute(statement).fetchall()


def states(desk: Desk) -> dict[str, int]:
    """Return how many jobs are in each state."""
    return dict(Counter(str(state) for (state,) in query(desk, "SELECT state FROM jobs")))

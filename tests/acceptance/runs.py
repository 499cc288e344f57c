"""Starts the command line as a user does, against a sandbox that the test owns, and reads what it left behind."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from orchestrator.cli.main import main
from orchestrator.sandbox import RunningSandbox

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "orchestrator")
SECONDS = 200.0


@dataclass(frozen=True)
class Ended:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Result lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Desk:
    """A folder to work in and the provider that commands started there are pointed at."""

    folder: Path
    sandbox: RunningSandbox

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def environment(self, **settings: str) -> dict[str, str]:
        own = {
            "ORCHESTRATOR_DATA_DIR": str(self.data_dir),
            "ORCHESTRATOR_ZAI_BASE_URL": self.sandbox.base_url,
            "ORCHESTRATOR_ZAI_API_KEY": "id.secret",
            "ORCHESTRATOR_EGRESS_ALLOW": self.sandbox.host_port,
            "ORCHESTRATOR_POLL_INTERVALS": "video=0.2..1,image=0.2..1",
            "ORCHESTRATOR_TICK_SECONDS": "0.2",
            # What was in flight at a kill holds its slot for so long: in life minutes, here the sandbox is that fast.
            "ORCHESTRATOR_ASSUMED_TASK_LIFE": "video=2s,image=2s,transcription=2s",
        }
        # Compiled code may be kept: dozens of commands start here, and compiling is most of a start.
        around = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**around, **own, **settings}

    def run(self, *arguments: str, **settings: str) -> Ended:
        """Run a command to its end, in this process: to start an interpreter takes longer than most commands."""
        with chdir(self.folder):
            ended = CliRunner().invoke(main, list(arguments), env=self.environment(**settings), catch_exceptions=False)
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    def run_apart(self, *arguments: str, **settings: str) -> Ended:
        """Run a command to its end in a process of its own."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment(**settings),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    @contextmanager
    def started(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command; what still runs at the end of the block is killed."""
        with subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment(**settings),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def write_jobs(self, lines: Sequence[Mapping[str, object]], name: str = "jobs.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def control(self, method: str, path: str, value: object = None) -> Any:  # noqa: ANN401 - whatever JSON it answers
        """Ask the sandbox's control surface."""
        base = self.sandbox.base_url.removesuffix("/api/paas/v4")
        data = json.dumps(value).encode() if value is not None else None
        request = urllib.request.Request(f"{base}/_sandbox/{path}", data=data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def ledger(self) -> list[dict[str, Any]]:
        """Return every task the provider accepted."""
        rows: list[dict[str, Any]] = self.control("GET", "ledger")["data"]
        return rows

    def charges_per_job(self) -> dict[str, int]:
        """Return how often each job was charged, by the submission ids that the provider saw."""
        with sqlite3.connect(self.data_dir / "orchestrator.db") as connection:
            jobs = dict(connection.execute("SELECT id, job_id FROM submissions").fetchall())
        charges: dict[str, int] = {}
        for row in self.ledger():
            charges[jobs[row["request_id"]]] = charges.get(jobs[row["request_id"]], 0) + 1
        return charges

    def wait_until(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Look again and again until the condition holds; the process must not end before."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the condition never came true"
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue


AFTER_A_KILL = frozenset({"needs_review", "unknown_was_charged", "unknown_answer_lost", "unknown_not_charged"})
"""What the doctor may tell of after a kill: calls that nobody can know the end of are held, and said."""


def check_health(ended: Ended, *, allow: Collection[str] = ()) -> None:
    """Read what `doctor -o jsonl` found: nothing but what is allowed, and an exit code that says the same."""
    found = [line for line in ended.lines if line["object"] == "finding"]
    assert {line["code"] for line in found} <= set(allow), found
    assert ended.code == (3 if found else 0), ended.err


def check_archive(data_dir: Path, lines: Sequence[Mapping[str, Any]]) -> int:
    """Hash every output that the result lines name against the files in the archive; return how many there were."""
    count = 0
    for line in lines:
        outputs = line["response"]["body"]["outputs"]
        assert outputs, line
        for output in outputs:
            data = (data_dir / "archive" / output["key"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == output["sha256"]
            assert len(data) == output["bytes"]
            count += 1
        manifest = (data_dir / "archive" / outputs[0]["key"]).parent / "manifest.json"
        assert json.loads(manifest.read_bytes())["job"]["id"] == line["id"]
    return count

"""A copy of the project and the warm pytest beside it: one guard is removed there, tried, and put back."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scripts.guards.guard import Guard

LIMIT_SECONDS = 300.0  # for one guard's tests; the slowest need a tenth on a quiet machine
TEST_SECONDS = 60  # for one test: a removed guard may make it wait for ever
OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    f"--timeout={TEST_SECONDS}",
    "-Wignore::pytest.PytestAssertRewriteWarning",  # of libraries that are loaded already
)
_FAILED = re.compile(r"^FAILED (.+?)(?: - |$)", re.MULTILINE)
_HUNG = re.compile(r"^(FAILED .*Failed: Timeout|\+{5,} Timeout)", re.MULTILINE)


class Outcome(StrEnum):
    """What a removal came to. Only the first three are as they should be."""

    CAUGHT = "caught"
    WAITED = "waited"  # a test ran into its time limit, as the table says it must
    REDUNDANT = "redundant"  # no test failed, as the table says, and why
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"  # nothing was tested: no collection, no test, a fixture that failed
    HUNG = "HUNG"  # a test waited too long, and the table does not expect it: it may notice something else
    NEEDED = "NEEDED"  # called redundant by the table, and a test failed


GOOD = frozenset({Outcome.CAUGHT, Outcome.WAITED, Outcome.REDUNDANT})


@dataclass(frozen=True)
class Result:
    """One guard's removal. `by` is the test that failed; `told` the last lines of a run that says nothing clear."""

    name: str
    outcome: Outcome
    by: str
    seconds: float
    told: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Ended:
    """How a run of pytest ended; `code` None: it was killed at its time limit."""

    code: int | None
    output: str


def judge(guard: Guard, ended: Ended) -> tuple[Outcome, str]:
    """Return what pytest's end means, and the test that failed. Only a failed test catches; an error proves nothing."""
    failed = _FAILED.search(ended.output)
    by = failed.group(1) if failed else ""
    if ended.code == 0:
        return (Outcome.REDUNDANT if guard.redundant else Outcome.SURVIVED), ""
    if ended.code is None or _HUNG.search(ended.output):
        return (Outcome.WAITED if guard.hangs and by else Outcome.HUNG), by
    if ended.code != 1 or not by:
        return Outcome.BROKEN, ""
    return (Outcome.NEEDED if guard.redundant else Outcome.CAUGHT), by


class Tree:
    """A copy of the project in which guards are removed, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warm: subprocess.Popen[str] | None = None

    def copy_from(self, root: Path) -> None:
        """Copy the files that are, or are about to be, under version control."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        for name in filter(None, listed.split("\0")):
            if (root / name).is_file():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, self.path / name)

    def try_without(self, guard: Guard) -> Result:
        """Remove a guard, run its tests, put it back. Raises GuardMoved."""
        began = time.monotonic()
        before = guard.remove_in(self.path)
        try:
            ended = self._run_warm("-x", "-n0", *guard.tests)
        finally:
            (self.path / guard.file).write_text(before, encoding="utf-8")
            _forget_compiled(self.path / guard.file)
        outcome, by = judge(guard, ended)
        told = "" if outcome in GOOD else ended.output[-1500:]
        return Result(guard.name, outcome, by, time.monotonic() - began, told)

    def run_cold(self, *arguments: str) -> Ended:
        """Run pytest in a process of its own."""
        command = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
        run = subprocess.run(
            command, cwd=self.path, env=self._environment(), capture_output=True, text=True, check=False
        )
        return Ended(run.returncode, run.stdout)

    def find_package(self) -> Path:
        """Return the package that Python imports here: it must be the copy's, or nothing would be removed."""
        command = [sys.executable, "-c", "import orchestrator; print(orchestrator.__file__)"]
        run = subprocess.run(
            command, cwd=self.path, env=self._environment(), check=True, capture_output=True, text=True
        )
        return Path(run.stdout.strip())

    def close(self) -> None:
        """End the warm process and whatever its tests left."""
        warm, self._warm = self._warm, None
        if warm is not None:
            with warm:  # waits for it, and closes its pipes
                os.killpg(warm.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.path)}  # for processes that tests start, before what is installed

    def _run_warm(self, *arguments: str) -> Ended:
        if self._warm is None:
            command = [sys.executable, str(self.path / "scripts" / "guards" / "warm_pytest.py")]
            self._warm = subprocess.Popen(
                command, cwd=self.path, env=self._environment(), text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        warm = self._warm
        assert warm.stdin is not None
        assert warm.stdout is not None
        output = self.path / "pytest-output.txt"
        warm.stdin.write(json.dumps({"arguments": [*OPTIONS, *arguments], "output": str(output)}) + "\n")
        warm.stdin.flush()
        if not select.select([warm.stdout], [], [], LIMIT_SECONDS)[0]:
            self.close()
            return Ended(None, output.read_text(errors="replace") if output.exists() else "")
        code = int(warm.stdout.readline())
        return Ended(code, output.read_text(errors="replace"))


def _forget_compiled(path: Path) -> None:
    """Python tells a changed file by second and size: two edits of one second may look alike."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()

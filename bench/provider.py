"""Starts the bare provider in a process of its own and reads what it saw."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench.processes import ROOT, make_environment, on_core
from bench.task_stub import StubOptions
from tests.fixtures.processes import die_with_parent, stop


@dataclass(frozen=True)
class TaskTimes:
    """When a task was taken, done at the provider and first noticed by a poll; seconds of the monotonic clock."""

    taken_at: float
    done_at: float
    noticed_at: float


@dataclass(frozen=True)
class Stub:
    """A running provider."""

    port: int

    @property
    def base_url(self) -> str:
        """The address that clients are given."""
        return f"http://127.0.0.1:{self.port}/api/paas/v4"

    def count(self, name: str) -> int:
        """Return one counter: submits, refused, taken, polls or noticed."""
        return int(self._report("")["counts"].get(name, 0))

    def has_noticed(self, count: int) -> bool:
        """Say whether so many tasks have been seen to be done."""
        return self.count("noticed") >= count

    def most_in_flight(self) -> int:
        """Return the most tasks of one model that ran at once."""
        return max(self._report("")["most_in_flight"].values(), default=0)

    def tasks(self) -> list[TaskTimes]:
        """Return the tasks that were noticed, in the order in which they were taken."""
        return [TaskTimes(*row) for row in self._report("?whole")["tasks"] if row[2] is not None]

    def gaps(self) -> list[float]:
        """Return the seconds between two questions about the same running task, the first since it was taken."""
        gaps: list[float] = self._report("?whole")["gaps"]
        return gaps

    def forget_gaps(self) -> None:
        """Leave out of `gaps` what was asked so far."""
        self._report("", method="DELETE")

    def _report(self, query: str, *, method: str = "GET") -> Any:  # noqa: ANN401 - whatever JSON it answers
        url = f"http://127.0.0.1:{self.port}/_stub/report{query}"
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return json.load(answer)


@contextmanager
def running_stub(options: StubOptions, *, core: int | None = None) -> Iterator[Stub]:
    """Run a provider on a free port for the length of the block, on one core when asked."""
    command = [sys.executable, "-m", "bench.task_stub", json.dumps(asdict(options))]
    process = subprocess.Popen(
        on_core(command, core),
        cwd=ROOT,
        env=make_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - as in bench.processes
    )
    try:
        assert process.stdout is not None
        yield Stub(int(process.stdout.readline()))
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()

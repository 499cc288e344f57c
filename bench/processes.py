"""Processes that a benchmark starts: on a core of their own where that matters, stopped by their id, their CPU time read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fixtures.brokers import find_valkey, free_port
from tests.fixtures.processes import die_with_parent, stop

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30.0
IDLE_CPU_SECONDS = 0.1  # of a process in a second: a worker that only ticks needs a tenth of that


@contextmanager
def started(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    core: int | None = None,
    log: Path | None = None,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block, on one core when asked; what it says goes to `log` or nowhere."""
    with (log or Path(os.devnull)).open("ab") as sink:
        process = subprocess.Popen(
            on_core(command, core),
            cwd=ROOT,
            env=make_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - the benchmark has started no thread yet
        )
    try:
        yield process
    finally:
        stop(process, stop_signal)


def make_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment and more. Compiled code may be kept: to compile again is not what is measured."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | dict(more)


def on_core(command: Sequence[str], core: int | None) -> list[str]:
    """Return the command that runs this one on one core."""
    return list(command) if core is None else ["taskset", "--cpu-list", str(core), *command]


def cores() -> tuple[int, int | None]:
    """Return the core for what is measured and another for what serves it; None when the machine has only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1] if len(allowed) > 1 else None


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the user and system time of these processes and their living children, up to now."""
    ticks = 0
    for pid in pids:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
        ticks += sum(_ticks(each) for each in (pid, *children))
    return ticks / TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS, every: float = 0.05
) -> None:
    """Look again and again until the condition holds. Raises TimeoutError that says what never came."""
    end = time.monotonic() + seconds
    time.sleep(every)
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def wait_until_idle(pids: Sequence[int]) -> None:
    """Wait until the processes have done what they do at a start: a second in which they hardly work."""
    used = cpu_seconds(pids)

    def is_idle() -> bool:
        nonlocal used
        before, used = used, cpu_seconds(pids)
        return used - before < IDLE_CPU_SECONDS * len(pids)

    wait_until(is_idle, "the start of the processes", every=1.0)


@contextmanager
def running_broker(core: int | None = None) -> Iterator[str]:
    """Start the Valkey server of the wheel on a free port, nothing kept on disk; give its URL."""
    port = free_port()
    with TemporaryDirectory(prefix="bench-") as folder:
        options = {"port": str(port), "bind": "127.0.0.1", "dir": folder, "appendonly": "no", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with started([str(find_valkey()), *words], core=core, log=Path(folder) / "valkey.log"):
            wait_until(partial(_listens, port), "the Valkey server")
            yield f"redis://127.0.0.1:{port}/0"


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0

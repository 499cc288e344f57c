"""What it costs intake that a history can be searched: prompts, tags and the indexes of the other fields.

    python -m bench.searched [--lines 20000] [--repeat 3]

The same checked file is taken in by the same code, in turns: into the newest schema, and into that of before, where nothing
is entered beside the jobs. Counted is CPU time, of this process and of the server, which other work on the machine does not
stretch; the wall's time stands beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast
from unittest.mock import patch

from bench.ingest import take, write_file
from bench.measure import cpu_seconds
from bench.results import Figure, emit
from orchestrator.db.migrate import upgrade
from orchestrator.domain.kind import Kind
from orchestrator.services.intake import CheckedFile, CheckOptions, check_file
from orchestrator.zai.kinds import load_kinds
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

BEFORE = "0005_add_webhooks"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds of one intake: on the wall, of CPU here and of CPU in the server."""

    wall: float
    client: float
    server: float


def server_cpu(postmaster: int) -> float:
    """Return the CPU seconds of the server's processes, those that have ended included."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text("ascii").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended: its parent has its time
            continue
        if int(entry.name) == postmaster:
            total += sum(map(int, fields[11:15])) / TICKS
        elif int(fields[1]) == postmaster:
            total += sum(map(int, fields[11:13])) / TICKS
    return total


def measure(server: PostgresServer, name: str, checked: CheckedFile, folder: Path, *, is_searched: bool) -> Cost:
    """Take the file into a fresh database."""
    server.execute(f"CREATE DATABASE {name}")
    url = server.url(name)
    upgrade(url, "head" if is_searched else BEFORE)
    begun, client, backend = time.perf_counter(), cpu_seconds(), server_cpu(server.pid)
    if is_searched:
        take(url, checked, folder)
    else:
        with patch("orchestrator.db.batches.insert_searched", lambda *_: None):
            take(url, checked, folder)
    return Cost(time.perf_counter() - begun, cpu_seconds() - client, server_cpu(server.pid) - backend)


def report(lines: int, ours: list[Cost], before: list[Cost]) -> None:
    """Print the median of each figure and its ratio."""
    what = f"{lines:,} lines ingested, searchable"
    for name in ("wall", "client", "server"):
        mine, theirs = (median(getattr(cost, name) for cost in costs) for costs in (ours, before))
        emit(Figure(what, "s", mine, theirs, "not searchable", mine / theirs, note=name))
    mine, theirs = (median(cost.client + cost.server for cost in costs) for costs in (ours, before))
    emit(Figure(what, "s", mine, theirs, "not searchable", mine / theirs, "at most 2", "all CPU"))


def main() -> None:
    """Parse options, start a server, measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    kinds: Mapping[str, Kind] = cast("dict[str, Kind]", load_kinds())
    ours, before = list[Cost](), list[Cost]()
    with running_server(*choose_binaries()) as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.jsonl"
        write_file(path, options.lines)
        checked = check_file(path, kinds, options=CheckOptions("sandbox"))
        for turn in range(options.repeat):
            ours.append(measure(server, f"searched_{turn}", checked, Path(folder), is_searched=True))
            before.append(measure(server, f"before_{turn}", checked, Path(folder), is_searched=False))
    report(options.lines, ours, before)


if __name__ == "__main__":
    main()

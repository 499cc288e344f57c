"""Runs the benchmarks one after the other and puts their figures into one table: `make bench`, `make bench BENCH=slots`.

Ratios within one run are what counts; absolute figures say something about the machine of the day.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bench.processes import ROOT

BENCHES: dict[str, tuple[str, ...]] = {
    "clients": (),
    "claims": (),
    "polling": (),
    "submit": (),
    "check": (),
    "archive": (),
    "ingest": (),
    "egress": (),
    "webhooks": (),
    "outbox": (),
    "history": (),
    "console": (),
    "searched": (),
    "schedules": (),
    "slots": (),
    "recipe": ("inflight",),  # its throughput stands beside ours in `fleet`
    "fleet": (),
    "api": (),
    "uploads": (),
}
COLUMNS = ("figure", "ours", "beside", "ratio", "aim", "machine")


def run(name: str, options: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run one benchmark, show what it prints, and yield its lines of JSON. Raises CalledProcessError."""
    command = [sys.executable, "-m", f"bench.{name}", *options]
    print(f"$ python -m bench.{name} {' '.join(options)}".rstrip(), flush=True)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("{"):
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def describe_machine() -> str:
    """Return cores, system and Python, and whether the machine had other work."""
    load, count = os.getloadavg()[0], os.cpu_count() or 1
    words = f"{count} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{words}, UNDER LOAD ({load:.1f})" if load > count / 2 else words


def make_row(figure: dict[str, Any], machine: str) -> tuple[str, ...]:
    """Return a figure as a row of the table."""
    unit = figure.get("unit", "")
    beside = " ".join(filter(None, (_shown(figure.get("beside"), unit), figure.get("beside_what", ""))))
    note = figure.get("note")
    name = f"{figure['figure']} ({note})" if note else str(figure["figure"])
    return name, _shown(figure.get("ours"), unit), beside, _shown(figure.get("ratio")), figure.get("aim", ""), machine


def _shown(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:,} {unit}".strip()


def main() -> None:
    """Run what is named, else everything; exit 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"[all: {' '.join(BENCHES)}]")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"{', '.join(sorted(unknown))}: the benchmarks are {' '.join(BENCHES)}")
    rows: list[tuple[str, ...]] = []
    failed: list[str] = []
    for name in given.names or BENCHES:
        machine = describe_machine()
        try:
            rows += [make_row(line, machine) for line in run(name, BENCHES[name]) if "figure" in line]
        except subprocess.CalledProcessError as error:
            failed.append(f"{name}: exit code {error.returncode}")
    for row in (COLUMNS, ("---",) * len(COLUMNS), *rows):
        print("| " + " | ".join(row) + " |")
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    main()

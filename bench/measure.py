"""What every measurement shares: CPU time, percentiles, which core, and how a result is told."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Collection, Mapping, Sequence


def cpu_seconds() -> float:
    """Return the CPU time that this process has used, in user and kernel mode, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    """Return the memory that this process holds now (Linux; elsewhere its peak)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - not a file of anybody's
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def percentile(values: Collection[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie; NaN for none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def pin(core: int, pid: int = 0) -> None:
    """Keep a process, all its threads to come and its children to come, on one core. Does nothing where it cannot."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows under their names, numbers to the right."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[_as_text(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[n]) for line in cells)) for n, name in enumerate(names)]
    for line in [names, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def print_json(name: str, result: object) -> None:
    """Print one line for programs: which measurement, on what, with what result."""
    machine = {"python": platform.python_version(), "system": platform.system(), "cores": len(cores())}
    print(json.dumps({"bench": name, "machine": machine, "result": result}))
    sys.stdout.flush()


def _as_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

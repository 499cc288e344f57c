"""How long paid-for slots stand empty: `python -m bench.slots`. 60 jobs of 2 s through a limit of 3, against the ideal.

The ideal hands each job to the slot that is free first, without a pause: no client can do better without knowing the
durations. Every contestant meets the same durations in the same order, from a provider of its own, all at the same time:
they mostly wait. Makespan is from the first task taken to the last one noticed, by the provider's books.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from bench.processes import started, wait_until
from bench.provider import Stub, TaskTimes, running_stub
from bench.recipe import Pool, running_recipe
from bench.results import Figure, emit
from bench.task_stub import StubOptions, draw_seconds

Start = Callable[[Stub, ExitStack], None]
"""Starts a contestant against its provider; what it started ends with the stack."""

LIMIT = 3
AIM = "at most 1.10 of the ideal"
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Result:
    """One contestant: makespan, and means over the tasks of the two times in which a slot brings nothing."""

    makespan: float
    to_notice: float
    to_refill: float
    polls_per_job: float


def ideal_makespan(durations: Sequence[float], slots: int) -> float:
    """Return when the last job ends if each goes to the slot that is free first, without a pause between."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def find_refills(tasks: Sequence[TaskTimes], slots: int) -> list[float]:
    """Return the waits from noticing that a slot is free to filling it: the n-th notice makes room for one more task."""
    noticed = sorted(task.noticed_at for task in tasks)
    taken = sorted(task.taken_at for task in tasks)[slots:]
    return [at - free for free, at in zip(noticed, taken, strict=False)]


def result_of(stub: Stub) -> Result:
    """Read the provider's books."""
    tasks = stub.tasks()
    return Result(
        makespan=max(task.noticed_at for task in tasks) - tasks[0].taken_at,
        to_notice=mean(task.noticed_at - task.done_at for task in tasks),
        to_refill=mean(find_refills(tasks, LIMIT)),
        polls_per_job=stub.count("polls") / len(tasks),
    )


def run_ours(stub: Stub, folder: Path, jobs: int, settings: Mapping[str, str]) -> AbstractContextManager[object]:
    """`orchestrator run` as a user starts it: every lane in one process over SQLite, outputs archived too."""
    line = {"kind": "image", "body": {"model": "glm-image", "prompt": "a kite over the sea"}}
    lines = [json.dumps({**line, "custom_id": f"kite-{number}"}) for number in range(jobs)]
    (folder / "jobs.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    environment = {
        "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
        "ORCHESTRATOR_ZAI_API_KEY": "bench.key",
        "ORCHESTRATOR_ZAI_BASE_URL": stub.base_url,
        "ORCHESTRATOR_EGRESS_ALLOW": f"127.0.0.1:{stub.port}",
        "ORCHESTRATOR_LIMITS": f"glm-image={LIMIT}",
        "ORCHESTRATOR_LOG_LEVEL": "error",
        **settings,
    }
    command = [sys.executable, "-m", "orchestrator", "run", str(folder / "jobs.jsonl")]
    return started(command, environment=environment, log=folder / "ours.log")


def run_sdk(stub: Stub, jobs: int, interval: float) -> AbstractContextManager[object]:
    """As many threads as slots on the official SDK."""
    return started([sys.executable, "-m", "bench.sdk_pool", stub.base_url, str(LIMIT), str(jobs), str(interval)])


def measure(starts: Mapping[str, Start], options: StubOptions, jobs: int) -> dict[str, Result]:
    """Run the contestants at the same time, each against a provider of its own."""
    with ExitStack() as stack:
        stubs = {name: stack.enter_context(running_stub(options)) for name in starts}
        for name, start in starts.items():
            start(stubs[name], stack)
        for name, stub in stubs.items():
            wait_until(partial(stub.has_noticed, jobs), name, seconds=PATIENCE_SECONDS, every=0.5)
        return {name: result_of(stub) for name, stub in stubs.items()}


def contestants(folder: Path, jobs: int, intervals: str) -> dict[str, Start]:
    """Return how each contestant is started."""

    def ours(name: str, settings: Mapping[str, str]) -> Start:
        home = folder / name
        home.mkdir()
        return lambda stub, stack: _enter(stack, run_ours(stub, home, jobs, settings))

    def sdk(interval: float) -> Start:
        return lambda stub, stack: _enter(stack, run_sdk(stub, jobs, interval))

    def recipe(stub: Stub, stack: ExitStack) -> None:
        pool = Pool("threads", workers=1, concurrency=4)
        stack.enter_context(running_recipe(stub, wait_seconds=5.0, pool=pool)).submit(jobs)

    return {
        "ours": ours("set", {"ORCHESTRATOR_POLL_INTERVALS": f"image={intervals}"}),
        "ours, default schedule": ours("default", {}),
        "recipe, countdown 5 s": recipe,
        "SDK in 3 threads, every 5 s": sdk(5.0),
        "SDK in 3 threads, every 1 s": sdk(1.0),
    }


def _enter(stack: ExitStack, process: AbstractContextManager[object]) -> None:
    stack.enter_context(process)


def main() -> None:
    """Measure and print a figure per contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--intervals", default="0.2..1", help="shortest and longest poll interval of ours")
    parser.add_argument("--only", action="append", help="a contestant's name; may be repeated")
    given = parser.parse_args()
    options = StubOptions(seconds=given.seconds, jitter=0.2, limits={"*": LIMIT})
    ideal = ideal_makespan(draw_seconds(options, given.jobs), LIMIT)
    with TemporaryDirectory(prefix="bench-") as folder:
        known = contestants(Path(folder), given.jobs, given.intervals)
        chosen = {name: start for name, start in known.items() if not given.only or name in given.only}
        found = measure(chosen, options, given.jobs)
    for name, result in found.items():
        emit(_figure(name, result, ideal))


def _figure(name: str, result: Result, ideal: float) -> Figure:
    is_ours = name.startswith("ours")
    return Figure(
        f"slots: {name}",
        "s",
        ours=result.makespan if is_ours else None,
        beside=ideal if is_ours else result.makespan,
        beside_what="ideal" if is_ours else name,
        ratio=result.makespan / ideal,
        aim=AIM if is_ours else "",
        note=f"done to noticed {result.to_notice:.3f} s, noticed to refilled {result.to_refill:.3f} s (means), "
        f"{result.polls_per_job:.1f} polls a job",
    )


if __name__ == "__main__":
    main()

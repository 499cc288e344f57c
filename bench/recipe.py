"""Measures the usual Celery recipe (bench/recipe_app.py): `python -m bench.recipe [inflight|throughput]`.

A real Valkey server, the bare provider, workers as processes of their own. What the others measure ours against.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from celery import Celery

from bench.processes import cores, cpu_seconds, running_broker, started, wait_until, wait_until_idle
from bench.provider import Stub, running_stub
from bench.results import Figure, emit, percentile
from bench.task_stub import StubOptions

LAG_SECONDS = 1.0
NEVER = 1e9


@dataclass(frozen=True)
class Pool:
    """How the workers run: so many processes of so many threads or children each."""

    kind: str = "threads"
    workers: int = 1
    concurrency: int = 8


@dataclass(frozen=True)
class Recipe:
    """A running recipe: its broker and the ids of its workers."""

    sender: Celery
    pids: tuple[int, ...]

    def submit(self, count: int, *, over_seconds: float = 0.0) -> None:
        """Send so many jobs, spread evenly over a time."""
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + over_seconds * number / count - time.monotonic()))
            self.sender.send_task("bench.recipe_app.submit")

    def cpu_seconds(self) -> float:
        """Return what the workers have used so far."""
        return cpu_seconds(self.pids)


@contextmanager
def running_recipe(
    stub: Stub, *, wait_seconds: float, pool: Pool, core: int | None = None, beside: int | None = None
) -> Iterator[Recipe]:
    """Start a broker and workers and give them once every worker listens. `core` is theirs, `beside` the broker's."""
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(beside))
        environment = {
            "RECIPE_BROKER": broker,
            "RECIPE_BASE_URL": stub.base_url,
            "RECIPE_WAIT_SECONDS": str(wait_seconds),
        }
        workers = [
            stack.enter_context(started(_command(pool, number), environment=environment, core=core))
            for number in range(pool.workers)
        ]
        sender = stack.enter_context(Celery(broker=broker))
        wait_until(lambda: len(sender.control.ping(timeout=0.5)) == pool.workers, "the workers")
        yield Recipe(sender, tuple(worker.pid for worker in workers))


def _command(pool: Pool, number: int) -> list[str]:
    options = ["--pool", pool.kind, "--concurrency", str(pool.concurrency), "--hostname", f"worker{number}@%h"]
    quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "--app", "bench.recipe_app", "worker", *options, *quiet]


# -- how many jobs in flight one core bears ------------------------------------------------------------------------


def measure_in_flight(*, start: int, step: int, pool: Pool, window_seconds: float = 10.0) -> int:
    """Return the most jobs in flight at a 5 s interval whose polls are less than 1 s late at the 99th percentile."""
    core, beside = cores()
    options = StubOptions(seconds=NEVER)
    best = count = 0
    with (
        running_stub(options, core=beside) as stub,
        running_recipe(stub, wait_seconds=5.0, pool=pool, core=core, beside=beside) as recipe,
    ):
        while True:
            more = step if count else start
            recipe.submit(more, over_seconds=max(5.0, more / 100))
            count += more
            lag = _measure_lag(stub, interval=5.0, window_seconds=window_seconds)
            emit(Figure("recipe_lag_p99", "s", beside=lag, note=f"{count} jobs in flight, {pool.kind}"))
            if lag >= LAG_SECONDS or stub.count("taken") < count:
                return best
            best = count


def _measure_lag(stub: Stub, *, interval: float, window_seconds: float) -> float:
    time.sleep(2 * interval)
    stub.forget_gaps()
    time.sleep(window_seconds)
    return percentile(stub.gaps(), 0.99) - interval


# -- what many short jobs cost -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Throughput:
    """From the first submission taken to the last final answer; the workers' CPU from before the first message."""

    seconds: float
    cpu_seconds: float


def measure_throughput(*, jobs: int, polls: int, pool: Pool) -> Throughput:
    """Run jobs that are done at their n-th poll, one second apart."""
    with (
        running_stub(StubOptions(polls=polls)) as stub,
        running_recipe(stub, wait_seconds=1.0, pool=pool) as recipe,
    ):
        wait_until_idle(recipe.pids)
        before = recipe.cpu_seconds()
        recipe.submit(jobs)
        wait_until(partial(stub.has_noticed, jobs), "the last job", seconds=600, every=0.2)
        used = recipe.cpu_seconds() - before
        tasks = stub.tasks()
        return Throughput(max(t.noticed_at for t in tasks) - tasks[0].taken_at, used)


def main() -> None:
    """Measure what is asked for, or all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("inflight", "throughput"), help="[both]")
    parser.add_argument("--pool", choices=("threads", "prefork"), default="threads")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="of throughput; in flight is measured on one")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--start", type=int, default=400)
    parser.add_argument("--step", type=int, default=200)
    given = parser.parse_args()
    if given.what != "inflight":
        pool = Pool(given.pool, given.workers, given.concurrency)
        took = measure_throughput(jobs=given.jobs, polls=5, pool=pool)
        note = f"{given.jobs} jobs of five 1 s polls, {pool.workers} x {pool.kind} {pool.concurrency}"
        emit(Figure("recipe_makespan", "s", beside=took.seconds, note=note))
        emit(Figure("recipe_cpu_per_1000", "CPU s", beside=took.cpu_seconds / given.jobs * 1000, note=note))
    if given.what != "throughput":
        pool = Pool(given.pool, 1, given.concurrency)
        most = measure_in_flight(start=given.start, step=given.step, pool=pool)
        emit(
            Figure("recipe_in_flight", "jobs", beside=most, note=f"5 s polls, p99 lag under 1 s, one core, {pool.kind}")
        )


if __name__ == "__main__":
    main()

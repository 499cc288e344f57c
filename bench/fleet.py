"""What many short jobs cost the fleet: `python -m bench.fleet`. 2,000 jobs of five 1 s polls, beside the usual recipe.

Two `orchestrator worker` processes, PostgreSQL, Valkey and the bare provider, all on this machine; from the first task
taken until every job is past its last poll. Nothing is archived: the recipe archives nothing either.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import cpu_seconds, running_broker, started, wait_until, wait_until_idle
from bench.provider import running_stub
from bench.recipe import Pool, Throughput, measure_throughput
from bench.results import Figure, emit
from bench.task_stub import StubOptions
from orchestrator.cli.fleet import waking
from orchestrator.config import Settings, load_settings
from orchestrator.db import migrate
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, check_file, take_file
from orchestrator.wiring import App, open_app
from tests.fixtures.postgres import choose_binaries, running_server

WORKERS = 2
POLLS = 5
PATIENCE_SECONDS = 600.0
IN_WORK = (State.QUEUED, State.SUBMITTING, State.PROCESSING)
ONE_JOB = {"kind": "image", "body": {"model": "glm-image", "prompt": "a kite over the sea"}}


@contextmanager
def running_database() -> Iterator[str]:
    """Start a PostgreSQL with our schema; give its URL. It forgets at a power cut, as the recipe's broker does."""
    with running_server(*choose_binaries()) as server:
        server.execute("CREATE DATABASE bench")
        migrate.upgrade(server.url("bench"))
        yield server.url("bench")


def write_jobs(path: Path, count: int) -> Path:
    """Write a job file of so many pictures."""
    lines = (json.dumps({**ONE_JOB, "custom_id": f"kite-{number}"}) for number in range(count))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def take(app: App, path: Path) -> str:
    """Take the file in; return its batch."""
    checked = check_file(path, app.kinds, options=CheckOptions(app.settings.zai_base_url, allow_unknown_model=False))
    taker = Taker(
        batches=app.batches,
        store=app.stores.open(app.settings.archive),
        clock=app.clock,
        rng=app.rng,
        spool=app.settings.spool_dir,
    )
    return take_file(checked, taker).batch.id


def measure_ours(jobs: int) -> Throughput:
    """Run the jobs through a fleet of our own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        stub = stack.enter_context(running_stub(StubOptions(polls=POLLS)))
        settings = {
            "data_dir": str(folder / "data"),
            "database_url": stack.enter_context(running_database()),
            "broker_url": stack.enter_context(running_broker()),
            "zai_api_key": "bench.key",
            "zai_base_url": stub.base_url,
            "limits": f"*={jobs}",
            "poll_intervals": "image=1..1",
        }
        pids = [stack.enter_context(_worker(settings, folder / f"worker{n}.log")) for n in range(WORKERS)]
        app = stack.enter_context(open_app(load_settings(settings)))
        wait_until_idle(pids)
        before = cpu_seconds(pids)
        batch = take(app, write_jobs(folder / "jobs.jsonl", jobs))
        _wake(app.settings, app)
        wait_until(partial(_is_past_polling, app, batch, jobs), "the last job", seconds=PATIENCE_SECONDS, every=0.1)
        ended, used = time.monotonic(), cpu_seconds(pids) - before
        return Throughput(ended - stub.tasks()[0].taken_at, used)


@contextmanager
def _worker(settings: Mapping[str, str], log: Path) -> Iterator[int]:
    """Start a worker of every lane but the archive's; give its process id once it serves."""
    environment = {f"ORCHESTRATOR_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "orchestrator", "worker", "--queues", "submit,poll,sweep"]
    with started(command, environment=environment, log=log) as process:
        wait_until(lambda: " serves " in log.read_text("utf-8"), "a worker of ours")
        yield process.pid


def _wake(settings: Settings, app: App) -> None:
    assert settings.broker_url is not None
    with waking(settings.broker_url, clock=app.clock) as wakeup:
        wakeup.wake(LaneName.SUBMIT)


def _is_past_polling(app: App, batch: str, jobs: int) -> bool:
    counts = app.batches.count_states(batch)
    return counts.total == jobs and not any(counts.by_state.get(state) for state in IN_WORK)


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--ours-only", action="store_true")
    given = parser.parse_args()
    ours = measure_ours(given.jobs)
    recipe = None
    if not given.ours_only:
        pool = Pool("threads", workers=WORKERS, concurrency=4)
        recipe = measure_throughput(jobs=given.jobs, polls=POLLS, pool=pool)
    note = f"{given.jobs} jobs of five 1 s polls, {WORKERS} workers"
    _emit("fleet_makespan", "s", ours.seconds, recipe.seconds if recipe else None, note)
    per_1000 = 1000 / given.jobs
    beside = recipe.cpu_seconds * per_1000 if recipe else None
    _emit("fleet_cpu_per_1000", "CPU s", ours.cpu_seconds * per_1000, beside, note)


def _emit(name: str, unit: str, ours: float, recipe: float | None, note: str) -> None:
    ratio = ours / recipe if recipe else None
    emit(Figure(name, unit, ours, recipe, "recipe" if recipe else "", ratio, "at most the recipe's", note))


if __name__ == "__main__":
    main()

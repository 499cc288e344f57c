"""How many jobs one core polls every five seconds with p99 lag (asked minus due) under one second.

    python -m bench.polling [--seconds 15] [--ways ours bare]

*ours*: the poll lane on a real PostgreSQL, everything as in production but the stub it asks. *bare*: an asyncio loop over
the same HTTP client, no database: what could be had at best. Our process has the first core, PostgreSQL and the stub the
last one. The usual recipe, a Celery task a job that retries itself, is in bench/recipe.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

from bench.jobs import insert_processing
from bench.measure import cores, cpu_seconds, percentile, pin, print_json, print_table, resident_bytes
from bench.stub import running_stub
from orchestrator.config import load_settings
from orchestrator.db.migrate import upgrade
from orchestrator.domain.ports import PollAnswer, PollQuestion, Provider
from orchestrator.http import POLL_CONNECTIONS, poll_client
from orchestrator.services.lanes.drain import Drain, Mailbox, Stop
from orchestrator.services.lanes.held import Alarm, set_loop_alarm
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.wiring import open_app, open_lanes
from tests.fixtures.postgres import choose_binaries, running_server

INTERVAL_SECONDS = 5.0
LAG_SECONDS = 1.0
FIRST_COUNT = 2_000
STEP = 1.25  # the answer is known to a fifth; finer would be false precision on a shared machine
WARM_SECONDS = 12.0  # claims of the whole backlog and two rounds of questions
HANGS_SECONDS = 180.0
HEADERS = {"Authorization": "Bearer key", "Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass
class Lags:
    """Lags of the questions asked while it is on."""

    is_on: bool = False
    values: list[float] = field(default_factory=list)


def measure_window(lags: Lags, seconds: float, wait: Callable[[float], None]) -> dict[str, float]:
    """Let things warm up, then measure for some seconds."""
    wait(WARM_SECONDS)
    lags.is_on = True
    used, begun = cpu_seconds(), time.perf_counter()
    wait(seconds)
    lags.is_on = False
    used, elapsed = cpu_seconds() - used, time.perf_counter() - begun
    return {
        "polls_per_second": len(lags.values) / elapsed,
        "cpu_us_per_poll": used / max(len(lags.values), 1) * 1e6,
        "cpu_share": used / elapsed,
        "lag_p50": percentile(lags.values, 0.5),
        "lag_p99": percentile(lags.values, 0.99),
    }


# -- the bare loop -----------------------------------------------------------------------------------------------


def run_bare(address: str, count: int, seconds: float) -> dict[str, float]:
    """Ask about `count` tasks from a heap of times, with as many callers as connections."""
    lags, rng = Lags(), Random(7)

    async def ask_on(due: list[tuple[float, int]]) -> None:
        client = poll_client()
        loop = asyncio.get_running_loop()

        async def caller() -> None:
            while True:
                when, number = heappop(due)
                if (wait := when - loop.time()) > 0:
                    await asyncio.sleep(wait)
                asked = loop.time()
                _, body = await client.get(f"{address}/async-result/task-{number}", headers=HEADERS, cap_bytes=1 << 23)
                assert json.loads(body)["task_status"] == "PROCESSING"
                if lags.is_on:
                    lags.values.append(asked - when)
                heappush(due, (loop.time() + INTERVAL_SECONDS * rng.uniform(0.9, 1.1), number))

        await asyncio.gather(*(caller() for _ in range(min(POLL_CONNECTIONS, count))))

    def run() -> None:
        loop = asyncio.new_event_loop()
        start = loop.time()
        due = sorted((start + rng.uniform(0, INTERVAL_SECONDS), number) for number in range(count))
        loop.run_until_complete(ask_on(due))

    threading.Thread(target=run, daemon=True).start()
    return measure_window(lags, seconds, time.sleep)


# -- our poll lane -----------------------------------------------------------------------------------------------


class Watch:
    """Sees each row's alarm and its next question; a row's task on the loop is the thread between them."""

    def __init__(self, real: Provider, lags: Lags) -> None:
        self.kinds = real.kinds
        self._real, self._lags = real, lags
        self._due: dict[asyncio.Task[Any] | None, float] = {}

    def set_alarm(self, seconds: float, ring: Callable[[], None]) -> Alarm:
        """Set the alarm that the lane wants and remember when it rings."""
        self._due[asyncio.current_task()] = time.monotonic() + seconds
        return set_loop_alarm(seconds, ring)

    async def poll(self, question: PollQuestion) -> PollAnswer:
        """Ask, and note how late."""
        due = self._due.pop(asyncio.current_task(), None)
        if self._lags.is_on and due is not None:
            self._lags.values.append(time.monotonic() - due)
        return await self._real.poll(question)


@contextmanager
def draining(address: str, database_url: str, lags: Lags, window: int) -> Iterator[None]:
    """Run the poll lane as a worker does, until the block ends."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = load_settings(
            {
                "data_dir": folder,
                "database_url": database_url,
                "zai_base_url": address,
                "zai_api_key": "id.secret",
                "poll_intervals": f"video={INTERVAL_SECONDS}..{INTERVAL_SECONDS}",
            }
        )
        context = stack.enter_context(open_lanes(stack.enter_context(open_app(settings)), Mailboxes()))
        watch = Watch(context.provider, lags)
        limits = replace(context.limits, poll_window=window)
        watched = replace(context, provider=cast(Provider, watch), limits=limits)
        lane = PollLane(watched, set_alarm=watch.set_alarm)
        loop, mailbox, stop = LoopThread(), Mailbox(), Stop()
        stop.watch(mailbox)
        drain = Drain(lane, loop=loop, clock=context.clock, mailbox=mailbox, stop=stop)
        thread = threading.Thread(target=drain.run)
        thread.start()
        yield
        stop.request()
        thread.join()
        loop.submit(context.provider.close()).result()
        loop.close()


def run_ours(address: str, database_url: str, count: int, seconds: float) -> dict[str, float]:
    """Hold `count` rows of a fresh table."""
    insert_processing(database_url, count, interval_seconds=INTERVAL_SECONDS)
    lags, before = Lags(), resident_bytes()
    with draining(address, database_url, lags, count):
        figures = measure_window(lags, seconds, time.sleep)
        held = resident_bytes() - before
    return figures | {"bytes_per_row": held / count}


# -- the search --------------------------------------------------------------------------------------------------


def run_one(way: str, address: str, database_url: str, count: int, seconds: float) -> dict[str, object]:
    """Try one number of jobs in a process of its own."""
    command = [sys.executable, "-m", "bench.polling", "--one", way, address, database_url, str(count), str(seconds)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=HANGS_SECONDS)
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    wanted = count / INTERVAL_SECONDS * 0.9  # fewer asked: the rest did not even come to be late
    holds = figures["lag_p99"] < LAG_SECONDS and figures["polls_per_second"] > wanted
    return {"way": way, "jobs": count, "holds": holds, **figures}


def search(way: str, address: str, database_url: str, seconds: float, first: int) -> list[dict[str, object]]:
    """Step the number up until it does not hold; return every try."""
    rows: list[dict[str, object]] = []
    count = first
    while not rows or rows[-1]["holds"]:
        rows.append(run_one(way, address, database_url, count, seconds))
        print(json.dumps(rows[-1]), file=sys.stderr)
        count = int(count * STEP)
    return rows


def main() -> None:
    """Search each way's limit; print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--first", type=int, default=FIRST_COUNT)
    parser.add_argument("--ways", nargs="+", choices=("ours", "bare"), default=["ours", "bare"])
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, address, database_url, count, seconds = options.one
        pin(cores()[0])
        run = partial(run_ours, address, database_url) if way == "ours" else partial(run_bare, address)
        print(json.dumps(run(int(count), float(seconds))), flush=True)
        os._exit(0)  # the bare loop's thread has no end
    with running_stub(cores()[-1]) as host_port, running_server(*choose_binaries()) as server:
        pin(cores()[-1], server.pid)
        server.execute("CREATE DATABASE polling")
        upgrade(server.url("polling"))
        tries = {
            way: search(way, f"http://{host_port}", server.url("polling"), options.seconds, options.first)
            for way in options.ways
        }
    best = {way: [row["jobs"] for row in rows if row["holds"]][-1:] for way, rows in tries.items()}
    print_table([row for rows in tries.values() for row in rows])
    print_json("polling", {"interval_seconds": INTERVAL_SECONDS, "jobs_on_one_core": best, "tries": tries})


if __name__ == "__main__":
    main()

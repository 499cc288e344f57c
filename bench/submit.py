"""What a job costs from its claim to the commit of its task id: `python -m bench.submit --help`.

The provider is a bare asyncio server in a process of its own, so only ours is measured: the CPU of this process, the
database server's apart. The floor is the stock HTTP client alone, sending the same requests in the same window.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TypeVar

from orchestrator import http
from orchestrator.config import Settings, load_settings
from orchestrator.db import migrate
from orchestrator.domain import ids
from orchestrator.domain.job import Batch, NewJob, Price
from orchestrator.domain.ports import DeadJournal, JournalRecord, LaneName
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Drain, Mailbox, Stop
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.submit import SubmitLane, SubmitResult, SubmitWork
from orchestrator.wiring import App, open_app, open_lanes

T = TypeVar("T")

MODEL = "cogvideox-3"
DATABASES = ("sqlite", "postgresql")
PRINT_ADDRESS = "--be-the-provider"


@dataclass(frozen=True)
class Figures:
    """One run. CPU in milliseconds per job; the parts are this process's threads', by what they were doing."""

    what: str
    jobs: int
    window: int
    jobs_per_second: float
    cpu_ms: float
    claim_ms: float = 0.0
    apply_ms: float = 0.0
    look_ms: float = 0.0
    journal_ms: float = 0.0
    rest_ms: float = 0.0
    claims: int = 0
    applies: int = 0


# -- the provider --------------------------------------------------------------------------------------------------


class Answering(asyncio.Protocol):
    """Answers every POST with a fresh task id and reads no more of it than it must."""

    count = 0

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._seen = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        if not found or len(body) < _length_in(head):
            return
        self._seen = b""
        Answering.count += 1
        answer = b'{"id":"task-%d","model":"m","task_status":"PROCESSING"}' % Answering.count
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
        asyncio.get_running_loop().call_later(self._latency, self._write, head + answer)

    def _write(self, answer: bytes) -> None:
        assert self._transport is not None
        self._transport.write(answer)


def _length_in(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(latency: float) -> None:
    """Be the provider until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(latency), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def running_provider(latency: float = 0.0) -> Iterator[str]:
    """Give the base URL of a provider in a process of its own, which answers after `latency` seconds."""
    command = [sys.executable, "-m", "bench.submit", PRINT_ADDRESS, f"--latency={latency}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/paas/v4"
        process.stdin.close()


# -- the floor -----------------------------------------------------------------------------------------------------


def measure_floor(base_url: str, *, jobs: int, window: int) -> Figures:
    """Send the requests with the paid call's own client and nothing around it."""

    async def send_all() -> None:
        client = http.paid_client()
        left = iter(range(jobs))

        async def send_next() -> None:
            for number in left:
                body = json.dumps(_body(number)).encode()
                answer = await client.post(
                    f"{base_url}/videos/generations", content=body, headers={"Content-Type": "application/json"}
                )
                json.loads(answer.content)

        await asyncio.gather(*(send_next() for _ in range(window)))
        await client.aclose()

    http.paid_client()  # its authorities are read once
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(send_all())
    spent, took = time.process_time() - cpu, time.perf_counter() - began
    return Figures("stock client alone", jobs, window, round(jobs / took, 1), round(spent / jobs * 1000, 3))


# -- ours ----------------------------------------------------------------------------------------------------------


class Meter:
    """CPU seconds by part, each counted on the thread that did it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._lock = threading.Lock()

    def measure(self, part: str, work: Callable[[], T]) -> T:
        """Do the work and count it."""
        began = time.thread_time()
        try:
            return work()
        finally:
            spent = time.thread_time() - began
            with self._lock:
                self.seconds[part] = self.seconds.get(part, 0.0) + spent
                self.calls[part] = self.calls.get(part, 0) + 1


class MeteredLane:
    """The submit lane, its database work counted."""

    name = LaneName.SUBMIT
    renew_every_seconds: float | None = None
    looks_when_finished = True
    finishes_when_stopped = True

    def __init__(self, lane: SubmitLane, meter: Meter) -> None:
        self._lane, self._meter = lane, meter
        self.ended_count = 0

    def claim(self, held: Collection[SubmitWork]) -> Sequence[SubmitWork]:
        return self._meter.measure("claim", lambda: self._lane.claim(held))

    async def perform(self, work: SubmitWork) -> SubmitResult:
        return await self._lane.perform(work)

    def apply(self, results: Sequence[SubmitResult]) -> None:
        self._meter.measure("apply", lambda: self._lane.apply(results))
        self.ended_count += len(results)

    def renew(self, held: Collection[SubmitWork]) -> Collection[SubmitWork]:
        return self._lane.renew(held)

    def release(self, held: Collection[SubmitWork]) -> None:
        self._lane.release(held)

    def find_next_due(self) -> datetime | None:
        return self._meter.measure("look", self._lane.find_next_due)


class MeteredJournal:
    """The journal, its writing counted."""

    def __init__(self, context: LaneContext, meter: Meter) -> None:
        self._journal, self._meter = context.journal, meter

    @property
    def process(self) -> str:
        return self._journal.process

    def append(self, *records: JournalRecord) -> None:
        self._meter.measure("journal", lambda: self._journal.append(*records))

    def settle(self, submission_id: str) -> None:
        self._journal.settle(submission_id)

    def dead(self) -> Sequence[DeadJournal]:
        return self._journal.dead()


class NoWakeup:
    """Nobody else is there to be woken."""

    def wake(self, lane: LaneName) -> None:
        """Do nothing."""


def measure_ours(
    base_url: str, database_url: str | None, folder: Path, *, what: str, jobs: int, window: int
) -> Figures:
    """Take jobs in, then drain the submit lane; only the drain is measured."""
    settings = load_settings(
        {
            "data_dir": folder,
            "database_url": database_url,
            "zai_base_url": base_url,
            "zai_api_key": "id.secret",
            "limits": "*=1000000",
        }
    )
    meter, loop, wakeup = Meter(), LoopThread(), NoWakeup()
    if database_url is not None:
        migrate.upgrade(database_url)
    with open_app(settings, may_migrate=True) as app, open_lanes(app, wakeup) as real:
        context = replace(real, journal=MeteredJournal(real, meter), limits=replace(real.limits, submit_window=window))
        lane = MeteredLane(SubmitLane(context), meter)
        _drain_one_batch(app, settings, lane, context, loop, jobs=50)  # statements compiled, connections open
        lane.ended_count = 0
        meter.seconds.clear()
        meter.calls.clear()
        _take_in(app, settings, jobs)
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        _drain(lane, context, loop)
        spent, took = time.process_time() - cpu, time.perf_counter() - began
        loop.submit(context.provider.close()).result()
    loop.close()
    if lane.ended_count != jobs:
        raise RuntimeError(f"{lane.ended_count} of {jobs} jobs were submitted: nothing of this run means anything")
    per_job = {part: round(seconds / jobs * 1000, 3) for part, seconds in meter.seconds.items()}
    parts = {f"{part}_ms": per_job.get(part, 0.0) for part in ("claim", "apply", "look", "journal")}
    total = round(spent / jobs * 1000, 3)
    return Figures(
        what,
        jobs,
        window,
        round(jobs / took, 1),
        total,
        **parts,
        rest_ms=round(total - sum(parts.values()), 3),
        claims=meter.calls.get("claim", 0),
        applies=meter.calls.get("apply", 0),
    )


def _drain_one_batch(
    app: App, settings: Settings, lane: MeteredLane, context: LaneContext, loop: LoopThread, *, jobs: int
) -> None:
    _take_in(app, settings, jobs)
    _drain(lane, context, loop)


def _drain(lane: MeteredLane, context: LaneContext, loop: LoopThread) -> None:
    Drain(lane, loop=loop, clock=context.clock, mailbox=Mailbox(), stop=Stop()).run()


def _take_in(app: App, settings: Settings, count: int) -> None:
    rng, now = Random(), datetime.now(UTC)
    batch = Batch(
        id=ids.make_id(ids.BATCH, now=now, rng=rng),
        owner="local",
        name="bench",
        identity_sha256=f"{rng.getrandbits(256):064x}",
        environment="bench",
        archive_url=settings.archive,
        line_count=count,
        is_intake_done=False,
        created_at=now,
    )
    app.batches.create(batch)
    made = [_new_job(number, settings, now, rng) for number in range(1, count + 1)]
    for start in range(0, count, 500):
        app.batches.add_jobs(batch.id, made[start : start + 500], actor="local")
    app.batches.finish_intake(batch.id)


def _new_job(number: int, settings: Settings, now: datetime, rng: Random) -> NewJob:
    return NewJob(
        id=ids.make_id(ids.JOB, now=now, rng=rng),
        kind="video",
        model=MODEL,
        body=_body(number),
        body_sha256=f"{number:064x}",
        input=_body(number),
        credential="default",
        archive_url=settings.archive,
        archive_class="video",
        line_number=number,
        custom_id=f"scene-{number}",
        price=Price(200_000, "USD", "2026-11"),
    )


def _body(number: int) -> dict[str, object]:
    return {"model": MODEL, "prompt": f"a red kite over the dunes, scene {number}", "quality": "speed", "fps": 30}


# -- the command ---------------------------------------------------------------------------------------------------


@contextmanager
def postgresql_url() -> Iterator[str]:
    """Give the URL of an empty database on a server of its own."""
    from tests.fixtures.postgres import choose_binaries, running_server

    with running_server(*choose_binaries()) as server:
        server.execute("CREATE DATABASE bench")
        yield server.url("bench")


def measure_all(
    *, jobs: int, windows: Sequence[int], databases: Sequence[str], latency: float = 0.0
) -> Iterator[Figures]:
    """Yield the floor and ours on each database, for each window, in one run against one provider."""
    with ExitStack() as stack:
        base_url = stack.enter_context(running_provider(latency))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {
            "sqlite": None,
            "postgresql": stack.enter_context(postgresql_url()) if "postgresql" in databases else None,
        }
        for window in windows:
            yield measure_floor(base_url, jobs=jobs, window=window)
            for name in databases:
                place = folder / f"{name}-{window}"
                yield measure_ours(base_url, urls[name], place, what=f"submit lane, {name}", jobs=jobs, window=window)


def show(found: Figures) -> str:
    """Return one line of the table."""
    return (
        f"{found.what:26} {found.window:6} {found.jobs_per_second:8} {found.cpu_ms:8} {found.claim_ms:8}"
        f" {found.apply_ms:8} {found.look_ms:8} {found.journal_ms:8} {found.rest_ms:8} {found.claims:7} {found.applies:7}"
    )


def main() -> None:
    """Measure, print a table and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--window", type=int, nargs="+", default=[64], help="paid calls in flight")
    parser.add_argument("--database", nargs="*", choices=DATABASES, default=DATABASES)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that the provider takes to answer")
    parser.add_argument(PRINT_ADDRESS, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be_the_provider:
        asyncio.run(serve(arguments.latency))
        return
    print(
        "CPU milliseconds per job  window   jobs/s      all    claim    apply     look  journal     rest  claims applies"
    )
    found = []
    wanted = measure_all(
        jobs=arguments.jobs, windows=arguments.window, databases=arguments.database, latency=arguments.latency
    )
    for figures in wanted:
        print(show(figures), flush=True)
        found.append(figures)
    print(json.dumps({"bench": "submit", "results": [asdict(figures) for figures in found]}))


if __name__ == "__main__":
    main()

"""How many jobs a second `POST /v1/jobs` takes in on one core, beside a bare endpoint that inserts one row.

    python -m bench.api [--requests 2000] [--connections 16] [--database sqlite|postgresql]

Both servers are this framework on this server program, each on core 0, over the same driver and engine; the bare one
checks nothing, knows no keys and writes one row of two columns in a transaction of its own. Rounds alternate, and the
caller is on another core where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp

from bench.measure import cores, percentile, pin
from bench.processes import cpu_seconds, started
from bench.results import Figure, emit
from orchestrator.api.app import DATABASE_THREADS
from orchestrator.config import load_settings
from orchestrator.db.migrate import upgrade
from orchestrator.domain.access import Role
from orchestrator.services.access import create_key
from orchestrator.wiring import open_app, read_secret_key
from tests.fixtures.brokers import free_port
from tests.fixtures.postgres import choose_binaries, running_server

DATABASES = ("sqlite", "postgresql")
ROUNDS = 3
SECRET_KEY = "for a benchmark on loopback, thirty-two characters"  # noqa: S105
BODY = {
    "kind": "image",
    "body": {"model": "glm-image", "prompt": "a red kite above a harbour at dawn, wide angle", "size": "1280x1280"},
    "custom_id": "scene-1",
    "tags": {"campaign": "spring"},
}


def serve_bare(port: int, database_url: str) -> None:
    """Serve the endpoint that stands beside ours."""
    import anyio.to_thread
    import uvicorn
    from fastapi import FastAPI
    from sqlalchemy import Column, MetaData, String, Table, insert

    from orchestrator.clock import SystemClock
    from orchestrator.db.engine import open_database

    table = Table("bare_rows", MetaData(), Column("id", String, primary_key=True), Column("body", String))
    database = open_database(database_url, clock=SystemClock())
    table.metadata.create_all(database.engine)

    @asynccontextmanager
    async def bounded(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = DATABASE_THREADS
        yield

    app = FastAPI(lifespan=bounded)

    @app.post("/rows", status_code=202)
    def add(body: dict[str, object]) -> dict[str, str]:
        row_id = os.urandom(16).hex()
        statement = insert(table).values(id=row_id, body=str(body))
        database.write(lambda connection: connection.execute(statement))
        return {"id": row_id}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, http="h11")


async def post(url: str, headers: dict[str, str], count: int, connections: int) -> tuple[float, list[float]]:
    """Send `count` requests over so many connections; return the seconds that took, and each request's."""
    left = iter(range(count))
    took: list[float] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for _ in left:
            begun = time.perf_counter()
            async with session.post(url, json=BODY, headers=headers) as answer:
                await answer.read()
                if answer.status != 202:
                    raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")
            took.append(time.perf_counter() - begun)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        begun = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(connections)))
        return time.perf_counter() - begun, took


async def wait_for(url: str) -> None:
    """Wait until a server answers, whatever it says."""
    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(60):
            while True:
                try:
                    async with session.get(url):
                        return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)


@contextmanager
def database_url(name: str, folder: Path) -> Iterator[str]:
    """Give a fresh database."""
    if name == "sqlite":
        yield f"sqlite:///{folder / 'bench.db'}"
        return
    with running_server(*choose_binaries()) as server:
        server.execute("CREATE DATABASE bench")
        yield server.url("bench")


def make_key(settings_of: dict[str, object]) -> str:
    """Make a key as `keys create` does."""
    settings = load_settings(settings_of)
    with open_app(settings) as app:
        server_key = read_secret_key(settings).encode()
        _, text = create_key(
            app.keys, name="bench", role=Role.SUBMIT, server_key=server_key, rng=app.rng, actor="bench"
        )
    return text


def measure(name: str, requests: int, connections: int) -> Iterator[Figure]:
    """Measure on one database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database_url(name, folder))
        upgrade(url)
        settings: dict[str, object] = {"data_dir": folder, "database_url": url, "secret_key": SECRET_KEY}
        headers = {"Authorization": f"Bearer {make_key(settings)}"}
        ours, bare = free_port(), free_port()
        environment = {
            "ORCHESTRATOR_DATA_DIR": str(folder),
            "ORCHESTRATOR_DATABASE_URL": url,
            "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
        }
        serve = [sys.executable, "-m", "orchestrator", "serve", "--port", str(ours)]
        beside = [sys.executable, "-m", "bench.api", "--bare", str(bare), url]
        servers = {
            "ours": stack.enter_context(started(serve, environment=environment, core=cores()[0])),
            "bare": stack.enter_context(started(beside, core=cores()[0])),
        }
        pin(cores()[-1])
        targets = {"ours": (f"http://127.0.0.1:{ours}/v1/jobs", headers), "bare": (f"http://127.0.0.1:{bare}/rows", {})}
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        cpu = {"ours": 0.0, "bare": 0.0}
        for round_number in range(ROUNDS + 1):
            for which, (target, key) in targets.items():
                asyncio.run(wait_for(target))
                before = cpu_seconds([servers[which].pid])
                seconds, took = asyncio.run(post(target, key, requests, connections))
                if round_number:  # the first warms both up
                    rates[which].append(requests / seconds)
                    times[which] += took
                    cpu[which] += cpu_seconds([servers[which].pid]) - before
        yield from _figures(name, rates, times)
        taken = requests * ROUNDS
        yield _cpu_figure(name, *(taken / cpu[which] for which in ("ours", "bare")))


def _figures(name: str, rates: dict[str, list[float]], times: dict[str, list[float]]) -> Iterator[Figure]:
    middle: Callable[[list[float]], float] = lambda values: sorted(values)[len(values) // 2]  # noqa: E731
    ours, bare = middle(rates["ours"]), middle(rates["bare"])
    beside = {"beside_what": "a bare insert"}
    yield Figure(f"POST /v1/jobs on {name}", "1/s", ours=ours, beside=bare, ratio=ours / bare, aim=">= 0.5", **beside)
    ours, bare = (percentile(times[which], 0.99) * 1000 for which in ("ours", "bare"))
    yield Figure(f"its p99 on {name}", "ms", ours=ours, beside=bare, ratio=ours / bare, **beside)


def _cpu_figure(name: str, ours: float, bare: float) -> Figure:
    """What other work on the machine does not change: a server that waits for its core takes in less, and costs the same."""
    what = f"POST /v1/jobs a second of its server's CPU on {name}"
    return Figure(what, "1/s", ours=ours, beside=bare, ratio=ours / bare, aim=">= 0.5", beside_what="a bare insert")


def main() -> None:
    """Measure and print the figures."""
    if sys.argv[1:2] == ["--bare"]:
        serve_bare(int(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--database", choices=DATABASES)
    given = parser.parse_args()
    for name in [given.database] if given.database else DATABASES:
        for figure in measure(name, given.requests, given.connections):
            emit(figure)


if __name__ == "__main__":
    main()

"""What one poll costs with each HTTP client: CPU and polls a second by number of questions at once.

    python -m bench.clients [--seconds 2] [--concurrency 1 30 100 1000]

Every client asks the same stub (a process on another core) the same question and parses the same JSON; each
combination runs in a process of its own, pinned to one core. docs/decisions/0005 stands on this.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from bench.measure import cores, cpu_seconds, pin, print_json, print_table
from bench.stub import running_stub

HEADERS = {"Authorization": "Bearer key", "Accept": "application/json", "Accept-Encoding": "identity"}
CONCURRENCY = (1, 30, 100, 1000)
DEADLINE_SECONDS = 30.0
WARM_SECONDS = 0.5
NOTHING: dict[str, object] = {"polls_per_second": 0.0, "cpu_us_per_poll": None}
HANGS_SECONDS = 30.0  # some clients do not end at all with many callers

Ask = Callable[[str], Awaitable[bytes]]


async def open_httpx(stack: AsyncExitStack, connections: int) -> Ask:
    """Stock transport, as the paid call uses it, with kept connections."""
    import httpx

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    client = await stack.enter_async_context(httpx.AsyncClient(limits=limits, trust_env=False, timeout=None))  # noqa: S113

    async def ask(url: str) -> bytes:
        return (await client.get(url, headers=HEADERS)).content

    return ask


async def open_httpx_aiohttp(stack: AsyncExitStack, connections: int) -> Ask:
    """Httpx's interface over aiohttp's connections."""
    import httpx
    from httpx_aiohttp import AiohttpTransport

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    transport = AiohttpTransport(limits=limits)
    client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, trust_env=False, timeout=None))  # noqa: S113

    async def ask(url: str) -> bytes:
        return (await client.get(url, headers=HEADERS)).content

    return ask


async def open_httpx2(stack: AsyncExitStack, connections: int) -> Ask:
    """The maintained continuation of httpx."""
    import httpx2

    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    client = await stack.enter_async_context(httpx2.AsyncClient(limits=limits, trust_env=False, timeout=None))

    async def ask(url: str) -> bytes:
        return (await client.get(url, headers=HEADERS)).content

    return ask


async def open_aiohttp(stack: AsyncExitStack, connections: int) -> Ask:
    """The library as its documentation shows it."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=connections)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    async def ask(url: str) -> bytes:
        async with session.get(url, headers=HEADERS) as response:
            return await response.read()

    return ask


async def open_ours(stack: AsyncExitStack, connections: int) -> Ask:
    """The poll client of this project: aiohttp with everything switched off that could surprise."""
    from orchestrator.http import poll_client

    client = poll_client(max_connections=connections)
    stack.push_async_callback(client.close)

    async def ask(url: str) -> bytes:
        return (await client.get(url, headers=HEADERS, cap_bytes=1 << 23))[1]

    return ask


async def open_pyreqwest(stack: AsyncExitStack, connections: int) -> Ask:
    """A Rust client."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().max_connections(connections).timeout(timedelta(seconds=DEADLINE_SECONDS))
    client = await stack.enter_async_context(builder.build())

    async def ask(url: str) -> bytes:
        response = await client.get(url).headers(HEADERS).build().send()
        return bytes(await response.bytes())

    return ask


CLIENTS: dict[str, Callable[[AsyncExitStack, int], Awaitable[Ask]]] = {
    "ours": open_ours,
    "aiohttp": open_aiohttp,
    "pyreqwest": open_pyreqwest,
    "httpx-aiohttp": open_httpx_aiohttp,
    "httpx2": open_httpx2,
    "httpx": open_httpx,
}


async def measure(name: str, url: str, concurrency: int, seconds: float) -> dict[str, float]:
    """Ask from `concurrency` tasks at once; return polls a second and CPU microseconds a poll."""
    count = 0
    is_over = False

    async def ask_on() -> None:
        nonlocal count
        while not is_over:
            async with asyncio.timeout(DEADLINE_SECONDS):
                body = await ask(f"{url}/async-result/2026112220000000aabbccddeeff0011")
            assert json.loads(body)["task_status"] == "PROCESSING"
            count += 1

    async with AsyncExitStack() as stack:
        ask = await CLIENTS[name](stack, concurrency)
        tasks = [asyncio.create_task(ask_on()) for _ in range(concurrency)]
        await asyncio.sleep(WARM_SECONDS)
        before, used, begun = count, cpu_seconds(), time.perf_counter()
        await asyncio.sleep(seconds)
        polls, used, elapsed = count - before, cpu_seconds() - used, time.perf_counter() - begun
        is_over = True
        await asyncio.gather(*tasks)
    return {"polls_per_second": polls / elapsed, "cpu_us_per_poll": used / max(polls, 1) * 1e6}


def run_one(name: str, url: str, concurrency: int, seconds: float) -> dict[str, object]:
    """Measure in a process of its own: a client that hangs or dies takes nothing with it, and both are told."""
    command = [sys.executable, "-m", "bench.clients", "--one", name, url, str(concurrency), str(seconds)]
    row: dict[str, object] = {"client": name, "concurrency": concurrency}
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS_SECONDS + seconds)
    except subprocess.TimeoutExpired:
        return row | NOTHING | {"exit": "hung"}
    figures = json.loads(answer.stdout) if answer.stdout else NOTHING
    return row | figures | {"exit": answer.returncode}


def with_ratios(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Add each client's CPU as a multiple of aiohttp's at the same concurrency."""
    base = {row["concurrency"]: row["cpu_us_per_poll"] for row in rows if row["client"] == "aiohttp"}
    return [row | {"cpu_to_aiohttp": _ratio(row["cpu_us_per_poll"], base.get(row["concurrency"]))} for row in rows]


def _ratio(value: object, base: object) -> float | None:
    return value / base if isinstance(value, float) and isinstance(base, float) else None


def main() -> None:
    """Measure every client at every concurrency; print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=CONCURRENCY)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    first, last = cores()[0], cores()[-1]
    if options.one:
        name, url, concurrency, seconds = options.one
        pin(first)
        print(json.dumps(asyncio.run(measure(name, url, int(concurrency), float(seconds)))), flush=True)
        return
    with running_stub(last) as host_port:
        rows = with_ratios(
            [
                run_one(name, f"http://{host_port}", n, options.seconds)
                for n in options.concurrency
                for name in options.clients
            ]
        )
    print_table(rows)
    print_json("clients", rows)


if __name__ == "__main__":
    main()

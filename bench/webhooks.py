"""Signed deliveries a second on one core, beside a bare loop of the same HTTP client.

    python -m bench.webhooks [--events 3000] [--rounds 7]

Ours signs, asks the egress guard, looks at the peer, bounds time and bytes and keeps the answer's head. The bare loop is
aiohttp as its documentation shows it: the same body to the same receiver (a process on another core) over kept
connections. Rounds alternate, so that other work on the machine meets both; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import aiohttp

from bench.measure import cores, cpu_seconds, pin
from bench.receiver import running_receiver
from bench.results import Figure, emit
from orchestrator.domain.ports import Sending
from orchestrator.egress import GuardedPost
from orchestrator.webhooks import WebhookSender, encode_secret

AT_ONCE = 20
SECRET = encode_secret(bytes(range(32)))
BODY = b'{"type":"job.succeeded","timestamp":"2026-11-24T12:00:00Z","data":{"object":"job","prompt":"%s"}}' % (
    b"a" * 900
)
WARM_EVENTS = 200

One = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """What one round came to."""

    per_second: float
    cpu_us: float


async def measure(one: One, count: int) -> Pace:
    """Run `one` for each number, 20 at once."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    began, cpu = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return Pace(count / (time.perf_counter() - began), (cpu_seconds() - cpu) / count * 1e6)


async def compare(port: int, count: int, rounds: int) -> tuple[list[Pace], list[Pace]]:
    """Return ours and the bare loop's rounds, taken in turns."""
    url = f"http://127.0.0.1:{port}/hook"
    sender = WebhookSender(GuardedPost(allow=[f"127.0.0.1:{port}"]), version="bench")

    async def ours(number: int) -> None:
        sent = await sender.send(Sending(url, f"evt_{number}", datetime.now(UTC), BODY, (SECRET,)))
        if sent.code is not None:
            raise RuntimeError(f"a delivery failed: {sent}")

    async with aiohttp.ClientSession() as session:

        async def bare(number: int) -> None:
            async with session.post(url, data=BODY) as answer:
                await answer.read()

        for one in (ours, bare):
            await measure(one, WARM_EVENTS)
        pairs = [(await measure(ours, count), await measure(bare, count)) for _ in range(rounds)]
    await sender.close()
    return [one for one, _ in pairs], [one for _, one in pairs]


def report(ours: list[Pace], bare: list[Pace]) -> None:
    """Print the rate and the CPU of one delivery, medians over the rounds."""
    rates = [one.per_second / other.per_second for one, other in zip(ours, bare, strict=True)]
    costs = [one.cpu_us / other.cpu_us for one, other in zip(ours, bare, strict=True)]
    beside = "bare aiohttp, kept connections"
    emit(
        Figure(
            "signed deliveries on one core",
            "/s",
            median(one.per_second for one in ours),
            median(one.per_second for one in bare),
            beside,
            median(rates),
            "0.5 or more",
        )
    )
    emit(
        Figure(
            "CPU of one delivery",
            "us",
            median(one.cpu_us for one in ours),
            median(one.cpu_us for one in bare),
            beside,
            median(costs),
            "2 or less",
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--events", type=int, default=3000, help="deliveries in a round")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    available = cores()
    with running_receiver(available[-1]) as port:
        pin(available[0])
        report(*asyncio.run(compare(port, given.events, given.rounds)))


if __name__ == "__main__":
    main()

"""Downloads share a cap on bytes a second, and are not taken for slow because of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.egress import Bandwidth, GuardedFetch, Pace
from orchestrator.egress.fetch import Download
from orchestrator.egress.sink import SpoolSink
from tests.egress.server import head, run, saying, serving

MIB = 1 << 20


@dataclass
class Line:
    """Time that passes only while somebody waits for the bandwidth."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def capped(self, rate: int) -> Bandwidth:
        return Bandwidth(rate, monotonic=self.monotonic, sleep=self.sleep)


def take(bandwidth: Bandwidth, *counts: int) -> list[float]:
    """Take one after the other; return how long each waited."""

    async def work() -> list[float]:
        return [await bandwidth.take(count, before_waiting=lambda _: None) for count in counts]

    return asyncio.run(work())


def test_the_rate_holds_over_any_time() -> None:
    """A megabyte a second: ten of them take ten seconds, but for the quarter that an idle line may make up for."""
    line = Line()
    take(line.capped(MIB), *[MIB // 4] * 40)
    assert line.now - 1000.0 == pytest.approx(9.75)


def test_what_was_not_used_is_not_saved_up() -> None:
    """After an idle hour the next ten megabytes wait as the first did."""
    line = Line()
    bandwidth = line.capped(MIB)
    first = take(bandwidth, *[MIB] * 10)
    line.now += 3600
    assert take(bandwidth, *[MIB] * 10) == pytest.approx(first)


def test_without_a_cap_nobody_waits() -> None:
    assert take(Bandwidth(), MIB, 1 << 40) == [0.0, 0.0]


def test_several_downloads_share_one_cap(tmp_path: Path) -> None:
    """Whoever comes next waits for all who came before."""
    line = Line()
    bandwidth = line.capped(MIB)

    async def work() -> None:
        async with serving(saying(head(f"Content-Length: {2 * MIB}"), bytes(2 * MIB))) as server:
            fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"], bandwidth=bandwidth, monotonic=line.monotonic)
            into = [tmp_path / f"{number}.part" for number in range(3)]
            day = timedelta(days=1)
            await asyncio.gather(*(fetch.fetch(server.url(), path, max_bytes=4 * MIB, deadline=day) for path in into))
            assert [path.stat().st_size for path in into] == [2 * MIB] * 3

    run(work())
    assert line.waits
    assert bandwidth._paid_until == pytest.approx(1000.0 - 0.25 + 6.0)


def test_a_capped_download_is_not_too_slow(tmp_path: Path) -> None:
    """E11: the minimum rate judges the server; hours of our own waiting are none of its."""
    line = Line()

    async def work() -> None:
        async with serving(saying(head(f"Content-Length: {3 * MIB}"), bytes(3 * MIB))) as server:
            fetch = GuardedFetch(
                allow=[f"127.0.0.1:{server.port}"],
                pace=Pace(min_bytes=8 * MIB),
                bandwidth=line.capped(1024),
                monotonic=line.monotonic,
            )
            minute = timedelta(minutes=1)
            fetched = await fetch.fetch(server.url(), tmp_path / "a.part", max_bytes=4 * MIB, deadline=minute)
            assert fetched.byte_count == 3 * MIB

    run(work())
    assert line.now - 1000.0 > 3000


def test_the_deadline_moves_by_what_was_waited(tmp_path: Path) -> None:
    """E11: it bounds what the server does, too."""
    line = Line()

    async def work() -> None:
        async with asyncio.timeout(60) as limit, SpoolSink(tmp_path / "a.part") as sink:
            before = limit.when()
            assert before is not None
            download = Download(sink, max_bytes=MIB, limit=limit, host="files.example")
            waited = await download.wait_for(line.capped(1024), 1024 * 1024)
            assert waited == pytest.approx(1024 - 0.25)
            assert limit.when() == pytest.approx(before + waited)

    run(work())

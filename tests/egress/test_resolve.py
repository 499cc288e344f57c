"""One name that nobody answers for holds back no other, and not itself many times over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from orchestrator.egress import resolve
from orchestrator.egress.resolve import SharedResolver, look_up
from tests.egress.server import run


class Server:
    """Answers for every name but `dead.example`, which it leaves without an answer until `release`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        self.has_dead = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host == "dead.example":
            self.has_dead.set()
            self.release.wait(60)
            raise OSError("no such name")
        return ["8.8.8.8"]


def test_a_dead_name_takes_one_thread_and_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 9. With two threads, a hundred events for the dead name leave one for the rest."""
    monkeypatch.setattr(resolve, "THREADS", 2)

    async def work() -> None:
        server = Server()
        names = SharedResolver(server)
        dead = [asyncio.ensure_future(names("dead.example", 443)) for _ in range(100)]
        await asyncio.to_thread(server.has_dead.wait, 60)
        for number in range(5):
            assert await names(f"good{number}.example", 443) == ["8.8.8.8"]
        server.release.set()
        ends = await asyncio.gather(*dead, return_exceptions=True)
        assert [type(end) for end in ends] == [OSError] * 100
        assert server.asked.count("dead.example") == 1
        names.close()

    run(work())


def test_one_callers_deadline_is_not_the_others() -> None:
    async def work() -> None:
        server = Server()
        names = SharedResolver(server)
        first, second = (asyncio.ensure_future(names("dead.example", 443)) for _ in range(2))
        await asyncio.to_thread(server.has_dead.wait, 60)
        first.cancel()
        server.release.set()
        with pytest.raises(OSError, match="no such name"):
            await second
        assert first.cancelled()
        names.close()

    run(work())


def test_nothing_is_remembered() -> None:
    """F13: the next attempt asks again."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server)
        for _ in range(2):
            await names("good.example", 443)
        assert server.asked == ["good.example"] * 2
        names.close()
        await names("good.example", 443)
        names.close()

    run(work())


def test_the_systems_resolver_is_asked() -> None:
    assert set(look_up("localhost", 80)) <= {"127.0.0.1", "::1"}
    assert list(look_up("127.0.0.1", 80)) == ["127.0.0.1"]

"""One name that nobody answers for holds back no other, and not itself many times over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from orchestrator.egress.resolve import SharedResolver, look_up
from tests.egress.server import run


class Server:
    """Answers for every name but those that begin with `dead`, which it leaves without an answer until `release`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        self._hanging = threading.Condition()
        self._hanging_count = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("dead"):
            with self._hanging:
                self._hanging_count += 1
                self._hanging.notify_all()
            self.release.wait(60)
            raise OSError("no such name")
        return ["8.8.8.8"]

    def wait_for_hanging(self, count: int) -> None:
        """Wait until so many threads hang."""
        with self._hanging:
            assert self._hanging.wait_for(lambda: self._hanging_count >= count, 60)


def test_a_dead_name_takes_one_thread_and_holds_back_no_other() -> None:
    """F2, promise 9. With two places, a hundred events for the dead name leave one for the rest."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server, places=2)
        dead = [asyncio.ensure_future(names("dead.example", 443)) for _ in range(100)]
        await asyncio.to_thread(server.wait_for_hanging, 1)
        for number in range(5):
            assert await names(f"good{number}.example", 443) == ["8.8.8.8"]
        server.release.set()
        ends = await asyncio.gather(*dead, return_exceptions=True)
        assert [type(end) for end in ends] == [OSError] * 100
        assert server.asked.count("dead.example") == 1
        names.close()

    run(work())


def test_forty_names_that_hang_hold_back_no_other() -> None:
    """F2, promise 9: as many dead endpoints as deliveries go out at once, and more, leave places to a new name."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server)
        dead = [asyncio.ensure_future(names(f"dead{number}.example", 443)) for number in range(40)]
        await asyncio.to_thread(server.wait_for_hanging, 40)
        assert await names("good.example", 443) == ["8.8.8.8"]
        assert not any(each.done() for each in dead)
        server.release.set()
        assert {type(end) for end in await asyncio.gather(*dead, return_exceptions=True)} == {OSError}
        names.close()

    run(work())


def test_a_name_that_has_answered_waits_for_no_strange_one() -> None:
    """F2, promise 9: more hanging names than there are places for them."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server, places=2)
        await names("good.example", 443)
        dead = [asyncio.ensure_future(names(f"dead{number}.example", 443)) for number in range(5)]
        await asyncio.to_thread(server.wait_for_hanging, 2)
        for _ in range(5):
            assert await names("good.example", 443) == ["8.8.8.8"]
        assert len([name for name in server.asked if name.startswith("dead")]) == 2  # the others wait for those
        server.release.set()
        assert {type(end) for end in await asyncio.gather(*dead, return_exceptions=True)} == {OSError}
        names.close()

    run(work())


def test_a_name_that_hangs_is_refused_at_once_until_its_thread_ends() -> None:
    """Patience is over long before the system gives up; nobody waits a second time, and no second thread hangs."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server, patience=timedelta(milliseconds=1))
        for _ in range(3):
            with pytest.raises(OSError, match=r"no answer within 0\.001 s"):
                await names("dead.example", 443)
        assert server.asked == ["dead.example"]
        names.close()
        server.release.set()

    run(work())


def test_closing_tells_who_waits() -> None:
    """A process that ends waits for no name, and for no place either."""

    async def work() -> None:
        server = Server()
        names = SharedResolver(server, places=1)
        waiting = [asyncio.ensure_future(names(f"dead{number}.example", 443)) for number in range(3)]
        await asyncio.to_thread(server.wait_for_hanging, 1)
        names.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(each.cancelled() for each in waiting)
        server.release.set()

    run(work())


def test_one_callers_deadline_is_not_the_others() -> None:
    async def work() -> None:
        server = Server()
        names = SharedResolver(server)
        first, second = (asyncio.ensure_future(names("dead.example", 443)) for _ in range(2))
        await asyncio.to_thread(server.wait_for_hanging, 1)
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

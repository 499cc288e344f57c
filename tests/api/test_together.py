"""Questions asked together: none is answered from before it was asked, and none waits for another's trouble."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from threading import Event
from weakref import ref

import anyio.to_thread

from orchestrator.api.together import MOST_GROUPS, Together
from orchestrator.domain.errors import Transient

WAIT_SECONDS = 30


class Asked:
    """What is asked in a thread: notes each group, and holds the first one until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.has_begun, self.may_go = Event(), Event()

    def __call__(self, questions: Sequence[int]) -> list[str | Exception]:
        self.groups.append(list(questions))
        if len(self.groups) == 1:
            self.has_begun.set()
            assert self.may_go.wait(WAIT_SECONDS)
        return [ValueError(str(each)) if each < 0 else f"answer {each}" for each in questions]


async def begun(asked: Asked, first: Awaitable[str]) -> asyncio.Future[str]:
    """Start the first question and wait until its group is under way."""
    task = asyncio.ensure_future(first)
    assert await asyncio.to_thread(asked.has_begun.wait, WAIT_SECONDS)
    return task


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; what bounds it is the test's own time."""
    while not is_so():  # noqa: ASYNC110 - what is waited for happens in a library and in threads
        await asyncio.sleep(0)


def run(work: Callable[[Asked], Awaitable[None]]) -> Asked:
    async def main() -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await work(asked)

    asked = Asked()
    asyncio.run(main())
    return asked


def test_what_comes_meanwhile_is_asked_together_and_anew() -> None:
    """A group that is under way answers nobody who came later: what it has read may be over by then."""

    async def work(asked: Asked) -> None:
        ask = Together(asked, patience_seconds=WAIT_SECONDS)
        first = await begun(asked, ask(0))
        later = [asyncio.ensure_future(ask(number)) for number in range(1, 11)]
        await asyncio.sleep(0)  # they have all joined when this turn is over
        asked.may_go.set()
        assert await first == "answer 0"
        assert await asyncio.gather(*later) == [f"answer {number}" for number in range(1, 11)]

    assert run(work).groups == [[0], list(range(1, 11))]


def test_those_who_are_there_already_come_in_too() -> None:
    """A group of one and then one of all the others is twice the work."""

    async def work(asked: Asked) -> None:
        asked.may_go.set()
        ask = Together(asked)
        assert len(await asyncio.gather(*(ask(number) for number in range(10)))) == 10

    assert run(work).groups == [list(range(10))]


def test_ones_trouble_is_its_own() -> None:
    """What is raised for one is raised for that one."""

    async def work(asked: Asked) -> None:
        asked.may_go.set()
        ask = Together(asked)
        one, bad, other = await asyncio.gather(ask(1), ask(-1), ask(2), return_exceptions=True)
        assert (one, other) == ("answer 1", "answer 2")
        assert isinstance(bad, ValueError)

    run(work)


def test_what_breaks_all_is_told_to_all() -> None:
    """A database that is away answers nobody, and the next group is asked again."""
    broken = [True]

    def ask_all(questions: Sequence[int]) -> list[int | Exception]:
        if broken.pop():
            broken.append(False)
            raise ConnectionError
        broken.append(False)
        return list(questions)

    async def main() -> None:
        ask = Together(ask_all)
        found = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
        assert [type(each) for each in found] == [ConnectionError, ConnectionError]
        assert await ask(3) == 3

    asyncio.run(main())


def test_a_caller_who_has_gone_is_no_trouble() -> None:
    """The others of the group are answered."""

    async def work(asked: Asked) -> None:
        ask = Together(asked, patience_seconds=WAIT_SECONDS)
        first = await begun(asked, ask(0))
        gone, stays = asyncio.ensure_future(ask(1)), asyncio.ensure_future(ask(2))
        await asyncio.sleep(0)
        gone.cancel()
        asked.may_go.set()
        assert await stays == "answer 2"
        assert await first == "answer 0"
        assert gone.cancelled()

    run(work)


def test_who_has_left_the_line_is_not_asked_for() -> None:
    """They were told that it was not done: a request taken in all the same would be paid beside the one that follows it."""

    async def work(asked: Asked) -> None:
        ask = Together(asked, patience_seconds=WAIT_SECONDS)
        first = await begun(asked, ask(0))
        gone, stays = asyncio.ensure_future(ask(1)), asyncio.ensure_future(ask(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        asked.may_go.set()
        assert (await stays, await first) == ("answer 2", "answer 0")

    assert run(work).groups == [[0], [2]]


def test_who_leaves_while_their_group_waits_for_a_thread_is_not_asked_for() -> None:
    """All threads may be busy for as long as a database is frozen."""

    async def work(asked: Asked) -> None:
        asked.may_go.set()
        threads = anyio.to_thread.current_default_thread_limiter()
        ask = Together(asked)
        threads.total_tokens = 1
        await threads.acquire_on_behalf_of(asked)
        gone, stays = asyncio.ensure_future(ask(1)), asyncio.ensure_future(ask(2))
        await until(lambda: threads.statistics().tasks_waiting == 1)
        gone.cancel()
        await asyncio.wait([gone])
        threads.release_on_behalf_of(asked)
        assert await stays == "answer 2"

    assert run(work).groups == [[2]]


class Question:
    """Something that takes room."""


def test_behind_groups_that_hang_who_leaves_is_forgotten() -> None:
    """What a thread is to do cannot be taken back: as long as a database is frozen, it would only grow."""
    has_begun: list[int] = []
    may_go = Event()

    def ask_all(questions: Sequence[Question]) -> list[int]:
        has_begun.append(len(questions))
        assert may_go.wait(WAIT_SECONDS)
        return [0] * len(questions)

    async def main() -> None:
        ask = Together(ask_all, patience_seconds=0)
        asking: list[asyncio.Future[int]] = []
        for _ in range(MOST_GROUPS):
            asking.append(asyncio.ensure_future(ask(Question())))
            await until(lambda: len(has_begun) == len(asking))
        leaves, stays = Question(), Question()
        gone, late = asyncio.ensure_future(ask(leaves)), asyncio.ensure_future(ask(stays))
        for _ in range(100):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        forgotten = ref(leaves)
        del gone, leaves
        gc.collect()
        assert forgotten() is None
        may_go.set()
        assert await asyncio.gather(*asking, late) == [0] * (MOST_GROUPS + 1)

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))
    assert has_begun == [1] * (MOST_GROUPS + 1)


def test_everybody_is_told_by_an_exception_of_their_own() -> None:
    """Raised in several tasks, one exception collects the frames of them all: requests that are over, and others' words."""

    def ask_all(questions: Sequence[int]) -> list[int]:
        raise Transient(code="database_unavailable", message="away", retry_after=None) from ConnectionError("refused")

    async def main() -> None:
        ask = Together(ask_all)
        one, other = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
        assert isinstance(one, Transient)
        assert isinstance(other, Transient)
        assert one is not other
        assert [str(one), one.code, repr(one.__cause__)] == [str(other), other.code, repr(other.__cause__)]
        assert (one.code, repr(one.__cause__)) == ("database_unavailable", "ConnectionError('refused')")

    asyncio.run(main())


def test_what_a_caller_notes_for_itself_is_not_the_groups() -> None:
    """The one who came first is not the one who asks."""
    whose: ContextVar[str] = ContextVar("whose", default="nobody")

    def ask_all(questions: Sequence[int]) -> list[str]:
        return [whose.get()] * len(questions)

    async def main() -> None:
        whose.set("the first")
        assert await Together(ask_all)(1) == "nobody"

    asyncio.run(main())


def test_a_group_that_hangs_keeps_nobody_waiting() -> None:
    """A connection that went silent costs those who asked on it, not everybody behind them."""

    async def work(asked: Asked) -> None:
        ask = Together(asked, patience_seconds=0.01)
        first = await begun(asked, ask(0))
        assert await ask(1) == "answer 1"
        assert not first.done()
        asked.may_go.set()
        assert await first == "answer 0"

    assert run(work).groups == [[0], [1]]


def test_every_event_loop_has_its_own_line() -> None:
    """A future belongs to one loop; another loop's thread must not touch it."""
    ask: Together[int, int] = Together(list)
    assert [asyncio.run(_ask(ask, number)) for number in range(3)] == [0, 1, 2]


async def _ask(ask: Together[int, int], number: int) -> int:
    return await ask(number)

"""A process whose event loop stands still ends itself; one that was merely stopped and continued does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from orchestrator.services.lanes.watchdog import Watchdog

pytestmark = pytest.mark.timeout(60)


class Looks:
    """Lets a watchdog look so many times, then closes it."""

    def __init__(self, count: int) -> None:
        self.left = count

    def wait(self, seconds: float) -> bool:
        self.left -= 1
        return self.left < 0


def watch(answers: Callable[[int], bool], *, looks: int, allowed: int) -> list[str]:
    """Return what a watchdog did; `answers` says whether the loop answers the nth question."""
    ended: list[str] = []
    asked = 0

    def ask(hear: Callable[[], None]) -> None:
        nonlocal asked
        asked += 1
        if answers(asked):
            hear()

    watchdog = Watchdog(ask, end=lambda: ended.append("ended"), looks_allowed=allowed, wait=Looks(looks).wait)
    watchdog.run()
    return ended


def test_a_loop_that_answers_is_left_alone() -> None:
    """Day in, day out."""
    assert watch(lambda n: True, looks=1000, allowed=3) == []


def test_a_loop_that_is_slow_now_and_then_is_left_alone() -> None:
    """Each answer makes up for the questions before it."""
    assert watch(lambda n: n % 3 == 0, looks=1000, allowed=3) == []


def test_a_loop_that_stands_still_ends_the_process() -> None:
    """Once, after the looks that are allowed."""
    assert watch(lambda n: n < 10, looks=1000, allowed=3) == ["ended"]
    assert watch(lambda n: n < 10, looks=12, allowed=3) == []


STALLED = """
import threading
from orchestrator.services.lanes import watchdog
from orchestrator.services.lanes.loop import LoopThread
watchdog.LOOK_SECONDS = 0.01
loop = LoopThread()
loop.call_soon(threading.Event().wait)
watchdog.watch_loop(loop).join()
print("still here")
"""


def test_the_real_loop_and_the_real_end() -> None:
    """In a process of its own: it is gone with exit code 1, and says why."""
    ended = subprocess.run([sys.executable, "-c", STALLED], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1
    assert "loop_stalled" in ended.stderr
    assert "still here" not in ended.stdout

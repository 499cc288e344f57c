"""The lanes of one process: one drain of each at a time, and no note lost (design section 5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.drain import Mailbox
from orchestrator.services.lanes.host import LaneHost, Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from tests.lanes.scripted import DATABASE_AWAY, ScriptedLane

pytestmark = pytest.mark.timeout(60)
POLL, SUBMIT = LaneName.POLL, LaneName.SUBMIT


@contextmanager
def hosting(lane: ScriptedLane) -> Iterator[LaneHost]:
    loop, mailboxes = LoopThread(), Mailboxes()
    lane.mailbox, lane.loop = mailboxes[POLL], loop
    try:
        yield LaneHost([lane], loop=loop, clock=lane.clock, mailboxes=mailboxes, stop=lane.stop)
    finally:
        loop.close()


def test_a_busy_lane_is_left_to_who_drains_it() -> None:
    """It is woken, and nothing is claimed beside it."""
    lane = ScriptedLane("a")
    with hosting(lane) as host:
        host._busy[POLL].acquire()
        host.drain(POLL)
        assert lane.mailbox.is_woken
    assert lane.claim_count == 0


def test_a_lane_that_drains_already_is_woken_and_not_drained_twice() -> None:
    """B5: a second task for a lane returns at once; the drain that runs looks again."""
    lane = ScriptedLane("a")
    lane.hold("a")
    with hosting(lane) as host:
        counts: list[int] = []

        def call_again() -> None:
            lane.on_perform.clear()
            lane.due.append("b")
            lane.on_perform["b"] = lambda: lane.finish("a")
            other = threading.Thread(target=lambda: (host.drain(POLL), counts.append(lane.claim_count)))  # type: ignore[func-returns-value]
            other.start()
            other.join()

        lane.on_perform["a"] = call_again
        host.drain(POLL)
        assert counts == [1], "the second call claimed nothing itself"
        assert set(lane.written) == {"a", "b"}
        assert not host.is_draining(POLL)


def test_a_note_that_comes_as_a_drain_ends_starts_another() -> None:
    """The last look found nothing; what became due right after it must not wait for the tick."""
    lane = ScriptedLane()
    with hosting(lane) as host:

        def arrive_late() -> None:
            if lane.look_count == 1:
                lane.due.append("late")
                lane.mailbox.wake()

        lane.on_look = arrive_late
        host.drain(POLL)
    assert lane.written == ["late"]


def test_an_old_note_does_not_make_a_drain_go_round_for_ever() -> None:
    """What was noted before the look says nothing new."""
    lane = ScriptedLane()
    with hosting(lane) as host:
        lane.on_claim = lambda: lane.stop.request() if lane.claim_count > 5 else None
        lane.mailbox.wake()
        host.drain(POLL)
    assert lane.claim_count == 1


def test_a_lane_of_other_workers_is_left_alone() -> None:
    """A message for a queue that this process does not serve, or for a lane of a later release."""
    lane = ScriptedLane("a")
    with hosting(lane) as host:
        host.drain(SUBMIT)
        host.drain(LaneName.DELIVER)
        assert host.served == (POLL,)
        assert not host.wake_running(SUBMIT)
    assert lane.claimed == []


def test_nothing_is_drained_after_a_stop() -> None:
    """A message that was on its way when the signal came."""
    lane = ScriptedLane("a")
    with hosting(lane) as host:
        lane.stop.request()
        host.drain(POLL)
        assert host.is_stopping
    assert lane.claimed == []


def test_a_database_that_is_away_ends_the_drain_and_frees_the_lane() -> None:
    """The next tick looks again."""
    lane = ScriptedLane()

    def fail_once() -> None:
        lane.on_look = lambda: None
        raise DATABASE_AWAY

    lane.on_look = fail_once
    with hosting(lane) as host:
        host.drain(POLL)
        assert not host.is_draining(POLL)
        lane.due.append("a")
        host.drain(POLL)
    assert lane.written == ["a"]


def test_a_bug_frees_the_lane() -> None:
    """Whoever called sees it; the lane is not locked for ever."""
    lane = ScriptedLane()

    def break_down() -> None:
        raise ValueError("a bug")

    lane.on_claim = break_down
    with hosting(lane) as host:
        with pytest.raises(ValueError, match="a bug"):
            host.drain(POLL)
        assert not host.is_draining(POLL)
        assert isinstance(host.crash, ValueError)
        assert host.is_stopping, "what the drain held is for another process, which reads this one's journal"


class EndingMailbox(Mailbox):
    """The mailbox of a drain that ends in the moment in which it is woken."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__()
        self._end = end

    def wake(self) -> None:
        self._end()


def test_a_drain_that_was_just_ending_is_not_called_woken() -> None:
    """Whoever wakes it then sends a message, or the work would wait for the tick."""
    with hosting(ScriptedLane()) as host:
        busy = host._busy[POLL]
        host._mailboxes = cast("Mailboxes", {POLL: EndingMailbox(busy.release)})
        busy.acquire()
        assert not host.wake_running(POLL)

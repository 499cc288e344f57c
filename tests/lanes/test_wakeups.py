"""Wake-ups to other processes: few, best effort, and nobody waits for them (design section 5)."""

from __future__ import annotations

import itertools
import logging
import threading
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.wakeups import GAP_SECONDS, Coalescer, FleetWakeup, WakeupSender
from tests.fixtures.clock import FakeClock

pytestmark = pytest.mark.timeout(60)
LONG = 10.0
POLL, SUBMIT = LaneName.POLL, LaneName.SUBMIT


def test_the_first_of_a_burst_goes_at_once_and_the_rest_as_one() -> None:
    """Leading edge, then one a gap."""
    coalescer = Coalescer()
    coalescer.note(SUBMIT)
    assert coalescer.take(0.0) == [SUBMIT]
    for _ in range(100):
        coalescer.note(SUBMIT)
    assert coalescer.take(0.1) == []
    assert coalescer.wait_seconds(0.1) == pytest.approx(GAP_SECONDS - 0.1)
    assert coalescer.take(GAP_SECONDS) == [SUBMIT]
    assert coalescer.wait_seconds(GAP_SECONDS) is None


def test_one_lanes_burst_does_not_hold_another_back() -> None:
    """The gap is per lane."""
    coalescer = Coalescer()
    coalescer.note(SUBMIT)
    coalescer.take(0.0)
    coalescer.note(SUBMIT)
    coalescer.note(POLL)
    assert coalescer.take(0.01) == [POLL]


@given(st.lists(st.tuples(st.floats(0, 0.1), st.sampled_from(list(LaneName))), max_size=200))
def test_every_note_goes_within_a_gap_and_at_most_four_a_second(notes: list[tuple[float, LaneName]]) -> None:
    """Whatever the pattern: nothing is forgotten, nothing floods the broker."""
    coalescer, now = Coalescer(), 0.0
    sent: dict[LaneName, list[float]] = {lane: [] for lane in LaneName}
    waiting: dict[LaneName, float] = {}

    def take() -> None:
        for lane in coalescer.take(now):
            sent[lane].append(now)
            assert now - waiting.pop(lane) <= GAP_SECONDS + 1e-9

    for pause, lane in notes:
        end = now + pause
        while (wait := coalescer.wait_seconds(now)) is not None and now + wait <= end:
            now += wait
            take()
        now = end
        coalescer.note(lane)
        waiting.setdefault(lane, now)
        take()
    while (wait := coalescer.wait_seconds(now)) is not None:
        now += wait
        take()
    assert not waiting
    for times in sent.values():
        assert all(later - earlier >= GAP_SECONDS - 1e-9 for earlier, later in itertools.pairwise(times))


def test_a_broker_that_is_away_is_told_once_and_costs_nobody_anything(caplog: pytest.LogCaptureFixture) -> None:
    """Promise 11: a wake-up that cannot be sent is dropped; the next one is tried again."""
    clock, sent = FakeClock(), SimpleQueue[LaneName]()
    failures: list[Exception | None] = [Transient("broker_unavailable", "refused"), RuntimeError("of a library"), None]

    def send(lane: LaneName) -> None:
        sent.put(lane)
        if (failure := failures.pop(0)) is not None:
            raise failure

    sender = WakeupSender(send, clock=clock)
    sender.start()
    with caplog.at_level(logging.WARNING):
        for lane in (SUBMIT, POLL, LaneName.SWEEP):
            sender.wake(lane)
            assert sent.get(timeout=LONG) is lane
        sender.close()
    assert [record.message for record in caplog.records] == ["broker_away", "broker_back"]
    assert not sender.is_alive()


def test_waking_does_not_wait_for_a_broker_that_hangs() -> None:
    """Whoever has just committed a transition goes on at once."""
    clock, is_sending, may_go_on = FakeClock(), threading.Event(), threading.Event()

    def send(lane: LaneName) -> None:
        is_sending.set()
        may_go_on.wait(LONG)

    sender = WakeupSender(send, clock=clock)
    sender.start()
    sender.wake(SUBMIT)
    assert is_sending.wait(LONG)
    for _ in range(1000):
        sender.wake(SUBMIT)  # would block here if it waited
    may_go_on.set()
    sender.close()


class OneDrain:
    """A host in which one lane drains."""

    def __init__(self) -> None:
        self.woken: list[LaneName] = []

    def wake_running(self, name: LaneName) -> bool:
        self.woken.append(name)
        return name is SUBMIT


def test_a_drain_of_this_process_is_woken_without_a_message() -> None:
    """At most 0.02 messages a job: what drains here needs none."""
    clock, sent = FakeClock(), SimpleQueue[LaneName]()
    sender = WakeupSender(sent.put, clock=clock)
    sender.start()
    wakeup = FleetWakeup(sender)
    wakeup.wake(POLL)
    assert sent.get(timeout=LONG) is POLL
    host = OneDrain()
    wakeup.host = host  # type: ignore[assignment]  # two methods of LaneHost would never be asked
    wakeup.wake(SUBMIT)
    wakeup.wake(LaneName.ARCHIVE)
    assert sent.get(timeout=LONG) is LaneName.ARCHIVE
    assert host.woken == [SUBMIT, LaneName.ARCHIVE]
    sender.close()
    assert sent.empty()

"""What a lane thread waits on, and the loop it hands its work to."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.services.lanes.drain import Mailbox, Stop
from orchestrator.services.lanes.loop import LoopThread

LONG = 60.0


def test_wake_ups_coalesce_and_finished_work_does_not() -> None:
    """However often somebody wakes a lane, it looks once; every piece of work is reported."""
    mailbox = Mailbox()
    for key in range(3):
        mailbox.wake()
        mailbox.put_finished(key)
    assert mailbox.wait(LONG) == ([0, 1, 2], True)
    assert mailbox.wait(0) == ([], False)


def test_a_mailbox_wakes_again_after_it_was_read() -> None:
    """A wake-up that comes while the lane looks is not lost."""
    mailbox = Mailbox()
    mailbox.wake()
    mailbox.wait(LONG)
    mailbox.wake()
    assert mailbox.wait(LONG) == ([], True)


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_an_empty_mailbox_gives_up(timeout: float) -> None:
    """A wait that is over before it began does not raise."""
    assert Mailbox().wait(timeout) == ([], False)


def test_a_stop_wakes_every_lane() -> None:
    """Nobody sleeps through a signal; an abort is a stop too."""
    mailboxes = [Mailbox(), Mailbox()]
    stop = Stop()
    for mailbox in mailboxes:
        stop.watch(mailbox)
    stop.request()
    assert [mailbox.wait(LONG) for mailbox in mailboxes] == [([], True)] * 2
    assert (stop.is_requested, stop.is_aborting) == (True, False)
    stop.abort()
    assert [mailbox.wait(LONG) for mailbox in mailboxes] == [([], True)] * 2
    assert (stop.is_requested, stop.is_aborting) == (True, True)


def test_closing_the_loop_lets_what_runs_unwind() -> None:
    """Nothing is left hanging: files and sockets of cancelled work are closed."""
    loop = LoopThread()
    unwound: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("work")

    async def started() -> None:
        await asyncio.sleep(0)

    loop.submit(work())
    loop.submit(started()).result()
    loop.close()
    assert unwound == ["work"]

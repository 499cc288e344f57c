"""Answers are on disk before anything else sees them; those that come together share one write to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence

import pytest

from orchestrator.domain.errors import Transient
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import DeadJournal, JournalRecord
from orchestrator.services.lanes.keeping import AnswerKeeper

PATIENCE_SECONDS = 60.0


class SlowDisk:
    """A journal whose writes end when they are told to."""

    process = "p"

    def __init__(self, *, refusal: Transient | None = None) -> None:
        self.groups: list[list[str]] = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self._refusal = refusal

    def append(self, *records: JournalRecord) -> None:
        self.groups.append([record.submission_id for record in records])
        self.begun.release()
        assert self.may_end.acquire(timeout=PATIENCE_SECONDS)
        if self._refusal is not None:
            raise self._refusal

    def settle(self, submission_id: str) -> None:
        """Not asked here."""

    def dead(self) -> Sequence[DeadJournal]:
        return []

    async def wait_for_write(self) -> None:
        """Return once a write is under way."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_SECONDS)


def start_keeping(keeper: AnswerKeeper, *names: str) -> list[asyncio.Task[None]]:
    evidence = CallEvidence(Moment.ANSWERED, http_status=200, body="{}")
    return [asyncio.create_task(keeper.keep(JournalRecord(name, "video", evidence))) for name in names]


async def let_loop_settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_comes_during_a_write_shares_the_next() -> None:
    """Three answers meet a busy disk: one more write for all of them; nobody goes on before his own is there."""
    disk = SlowDisk()

    async def run() -> None:
        keeper = AnswerKeeper(disk)
        first = start_keeping(keeper, "a")
        await disk.wait_for_write()
        later = start_keeping(keeper, "b")
        await let_loop_settle()
        later += start_keeping(keeper, "c", "d")
        await let_loop_settle()
        disk.may_end.release()
        await asyncio.gather(*first)
        await disk.wait_for_write()
        await let_loop_settle()
        assert not any(task.done() for task in later)
        disk.may_end.release()
        await asyncio.gather(*later)

    asyncio.run(run())
    assert disk.groups == [["a"], ["b", "c", "d"]]


def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    """A second Ctrl-C cancels one call; its record and the others' are written all the same."""
    disk = SlowDisk()

    async def run() -> None:
        keeper = AnswerKeeper(disk)
        given_up, patient = start_keeping(keeper, "a", "b")
        await disk.wait_for_write()
        given_up.cancel()
        await let_loop_settle()
        assert given_up.cancelled()
        assert not patient.done()
        disk.may_end.release()
        await patient

    asyncio.run(run())
    assert disk.groups == [["a", "b"]]


def test_a_refusing_disk_is_an_alarm_for_every_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is left waiting, every submission is named, and the next group is tried again."""
    disk = SlowDisk(refusal=Transient("journal_full", "no space left on device"))
    disk.may_end.release(2)

    async def run() -> None:
        keeper = AnswerKeeper(disk)
        await asyncio.gather(*start_keeping(keeper, "a", "b"))
        await asyncio.gather(*start_keeping(keeper, "c"))

    asyncio.run(run())
    alarms = [record for record in caplog.records if record.message == "journal_failed"]
    assert [getattr(record, "submission_id", None) for record in alarms] == ["a", "b", "c"]
    assert {record.levelno for record in alarms} == {logging.ERROR}


def test_a_bug_in_the_journal_reaches_who_waits() -> None:
    """Nothing that is not understood may pass for kept."""

    class Broken(SlowDisk):
        def append(self, *records: JournalRecord) -> None:
            raise ValueError("broken")

    async def run() -> None:
        await asyncio.gather(*start_keeping(AnswerKeeper(Broken()), "a"))

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())

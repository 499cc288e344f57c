"""The local answer journal: whole lines, private, held by its owner, found when the owner is gone."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError, Transient
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import JournalRecord
from orchestrator.journal import LONG_BYTES, FileJournal

EVIDENCE = CallEvidence(Moment.ANSWERED, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC), 200, "ok")

OWNER = """
import sys, pathlib
from orchestrator.journal import LONG_BYTES, FileJournal
from orchestrator.domain.ports import JournalRecord
from tests.journal.test_journal import EVIDENCE
journal = FileJournal(pathlib.Path(sys.argv[1]), "owner")
journal.append(JournalRecord("sub_1", "video", EVIDENCE))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """Any text survives: a megabyte, line ends, letters beyond ASCII."""
    body = '{"text": "\u6a21\u578b\u2028 \\n"}\n' + "x" * 1_000_000
    record = JournalRecord("sub_1", "transcription", CallEvidence(Moment.ANSWERED, http_status=200, body=body))
    journal = FileJournal(tmp_path, "dead")
    journal.append(record)
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert list(found.records()) == [record]


def test_it_is_private_and_its_name_is_taken_once(tmp_path: Path) -> None:
    """Mode 0600 (fault I15); two processes cannot share one."""
    FileJournal(tmp_path, "p")
    assert stat.S_IMODE((tmp_path / "p.jsonl").stat().st_mode) == 0o600
    with pytest.raises(ConfigError):
        FileJournal(tmp_path, "p")


def test_a_torn_last_line_is_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A crash in mid-write loses that record alone; the job stays unknown rather than wrong. It is no damage."""
    journal = FileJournal(tmp_path, "dead")
    journal.append(JournalRecord("sub_1", "video", EVIDENCE))
    os.write(journal._fd, b'{"submission": "sub_2", "kin')
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_1"]
    assert caplog.records == []


def test_only_a_dead_owner_is_taken_over(tmp_path: Path) -> None:
    """flock: the kernel frees it at kill -9, and not before."""
    heir = FileJournal(tmp_path, "heir")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        assert heir.dead() == []
        owner.kill()
    (found,) = heir.dead()
    assert found.process == "owner"
    assert [record.submission_id for record in found.records()] == ["sub_1"]
    found.retire()
    assert heir.dead() == []


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path) -> None:
    """What does not fit is cut off again: the next record must not grow onto half a line."""
    code = f"""
import pathlib, resource, signal
from orchestrator.journal import LONG_BYTES, FileJournal
from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import JournalRecord
from tests.journal.test_journal import EVIDENCE
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = FileJournal(pathlib.Path({str(tmp_path)!r}), "dead")
journal.append(JournalRecord("sub_1", "video", EVIDENCE))
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
try:
    journal.append(JournalRecord("sub_2", "video", EVIDENCE))
except Transient as error:
    print(error.code)
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert ended.stdout.strip() in {"journal_full", "journal_unwritable"}
    data = (tmp_path / "dead.jsonl").read_bytes()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Fault I15: a planted journal could attach foreign tasks."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    a_file = tmp_path / "file"
    a_file.touch()
    for directory in (open_to_all, link, dangling, a_file):
        with pytest.raises(ConfigError) as caught:
            FileJournal(directory, "p")
        assert caught.value.setting == "ORCHESTRATOR_DATA_DIR"


def test_an_empty_journal_goes_with_its_owner(tmp_path: Path) -> None:
    """Nothing was paid: nothing is left to read."""
    FileJournal(tmp_path, "p").close()
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    """Fault I15: nobody else may list or plant journals, whatever the umask."""
    FileJournal(tmp_path / "data" / "journal", "p")
    assert stat.S_IMODE((tmp_path / "data" / "journal").stat().st_mode) == 0o700


def test_a_journal_is_locked_before_a_sweep_can_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that looks while the file is being made must not take it for a dead one and remove it."""
    heir = FileJournal(tmp_path, "heir")
    real_flock = fcntl.flock
    seen: list[object] = []

    def look_first(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real_flock)
        seen.extend(heir.dead())
        real_flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", look_first)
    FileJournal(tmp_path, "newcomer")
    assert seen == []
    assert heir.dead() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heir.jsonl", "newcomer.jsonl"]


def test_a_replay_that_failed_is_begun_again(tmp_path: Path) -> None:
    """The locks of a sweep that died half-way are given up: a journal must not look alive because we read it."""
    leave_dead(tmp_path, "dead")
    heir = FileJournal(tmp_path, "heir")
    (first,) = heir.dead()
    assert len(list(first.records())) == 1
    (again,) = heir.dead()
    assert [record.submission_id for record in again.records()] == ["sub_1"]
    assert [record.submission_id for record in again.records()] == ["sub_1"]


def test_only_one_heir_reads_a_journal(tmp_path: Path) -> None:
    """Two sweeps on one host; the second gets it when the first is gone without having retired it."""
    leave_dead(tmp_path, "dead")
    first, second = FileJournal(tmp_path, "first"), FileJournal(tmp_path, "second")
    assert len(first.dead()) == 1
    assert second.dead() == []
    first.close()
    assert [journal.process for journal in second.dead()] == ["dead"]


@pytest.mark.parametrize("mode", [0o622, 0o620, 0o666])
def test_a_journal_that_others_could_write_is_not_believed(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault I15: it is told and left where it is."""
    leave_dead(tmp_path, "planted").chmod(mode)
    assert FileJournal(tmp_path, "heir").dead() == []
    assert "journal_refused" in caplog.messages
    assert (tmp_path / "planted.jsonl").exists()


def test_a_link_in_the_journals_place_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault I15: it is told, and the sweep goes on with the others."""
    directory = tmp_path / "journal"
    heir = FileJournal(directory, "heir")
    leave_dead(tmp_path, "elsewhere")
    (directory / "link.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    leave_dead(directory, "true")
    assert [journal.process for journal in heir.dead()] == ["true"]
    assert "journal_refused" in caplog.messages


@pytest.mark.parametrize("garbage", ["{", "[]", "7", '"text"', "{}", '{"submission": "s", "kind": "k", "moment": "?"}'])
def test_a_damaged_line_is_told_and_the_others_are_read(
    tmp_path: Path, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost silently: only the torn last line is expected."""
    path = leave_dead(tmp_path, "dead")
    path.write_text(garbage + "\n" + path.read_text())
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_1"]
    assert "journal_line_unreadable" in caplog.messages


def test_threads_do_not_cut_each_others_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that did not fit is cut off again, and nothing that another thread wrote meanwhile goes with it."""
    journal = FileJournal(tmp_path, "dead")
    real_write, is_cutting = os.write, threading.Event()
    other = threading.Thread(target=lambda: journal.append(JournalRecord("sub_2", "video", EVIDENCE)))

    def write_half(fd: int, data: bytes) -> int:
        if is_cutting.is_set():
            return real_write(fd, data)
        is_cutting.set()
        other.start()
        other.join(0.2)  # long enough for a writer that nothing holds back
        return real_write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(Transient):
        journal.append(JournalRecord("sub_1", "video", EVIDENCE))
    other.join()
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_2"]


def test_records_that_come_together_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write a record and one sync for all, after the last write and before anybody is told."""
    journal = FileJournal(tmp_path, "dead")
    real_write, done = os.write, []

    def write(fd: int, data: bytes) -> int:
        done.append("write")
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fdatasync", lambda _: done.append("sync"))
    journal.append(*(JournalRecord(f"sub_{n}", "video", EVIDENCE) for n in range(3)))
    assert done == ["write", "write", "write", "sync"]
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_0", "sub_1", "sub_2"]


def test_its_name_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synced lines help nobody in a file whose name is gone: the folder is synced once the name is there."""
    named: list[bool] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        named.append(os.path.samestat(os.fstat(fd), tmp_path.stat()) and (tmp_path / "p.jsonl").exists())
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    FileJournal(tmp_path, "p")
    assert named == [True]


@pytest.mark.parametrize("refuses", ["part of the line", "the whole line"])
def test_a_line_that_does_not_fit_takes_none_of_its_group_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """The disk refuses the second of three: it is told, and the others are whole and synced."""
    journal = FileJournal(tmp_path, "dead")
    real_write = os.write
    synced: list[int] = []

    def write(fd: int, data: bytes) -> int:
        if b"sub_1" not in data:
            return real_write(fd, data)
        if refuses == "the whole line":
            raise OSError(28, "No space left on device")
        return real_write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with pytest.raises(Transient, match="1 of 3 lines"):
        journal.append(*(JournalRecord(f"sub_{n}", "video", EVIDENCE) for n in range(3)))
    assert synced == [journal._fd]
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_0", "sub_2"]


@pytest.mark.parametrize("evidence", [EVIDENCE, CallEvidence(None), CallEvidence(Moment.SENT, body="\ud800 \x00")])
def test_every_kind_of_evidence_comes_back(tmp_path: Path, evidence: CallEvidence) -> None:
    """Nothing known, half known, text that no encoding takes."""
    record = JournalRecord("sub_1", "image", evidence)
    leave_dead(tmp_path, "dead", record)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert list(found.records()) == [record]


def leave_dead(directory: Path, process: str, record: JournalRecord | None = None) -> Path:
    """Write a journal of one record whose owner is gone."""
    journal = FileJournal(directory, process)
    journal.append(record or JournalRecord("sub_1", "video", EVIDENCE))
    os.close(journal._fd)
    return directory / f"{process}.jsonl"


def test_a_journal_goes_with_its_owner_once_the_database_has_everything(tmp_path: Path) -> None:
    """A run that ended well leaves nothing to replay; one unsettled record keeps the whole file."""
    settled, unsettled = FileJournal(tmp_path, "settled"), FileJournal(tmp_path, "unsettled")
    for journal in (settled, unsettled):
        journal.append(JournalRecord("sub_1", "video", EVIDENCE))
        journal.append(JournalRecord("sub_2", "video", EVIDENCE))
        journal.settle("sub_2")
    settled.settle("sub_1")
    settled.close()
    unsettled.close()
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["unsettled.jsonl"]


def test_a_long_journal_is_emptied_only_when_all_of_it_is_settled(tmp_path: Path) -> None:
    """A worker lives for months; its journal must not grow with it, and must not lose an answer that is on its way."""
    journal = FileJournal(tmp_path, "worker")
    long = CallEvidence(Moment.ANSWERED, http_status=200, body="x" * LONG_BYTES)
    journal.append(JournalRecord("sub_1", "transcription", long))
    journal.append(JournalRecord("sub_2", "video", EVIDENCE))
    journal.settle("sub_1")
    assert (tmp_path / "worker.jsonl").stat().st_size > LONG_BYTES
    journal.settle("sub_2")
    assert (tmp_path / "worker.jsonl").stat().st_size == 0
    journal.append(JournalRecord("sub_3", "video", EVIDENCE))
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_3"]


def test_half_a_line_that_cannot_be_cut_off_swallows_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next answer is a paid one too."""
    journal = FileJournal(tmp_path, "dead")
    write = os.write

    def refuse(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(Transient):
            journal.append(JournalRecord("sub_1", "video", EVIDENCE))
    journal.append(JournalRecord("sub_2", "video", EVIDENCE), JournalRecord("sub_3", "video", EVIDENCE))
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_2", "sub_3"]

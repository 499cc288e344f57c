"""The local answer journal: whole lines, private, held by its owner, found when the owner is gone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import JournalRecord
from orchestrator.journal import FileJournal

EVIDENCE = CallEvidence(Moment.ANSWERED, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC), 200, "ok")

OWNER = """
import sys, pathlib
from orchestrator.journal import FileJournal
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


def test_a_torn_last_line_is_no_record(tmp_path: Path) -> None:
    """A crash in mid-write loses that record alone; the job stays unknown rather than wrong."""
    journal = FileJournal(tmp_path, "dead")
    journal.append(JournalRecord("sub_1", "video", EVIDENCE))
    os.write(journal._fd, b'{"submission": "sub_2", "kin')
    os.close(journal._fd)
    (found,) = FileJournal(tmp_path, "heir").dead()
    assert [record.submission_id for record in found.records()] == ["sub_1"]


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
from orchestrator.journal import FileJournal
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
    for directory in (open_to_all, link):
        with pytest.raises(ConfigError):
            FileJournal(directory, "p")


def test_an_empty_journal_goes_with_its_owner(tmp_path: Path) -> None:
    """Nothing was paid: nothing is left to read."""
    FileJournal(tmp_path, "p").close()
    assert list(tmp_path.iterdir()) == []

"""The local answer journal: the raw answer of every paid call, on this disk before the commit (design section 7).

One file per process, held by flock for the life of the process: a free lock means a dead owner. One record is one
write with O_APPEND, and records that come together share one fdatasync; a torn last line is not a record. It must not know what a record means.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.advice import Entry, Source, Then
from orchestrator.domain.errors import ConfigError, Transient
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import JournalRecord

log = logging.getLogger(__name__)

SUFFIX = ".jsonl"
BEING_MADE = ".new"
PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700
WRITABLE_BY_OTHERS = 0o022
LONG_BYTES = 16 * 1024 * 1024  # a file that is worth emptying

_ADVICE = "Make room below ORCHESTRATOR_DATA_DIR, and check its rights: until then a crash can lose an answer."


def entries() -> Iterator[Entry]:
    """Yield the journal's rows of the error catalogue. The answer is committed to the job table all the same."""
    yield Entry("journal_full", Source.JOURNAL, Then.AGAIN, "an answer did not fit into the journal", _ADVICE)
    yield Entry("journal_unwritable", Source.JOURNAL, Then.AGAIN, "the journal cannot be written", _ADVICE)


class FileJournal:
    """This process's journal under a directory of the host. Close it, or die: either frees the lock."""

    def __init__(self, directory: Path, process: str) -> None:
        self.process = process
        self._directory = directory
        self._path = directory / f"{process}{SUFFIX}"
        self._writing = threading.Lock()
        self._reading: list[DeadFileJournal] = []
        self._unsettled: set[str] = set()
        self._is_torn = False
        try:
            directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            _refuse_unsafe(directory)
            self._fd = _create_locked(self._path)
        except OSError as error:
            raise ConfigError("ORCHESTRATOR_DATA_DIR", f"no journal in {directory}: {error.strerror}") from error

    def append(self, *records: JournalRecord) -> None:
        """Write the records, then sync them together. Raises Transient when the disk refuses any; a part-written line
        is cut off again, and the others are kept all the same.
        """
        lines = [(json.dumps(_as_json(record), ensure_ascii=True) + "\n").encode("ascii") for record in records]
        refusals: list[OSError] = []
        try:
            with self._writing:  # or a cut would take what another thread has written meanwhile
                self._unsettled.update(record.submission_id for record in records)
                for line in lines:
                    refusals += self._write_line(line)
            reach(CrashPoint.JOURNAL_WRITTEN)
            os.fdatasync(self._fd)
        except OSError as error:
            raise Transient("journal_unwritable", f"{self._path.name}: {error.strerror}") from error
        if refusals:
            words = f"{len(refusals)} of {len(lines)} lines for {self._path.name}: {refusals[0].strerror}"
            raise Transient("journal_full", words) from refusals[0]

    def _write_line(self, line: bytes) -> list[OSError]:
        """Write one line whole or not at all; return what the disk said against it."""
        before = os.fstat(self._fd).st_size
        # Half a line that could not be cut off must not swallow this one.
        data = b"\n" + line if self._is_torn else line
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            return [error]
        if written == len(data):
            self._is_torn = False
            return []
        try:
            os.ftruncate(self._fd, before)
        except OSError as error:
            self._is_torn = True
            return [error]
        return [OSError(errno.ENOSPC, f"{written} of {len(data)} bytes fitted")]

    def settle(self, submission_id: str) -> None:
        """Take note that the database has what was written about this submission. Once it has everything, a long file
        is emptied: workers live for months.
        """
        with self._writing:
            self._unsettled.discard(submission_id)
            if not self._unsettled and os.fstat(self._fd).st_size > LONG_BYTES:
                os.ftruncate(self._fd, 0)

    def dead(self) -> Sequence[DeadFileJournal]:
        """Return the journals whose owners are gone, each locked by us until the next call.

        A sweep that failed half-way left its journals unretired; their locks are given up here, or they would look
        alive for as long as we live.
        """
        self._stop_reading()
        others = (path for path in sorted(self._directory.glob(f"*{SUFFIX}")) if path != self._path)
        self._reading = [found for path in others if (found := DeadFileJournal.open(path)) is not None]
        return self._reading

    def close(self) -> None:
        """Give the lock up. A journal whose every record is in the database needs no reader and goes."""
        self._stop_reading()
        if self._fd < 0:
            return
        if not self._unsettled:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1

    def _stop_reading(self) -> None:
        while self._reading:
            self._reading.pop().close()


class JournalFolder:
    """The journals of a host, for who only looks: makes no file and ends up with no lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what a process would refuse: the folder, and files that others could have written."""
        try:
            if self._directory.is_dir():
                _refuse_unsafe(self._directory)
        except ConfigError as error:
            yield self._directory.name, str(error)
        for path in self._files():
            problem = _find_problem(path)
            if problem is not None:
                yield path.name, problem

    def dead(self) -> Iterator[DeadFileJournal]:
        """Yield the journals whose owners are gone, each locked until the next is asked for."""
        for path in self._files():
            journal = DeadFileJournal.open(path)
            if journal is not None:
                try:
                    yield journal
                finally:
                    journal.close()

    def living(self) -> Iterator[FileJournalReader]:
        """Yield the journals that their owners still write."""
        for path in self._files():
            fd = _open_safely(path)
            if fd is None:
                continue
            journal = FileJournalReader(path, fd)
            try:
                if not _lock(fd):
                    yield journal
            finally:
                journal.close()

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{SUFFIX}"))


class FileJournalReader:
    """The records of one journal file."""

    def __init__(self, path: Path, fd: int) -> None:
        self.process = path.name.removesuffix(SUFFIX)
        self._path = path
        self._fd = fd

    def records(self) -> Iterator[JournalRecord]:
        """Yield the whole records in order, from the beginning each time."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        with os.fdopen(self._fd, "rb", closefd=False) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                record = _from_json(line)
                if record is None:
                    log.error("journal_line_unreadable", extra={"journal": self._path.name, "line": number})
                else:
                    yield record

    def close(self) -> None:
        """Give the file up, and its lock; it stays for the next sweep."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class DeadFileJournal(FileJournalReader):
    """The journal of a process that is gone, locked by us."""

    @classmethod
    def open(cls, path: Path) -> DeadFileJournal | None:
        """Lock the file; None when its owner lives or somebody else is reading it, or when others could have
        written it.
        """
        fd = _open_safely(path)
        if fd is None:
            return None
        if _lock(fd):
            return cls(path, fd)
        os.close(fd)
        return None

    def retire(self) -> None:
        """Remove it: everything in it is in the database."""
        self._path.unlink(missing_ok=True)
        self.close()


def _open_safely(path: Path) -> int | None:
    """Open a journal to read; None when it is gone, or others could have written it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:  # a symlink, or another user's
        log.error("journal_refused", extra={"journal": path.name, "error": error.strerror})  # noqa: TRY400 - expected
        return None
    facts = os.fstat(fd)
    if facts.st_uid != os.geteuid() or facts.st_mode & WRITABLE_BY_OTHERS:
        log.error("journal_refused", extra={"journal": path.name, "error": "others could have written it"})
        os.close(fd)
        return None
    return fd


def _lock(fd: int) -> bool:
    """Take the lock; False when the owner lives or somebody else is reading."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _as_json(record: JournalRecord) -> dict[str, object]:
    evidence = record.evidence
    return {
        "submission": record.submission_id,
        "kind": record.kind,
        "moment": evidence.moment,
        "sent_at": evidence.sent_at.isoformat() if evidence.sent_at else None,
        "answered_at": evidence.answered_at.isoformat() if evidence.answered_at else None,
        "http_status": evidence.http_status,
        "body": evidence.body,
    }


def _from_json(line: bytes) -> JournalRecord | None:
    """Return the record of one line; None when it is none."""
    try:
        value = json.loads(line)
        evidence = CallEvidence(
            moment=Moment(value["moment"]) if value["moment"] else None,
            sent_at=_time(value["sent_at"]),
            answered_at=_time(value["answered_at"]),
            http_status=value["http_status"],
            body=value["body"],
        )
        return JournalRecord(str(value["submission"]), str(value["kind"]), evidence)
    except (ValueError, KeyError, TypeError):
        return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _find_problem(path: Path) -> str | None:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(facts.st_mode):
        return "it is a symlink"
    if facts.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others could have written it" if facts.st_mode & WRITABLE_BY_OTHERS else None


def _refuse_unsafe(directory: Path) -> None:
    """A journal that others can write could be made to attach foreign tasks (fault I15)."""
    facts = directory.lstat()
    if stat.S_ISLNK(facts.st_mode) or facts.st_mode & stat.S_IWOTH:
        raise ConfigError("ORCHESTRATOR_DATA_DIR", f"{directory} is a symlink or writable by everybody; chmod o-w it")


def _create_locked(path: Path) -> int:
    """Create the file, locked before it has the name that sweeps look for: none of them may take it for a dead one."""
    unfinished = path.with_suffix(BEING_MADE)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(unfinished, flags, PRIVATE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        reach(CrashPoint.JOURNAL_MADE)
        path.hardlink_to(unfinished)  # unlike a rename it refuses a name that is taken
        reach(CrashPoint.JOURNAL_NAMED)
        _sync_directory(path.parent)
    except OSError:
        os.close(fd)
        raise
    finally:
        unfinished.unlink()
    return fd


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

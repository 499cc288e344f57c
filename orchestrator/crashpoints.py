"""Named places between two durable effects where a process can be made to die, so that a test can try every one.

An instrument of tests and diagnosis: off unless ORCHESTRATOR_CRASH_AT arms one of them. It knows nothing of the work
around it and must never do anything but die. docs/crash-points.md is drawn from the list below.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from orchestrator.domain.errors import ConfigError

log = logging.getLogger(__name__)

VARIABLE = "ORCHESTRATOR_CRASH_AT"
KILLED = 137
"""What a shell shows for a process that was ended by kill -9."""


class CrashPoint(StrEnum):
    """Every place, named by its lane or part and by what has just happened there; `meaning` is what that is."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        """Make a member of a name and its sentence."""
        point = str.__new__(cls, name)
        point._value_ = name
        point.meaning = meaning
        return point

    INPUT_SPOOLED = "intake.input_spooled", "A file that a request names is copied to the spool, not to the archive."
    INPUT_STORED = "intake.input_stored", "An input is in the archive; no row speaks of it."
    BATCH_CREATED = "intake.batch_created", "The batch is committed and has no jobs."
    JOBS_ADDED = "intake.jobs_added", "Jobs are committed; the batch is not known to be whole."
    INTAKE_CLOSED = "intake.closed", "The batch is whole; nobody has been told."

    JOURNAL_MADE = "journal.made", "The journal's file is made and locked; it has no name that a sweep looks for."
    JOURNAL_NAMED = "journal.named", "The journal has its name, and its first name too."
    JOURNAL_WRITTEN = "journal.written", "A raw answer is written to the journal, not synced."

    INTENT_COMMITTED = "submit.intent_committed", "The submission is committed; no connection is open."
    CONNECTED = "submit.connected", "The connection stands; not a byte of the paid call has left."
    SENT = "submit.sent", "The paid call has left whole; no answer has come."
    ANSWER_BEGUN = "submit.answer_begun", "The provider has answered; only the head of its answer is read."
    ANSWERED = "submit.answered", "The answer is read; it is in this process's memory alone."
    ANSWER_KEPT = "submit.answer_kept", "The answer is in the journal, not in the database."
    ANSWER_FENCED = (
        "submit.answer_fenced",
        "The job was no longer ours, so its answer is to be stored as late evidence.",
    )
    ANSWER_COMMITTED = "submit.answer_committed", "The answer is committed; journal and other lanes have not been told."

    POLLS_CLAIMED = "poll.claimed", "Tasks are leased; none has been asked about."
    POLL_ANSWERED = "poll.answered", "The provider has said how a task stands; nothing is written."
    POLLS_COMMITTED = "poll.committed", "What polls brought is committed; the archive lane has not been told."
    POLLS_RENEWED = "poll.renewed", "The leases of held tasks are renewed."

    ARCHIVES_CLAIMED = "archive.claimed", "Jobs with results are leased; nothing is fetched."
    OUTPUT_FETCHED = "archive.output_fetched", "An output lies in the spool; the archive does not have it."
    OUTPUT_PUT = "archive.output_put", "An output is put into the archive and not yet read back."
    OUTPUT_VERIFIED = "archive.output_verified", "An output is in the archive, verified; its row does not say so."
    THUMBNAIL_STORED = "archive.thumbnail_stored", "A thumbnail is in the archive; its output's row says nothing."
    PAPERS_STORED = "archive.papers_stored", "manifest.json is stored; the job's row does not say so."
    ARCHIVES_COMMITTED = "archive.committed", "Jobs are committed as archived; the other lanes have not been told."
    ARCHIVES_RENEWED = "archive.renewed", "The leases of jobs being archived are renewed."

    FILE_COPIED = "store.file_copied", "A folder as archive: a file is copied and synced, without its name."
    FILE_NAMED = "store.file_named", "A folder as archive: a file has its name, and the folder is not synced."
    UPLOAD_BEGUN = "store.upload_begun", "A bucket as archive: an upload in parts is begun; its id is nowhere of ours."
    UPLOAD_REMEMBERED = "store.upload_remembered", "The upload's id is committed; it holds no part."
    PART_SENT = "store.part_sent", "A part of an upload is sent."
    UPLOAD_COMPLETED = "store.upload_completed", "The parts are put together; nobody has looked whether they were."

    CANCEL_ASKED = "cancel.asked", "A batch's cancellation is committed; its jobs are as they were."
    CANCEL_GROUP_DONE = "cancel.group_done", "A group of a batch's jobs is cancelled; the next one is not begun."
    DELIVERIES_CLAIMED = "deliver.claimed", "Endpoints are leased; nothing is sent."
    EVENT_SENT = "deliver.event_sent", "A receiver has answered; no row says so."
    DELIVERIES_COMMITTED = "deliver.committed", "What came of deliveries is committed."

    ROWS_GIVEN_BACK = "stop.rows_given_back", "A stop was asked for, and rows are given back; the process still runs."

    SWEEP_CLAIMED = "sweep.claimed", "A maintenance task is leased and not begun."
    ANSWER_LINKED = "sweep.answer_linked", "An answer from a dead process's journal is committed."
    UNKNOWN_HELD = "sweep.unknown_held", "A call whose end nobody knows is committed as unknown."
    LEASES_FREED = "sweep.leases_freed", "What a dead process had leased is given back; its journal is still there."
    JOURNAL_RETIRED = "sweep.journal_retired", "A dead process's journal is removed."
    RESUBMITTED = "sweep.resubmitted", "A held job is queued again by policy; no lane has been told."
    BATCHES_CLOSED = "sweep.batches_closed", "Batches are committed as finished."
    SPOOL_FILE_REMOVED = "sweep.spool_file_removed", "One stale file of the spool is removed."
    SWEEP_ENDED = "sweep.ended", "A maintenance task has done its work; its row still says that it runs."


@dataclass
class _Fuse:
    """The one point that is armed in this process, if any."""

    point: CrashPoint | None = None
    passings_left: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def burn(self) -> None:
        """Count a passing; at the last one die as kill -9 does: nothing is flushed, closed or handled."""
        with self.turn:
            self.passings_left -= 1
            if self.passings_left == 0:
                os.write(2, f"{VARIABLE}: died at {self.point}\n".encode())
                os._exit(KILLED)


_FUSE = _Fuse()


def reach(point: CrashPoint) -> None:
    """Mark a place. Does nothing unless exactly this one is armed, then ends the process at its n-th passing."""
    if _FUSE.point is point:
        _FUSE.burn()


def arm(setting: str | None) -> None:
    """Arm the point that `setting` names, `NAME` or `NAME:N` for its N-th passing; None disarms. Says so loudly.

    Raises ConfigError, with the list of names, for anything else.
    """
    if setting is None:
        _FUSE.point = None
        return
    point, _FUSE.passings_left = read_setting(setting)
    _FUSE.point = point
    fields = {"point": point, "passing": _FUSE.passings_left, "why": f"{VARIABLE} is set, which is for tests alone"}
    log.critical("crash_armed", extra=fields)


def read_setting(setting: str) -> tuple[CrashPoint, int]:
    """Return the point and the passing that a setting names. Raises ConfigError."""
    name, colon, count = setting.partition(":")
    points = {point.value: point for point in CrashPoint}
    if name not in points:
        raise ConfigError(VARIABLE, f"{name!r} is no crash point; those are {', '.join(points)}")
    if colon and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ConfigError(VARIABLE, f"{count!r} is not a number of passings; 1, 2, 3 ... are")
    return points[name], int(count) if colon else 1

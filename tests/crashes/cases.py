"""Every crash point with the way there: which file is run, what happened before, and what must be so afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.crashpoints import CrashPoint

IN_DOUBT = frozenset(
    {
        CrashPoint.INTENT_COMMITTED,
        CrashPoint.CONNECTED,
        CrashPoint.SENT,
        CrashPoint.ANSWER_BEGUN,
        CrashPoint.ANSWERED,
    }
)
"""Between intent and journal: nobody can know, so the one call that was under way is unknown."""
KEPT = frozenset(
    {CrashPoint.JOURNAL_WRITTEN, CrashPoint.ANSWER_KEPT, CrashPoint.ANSWER_FENCED, CrashPoint.ANSWER_COMMITTED}
)
"""From the journal on nothing is lost."""
OF_A_CANCEL = ((CrashPoint.CANCEL_ASKED, 1), (CrashPoint.CANCEL_GROUP_DONE, 1), (CrashPoint.CANCEL_GROUP_DONE, 2))
"""Deaths of `batches cancel`, with the passing: tests/crashes/test_cancel.py."""
DELIVERING = frozenset({CrashPoint.DELIVERIES_CLAIMED, CrashPoint.EVENT_SENT, CrashPoint.DELIVERIES_COMMITTED})
"""Only a job that names a webhook leads there: test_delivery_kills.py walks them."""
ONE_CALL_LATER = 3  # passings of the submit lane with one call at a time: image, video, transcription

AN_HOUR = 3600.0
"""A latency that no slow machine outlasts: what takes so long ends when the test moves the provider's clock."""


@dataclass(frozen=True)
class Case:
    """One death. `after` is the point of an earlier death of the same run.

    `settings` are of the process that dies; `latency` is the sandbox's for `slow_models`, in seconds.
    """

    point: CrashPoint
    passing: int = 1
    after: CrashPoint | None = None
    begins_with: int = 0
    """Lines of the file that were run to their end before, under another name."""
    settings: Mapping[str, str] = field(default_factory=dict)
    latency: float | None = None
    is_dripping: bool = False
    is_in_parts: bool = False
    has_stale_spool: bool = False
    is_stopped: bool = False
    """A first Ctrl-C reaches the process while it holds running tasks."""
    is_held_meanwhile: bool = False
    """`db mark-restored` takes the job away while its call is under way."""
    is_of_policy: bool = False
    """Only ORCHESTRATOR_ON_UNKNOWN=resubmit leads there."""

    @property
    def slow_models(self) -> tuple[str, ...]:
        """Those of tasks that are polled; where a call is to be under way, the one that is answered at once."""
        return ("glm-asr-2512",) if self.is_held_meanwhile else ("cogview-4-250304", "viduq1-text")

    @property
    def setting(self) -> str:
        return f"{self.point}:{self.passing}"

    @property
    def name(self) -> str:
        return f"{self.setting}-after-{self.after}" if self.after else self.setting

    @property
    def unknown_calls(self) -> tuple[int, int]:
        """The fewest and the most calls that may be unknown afterwards."""
        begun = self.after or self.point
        if begun in IN_DOUBT:
            return (1, 1)
        if begun in KEPT or begun.startswith(("intake.", "journal.")):
            return (0, 0)
        return (0, 1)  # another lane died; the one call that was under way beside it may have been cut


def _each(point: CrashPoint, *passings: int) -> list[Case]:
    return [Case(point, passing) for passing in passings]


THUMBNAILS = "ORCHESTRATOR_THUMBNAIL_PIXELS"

CASES: tuple[Case, ...] = (
    *_each(CrashPoint.INPUT_SPOOLED, 1),
    *_each(CrashPoint.INPUT_STORED, 1),
    *_each(CrashPoint.BATCH_CREATED, 1),
    *_each(CrashPoint.JOBS_ADDED, 1),
    *_each(CrashPoint.INTAKE_CLOSED, 1),
    *_each(CrashPoint.JOURNAL_MADE, 1),
    *_each(CrashPoint.JOURNAL_NAMED, 1),
    *_each(CrashPoint.INTENT_COMMITTED, 1, ONE_CALL_LATER),
    *_each(CrashPoint.CONNECTED, 1, ONE_CALL_LATER),
    *_each(CrashPoint.SENT, 1, ONE_CALL_LATER),
    *_each(CrashPoint.ANSWER_BEGUN, 1, ONE_CALL_LATER),
    *_each(CrashPoint.ANSWERED, 1, ONE_CALL_LATER),
    *_each(CrashPoint.JOURNAL_WRITTEN, 1, ONE_CALL_LATER),
    *_each(CrashPoint.ANSWER_KEPT, 1, ONE_CALL_LATER),
    *_each(CrashPoint.ANSWER_COMMITTED, 1, ONE_CALL_LATER),
    Case(CrashPoint.ANSWER_FENCED, latency=AN_HOUR, is_held_meanwhile=True),
    *_each(CrashPoint.POLLS_CLAIMED, 1),
    *_each(CrashPoint.POLL_ANSWERED, 1),
    Case(CrashPoint.POLL_ANSWERED, 2, latency=0.5),
    *_each(CrashPoint.POLLS_COMMITTED, 1),
    Case(CrashPoint.POLLS_RENEWED, settings={"ORCHESTRATOR_LEASES": "poll=1.5s"}, latency=AN_HOUR),
    Case(CrashPoint.ROWS_GIVEN_BACK, latency=AN_HOUR, is_stopped=True),
    *_each(CrashPoint.ARCHIVES_CLAIMED, 1),
    *_each(CrashPoint.OUTPUT_FETCHED, 1, 2),
    *_each(CrashPoint.FILE_COPIED, 1, 2),
    *_each(CrashPoint.FILE_NAMED, 1, 2),
    *_each(CrashPoint.OUTPUT_PUT, 1, 2),
    *_each(CrashPoint.OUTPUT_VERIFIED, 1, 2),
    *(Case(CrashPoint.THUMBNAIL_STORED, passing, settings={THUMBNAILS: "64"}) for passing in (1, 2)),
    *_each(CrashPoint.PAPERS_STORED, 1),
    *_each(CrashPoint.ARCHIVES_COMMITTED, 1),
    Case(CrashPoint.ARCHIVES_RENEWED, settings={"ORCHESTRATOR_LEASES": "archive=1.5s"}, is_dripping=True),
    *(
        Case(point, passing, is_in_parts=True)
        for point in (
            CrashPoint.UPLOAD_BEGUN,
            CrashPoint.UPLOAD_REMEMBERED,
            CrashPoint.PART_SENT,
            CrashPoint.UPLOAD_COMPLETED,
        )
        for passing in (1, 2)  # an input, and an output
    ),
    *_each(CrashPoint.SWEEP_CLAIMED, 1, 2),
    *_each(CrashPoint.SWEEP_ENDED, 1, 2, 3, 4, 5, 6),
    Case(CrashPoint.ANSWER_LINKED, after=CrashPoint.ANSWER_KEPT),
    Case(CrashPoint.UNKNOWN_HELD, after=CrashPoint.INTENT_COMMITTED),
    Case(CrashPoint.LEASES_FREED, after=CrashPoint.POLLS_CLAIMED),
    Case(CrashPoint.JOURNAL_RETIRED, after=CrashPoint.ANSWER_KEPT),
    Case(CrashPoint.RESUBMITTED, after=CrashPoint.SENT, is_of_policy=True),
    *_each(CrashPoint.BATCHES_CLOSED, 1),
    Case(CrashPoint.SPOOL_FILE_REMOVED, has_stale_spool=True),
)

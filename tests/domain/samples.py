"""One value of every outcome, and jobs in every state, for the tables of the decision tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args

from orchestrator.domain.job import Job, Output, OutputDraft, Price, Role, StoredFile, Submission, Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    ArchiveStep,
    FailedAtSubmit,
    InputUnusable,
    NothingUsable,
    NotSent,
    Outcome,
    OutputLinkDead,
    OutputsReady,
    OutputStored,
    PollFailed,
    ProviderFailed,
    Rejected,
    StillRunning,
    SubmitOutcome,
    TaskAccepted,
    TaskMissing,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.retry import Backoff, PollSchedule, Rules
from orchestrator.domain.states import State
from tests.factories import make_job

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PRICE = Price(200_000, "USD", "2026-11")
TASK = "task-1"
VIDEO = OutputDraft(0, Role.VIDEO, "https://cdn.example/0.mp4")
TEXT = OutputDraft(0, Role.TRANSCRIPT, text="a red kite")

EXACT = Backoff(base=10 * SECOND, cap=HOUR)
RULES = Rules(
    overload_codes=frozenset({"1305"}),
    content_codes=frozenset({"1300", "1301"}),
    schedules={"video": PollSchedule(20 * SECOND, shortest=5 * SECOND, longest=30 * SECOND, age_share=0.1, jitter=0.0)},
    not_sent=EXACT,
    throttled=EXACT,
    overloaded=Backoff(base=100 * SECOND, cap=HOUR),
    poll_failed=EXACT,
    missing=EXACT,
    archive=EXACT,
)

SUBMIT_OUTCOMES: dict[str, SubmitOutcome] = {
    "task accepted": TaskAccepted(TASK),
    "answer complete": AnswerComplete((TEXT,)),
    "not sent": NotSent("connect_failed", "connection refused"),
    "throttled": ThrottledNow("1302", "too many requests in flight"),
    "account refused": AccountRefused("1113", "arrears"),
    "rejected": Rejected("1210", "a parameter is wrong"),
    "failed at submit": FailedAtSubmit("1234", "it failed"),
    "unknown": Unknown("answer_timeout", "no answer in time"),
    "input missing": InputUnusable("input_missing", "the picture is gone"),
    "input changed": InputUnusable("input_changed", "the picture is another"),
}
POLL_OUTCOMES: dict[str, Outcome] = {
    "still running": StillRunning("PROCESSING"),
    "poll failed": PollFailed("http_502", "bad gateway"),
    "task missing": TaskMissing("1222", "no such task"),
    "outputs ready": OutputsReady((VIDEO,)),
    "nothing usable": NothingUsable("SUCCESS without a link"),
    "provider failed": ProviderFailed("1234", "it failed"),
}
ARCHIVE_OUTCOMES: dict[str, Outcome] = {"archive step": ArchiveStep(())}
OUTCOMES: dict[str, Outcome] = {**SUBMIT_OUTCOMES, **POLL_OUTCOMES, **ARCHIVE_OUTCOMES}
OUTCOME_TYPES = frozenset(get_args(Outcome))

VERDICTS: dict[str, Verdict] = {
    "task accepted": Verdict.ACCEPTED,
    "answer complete": Verdict.ANSWERED,
    "not sent": Verdict.NOT_SENT,
    "throttled": Verdict.THROTTLED,
    "account refused": Verdict.REFUSED,
    "rejected": Verdict.REJECTED,
    "failed at submit": Verdict.FAILED,
    "unknown": Verdict.UNKNOWN,
    "input missing": Verdict.NOT_SENT,
    "input changed": Verdict.NOT_SENT,
}


class FullJitter(Random):
    """The longest wait that a backoff may draw, so that tables can name it."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper end."""
        return b


RNG = FullJitter()


def job_in(state: State, **changes: Any) -> Job:  # noqa: ANN401 - any field by name
    """Return a video job in `state` with what its state requires, a minute after its submission."""
    fields: dict[str, Any] = {"price": PRICE, "created_at": NOW - 2 * MINUTE, "state": state}
    if state in (State.PROCESSING, State.ARCHIVING):
        fields |= {"provider_task_id": TASK, "submitted_at": NOW - MINUTE, "cost_final_micros": PRICE.micros}
    if state is State.ARCHIVING:
        fields["outputs"] = (make_output(stored=make_file()),)
    if state is State.FAILED:
        fields |= {"failure_code": "written_off", "finished_at": NOW}
    return make_job(**(fields | changes))


def make_submission(number: int = 1, **changes: Any) -> Submission:  # noqa: ANN401 - any field by name
    """Return a submission of any job; its id tells its number."""
    fields: dict[str, Any] = {"id": f"sub_{number}", "job_id": "job", "number": number, "intent_at": NOW - MINUTE}
    return Submission(**(fields | changes))


def make_output(index: int = 0, role: Role = Role.VIDEO, **changes: Any) -> Output:  # noqa: ANN401 - as above
    """Return an output with a link that does not say when it dies."""
    fields: dict[str, Any] = {
        "id": f"out_{index}",
        "job_id": "job",
        "index": index,
        "role": role,
        "source_url": f"https://cdn.example/{index}.mp4",
    }
    return Output(**(fields | changes))


def make_file(index: int = 0) -> StoredFile:
    """Return an archived file."""
    return StoredFile(f"2026/11/23/job/{index}-video-0.mp4", 9, "0" * 64, "video/mp4")


def stored(index: int = 0) -> OutputStored:
    """Return the report of an output that is in the archive."""
    return OutputStored(f"out_{index}", make_file(index))


def dead(index: int = 0, link: str = "link 1") -> OutputLinkDead:
    """Return the report of an output whose link answered 404."""
    return OutputLinkDead(f"out_{index}", sha(link), "the link answered 404")


def sha(text: str) -> str:
    """Return the name under which a dead link is remembered."""
    return hashlib.sha256(text.encode()).hexdigest()

"""What the rules and services need from the world. Adapters implement these; tests fake them only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Batch, Claim, Job, Json, NewJob, Submission, Verdict
from orchestrator.domain.kind import Kind
from orchestrator.domain.outcomes import (
    AnswerComplete,
    CallEvidence,
    FailedAtSubmit,
    NothingUsable,
    OutputsReady,
    ProviderFailed,
    StillRunning,
    SubmitOutcome,
    TaskAccepted,
)


class LaneName(StrEnum):
    """The lanes; also the names of their queues. `deliver` joins when webhooks do."""

    SUBMIT = "submit"
    POLL = "poll"
    ARCHIVE = "archive"
    SWEEP = "sweep"


class Clock(Protocol):
    """The only asker of the time."""

    def now(self) -> datetime:
        """Return aware UTC."""

    def monotonic(self) -> float:
        """Return seconds that never step back."""

    def boottime(self) -> float:
        """Return seconds since boot, suspended time included where the system can tell."""


class Wakeup(Protocol):
    """Tells a lane that work may be due. Best effort; nothing depends on it."""

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""


# -- provider ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PaidRequest:
    """One paid call. `request_id` is the submission id. `body` is frozen; its inputs are read from `archive_url`."""

    request_id: str
    kind: str
    model: str
    body: Json
    archive_url: str


@dataclass(frozen=True)
class PollQuestion:
    """Ask about one task."""

    kind: str
    model: str
    task_id: str


SubmitAnswer = TaskAccepted | AnswerComplete | FailedAtSubmit
PollAnswer = StillRunning | OutputsReady | NothingUsable | ProviderFailed


class Provider(Protocol):
    """The provider's API. Everything it cannot do it says by a StepError, never by a client library's exception."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Every kind by name."""

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        """Send the paid request once and return the raw answer, whatever its status.

        `before_first_byte` is called as the last act before the first byte leaves; what it raises (LeaseTooOld) comes
        out and nothing was sent. Raises InputLost and Transient before the first byte (`evidence.moment` not_sent),
        Uncertain after it. CancelledError passes; `before_first_byte` having returned then means that bytes had left.
        """

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        """Read a raw answer to a paid call; pure. Raises Throttled, Account, Permanent or Uncertain (design 7)."""

    async def poll(self, question: PollQuestion) -> PollAnswer:
        """Ask about a task. Raises Throttled, Account, Gone (the id is not known) or Transient."""

    async def close(self) -> None:
        """Close the clients."""


# -- archive -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectFacts:
    """What a store says of an object. `sha256` is None when the store has not verified one itself."""

    key: str
    byte_count: int
    sha256: str | None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """An object store or a directory. Keys are relative to the archive URL's prefix. All calls block.

    Raises Transient (later), Permanent (configuration: missing bucket, refused credentials), Gone (no such key).
    """

    @property
    def url(self) -> str:
        """The archive URL it was opened with."""

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str],
        remember_upload: Callable[[str], None],
    ) -> None:
        """Store a file whole under `key` or not at all. `remember_upload` gets a multipart upload's id before its
        first part is sent.
        """

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store a small document whole, replacing what was there."""

    def read_back(self, key: str) -> ObjectFacts:
        """Read the object from the store and return its length and SHA-256 as found there."""

    def find(self, key: str) -> ObjectFacts | None:
        """Return what the store says of `key`, None when there is none. Reads no content."""

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content; StepErrors come out of the iterator too."""

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below `prefix`."""

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        """Return a link that works for a while (a file:// path for a directory)."""

    def abort_stale_uploads(self, *, before: datetime) -> int:
        """Abort multipart uploads (or leftover temporary files) begun before `before`; return how many."""


class Stores(Protocol):
    """Opens archives by URL; the same URL gives the same store."""

    def open(self, url: str) -> Store:
        """Raises ConfigError for a URL that is no archive."""


@dataclass(frozen=True)
class Fetched:
    """A result link's answer, written whole to the spool."""

    byte_count: int
    sha256: str
    content_type: str | None


class Fetch(Protocol):
    """Gets foreign URLs through the egress guard."""

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        """Write the body to `into`. Raises Gone (403, 404, 410), Permanent (the guard refuses; over the cap; not a
        media type: code names it) or Transient.
        """


# -- journal -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JournalRecord:
    """The raw answer to one paid call, kept on local disk before the commit."""

    submission_id: str
    kind: str
    evidence: CallEvidence


class DeadJournal(Protocol):
    """The journal of a process that is gone."""

    @property
    def process(self) -> str:
        """The name that the process had put on its submissions."""

    def records(self) -> Iterator[JournalRecord]:
        """Yield its whole records in order; a torn last line is not one."""

    def retire(self) -> None:
        """Remove it: everything in it is in the database."""


class Journal(Protocol):
    """The local answer journal of this process."""

    @property
    def process(self) -> str:
        """This process's name, unique on this host and over time."""

    def append(self, record: JournalRecord) -> None:
        """Write and sync one record. Raises Transient when the disk refuses."""

    def settle(self, submission_id: str) -> None:
        """Take note that the database has what was written about this submission: nobody need replay it."""

    def dead(self) -> Sequence[DeadJournal]:
        """Return the journals of this host whose processes are gone, each locked by us while we hold it."""


# -- job store ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubmitWindow:
    """What a submit claim may take. `slots` are limits per model name, with "*" for the rest."""

    limit: int
    slots: Mapping[str, int]
    deadlines: Mapping[str, timedelta]
    """Call deadline per kind; the lease of a claim is the longest deadline of it + `margin`."""
    task_lives: Mapping[str, timedelta]
    margin: timedelta
    process: str
    credential: str = "default"
    total_slots: int | None = None
    batch_id: str | None = None
    max_unknown_per_hour: int = 20
    is_slot_held_until_final: bool = True


@dataclass(frozen=True)
class ClaimedSubmission:
    """A job in `submitting` with the submission that the claim inserted for it."""

    job: Job
    submission: Submission


@dataclass(frozen=True)
class Applied:
    """What a guarded write did. `decision` None: stored only. `is_fenced`: the row was no longer ours.

    `is_duplicate_id`: the answer named a task that another submission holds; it is kept as unknown (fault A13).
    """

    job_id: str
    decision: Decision | None
    is_fenced: bool = False
    is_extra_paid: bool = False
    is_duplicate_id: bool = False


@dataclass(frozen=True)
class JobCounts:
    """Jobs per state, and when the next queued or active one is due."""

    by_state: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())


class Jobs(Protocol):
    """The job table. Every method is one short transaction; none is called with another one open."""

    def claim_submissions(self, window: SubmitWindow) -> Claim[ClaimedSubmission]:
        """Take queued jobs with free slots: insert their submissions, set them submitting, commit. That is intent."""

    def claim_due(
        self, lane: LaneName, *, limit: int, lease: timedelta, archive_class: str | None = None, process: str = ""
    ) -> Claim[Job]:
        """Lease due rows of the poll or archive lane. Archive rows carry their outputs and submissions,
        soonest expiry first.

        `process` names the holder, so that `release_dead` finds its rows again.
        """

    def find_next_due(
        self, lane: LaneName, *, batch_id: str | None = None, window: SubmitWindow | None = None
    ) -> datetime | None:
        """Return the earliest due_at of the lane, None when it has nothing. Paused models count with their pause's
        end; models without free slots do not count, given the submit claim's `window` (nobody knows them without).
        """

    def renew(self, held: Mapping[str, str], *, lease: timedelta) -> frozenset[str]:
        """Extend the leases of {job id: token} in one statement; return the job ids that are still ours."""

    def release(self, held: Mapping[str, str]) -> None:
        """Give rows of the poll and archive lanes back, due now."""

    def release_dead(self, process: str) -> int:
        """Give back, due now, what a process leased in the poll and archive lanes before it died; each row counts a
        death. Return how many there were.
        """

    def apply(self, decisions: Sequence[tuple[Job, Decision]]) -> Sequence[Applied]:
        """Write decisions guarded by id, state and the job's lease_token, in one transaction."""

    def apply_evidence(
        self,
        submission_id: str,
        evidence: CallEvidence,
        outcome: SubmitOutcome,
        verdict: Verdict,
        *,
        token: str | None,
        settle: Callable[[Job, datetime], Decision | None],
        actor: str = "system",
        reason: str = "",
    ) -> Applied:
        """Store evidence on its submission (each column once, in a savepoint of its own, never fenced), then move
        the job by `settle`, called inside the transaction with the locked job and all its submissions.

        With a token the job is moved only while it is submitting under that token, else `is_fenced`. Without one this
        is late evidence: `settle` decides by the state found, and the write clears lease_token.
        """

    def find_lapsed_submissions(self, *, limit: int) -> Sequence[ClaimedSubmission]:
        """Return jobs in submitting whose lease has passed, with their newest submission."""

    def find_submissions_of(self, process: str) -> Sequence[ClaimedSubmission]:
        """Return jobs still in submitting whose newest submission was made by this process."""

    def transact(
        self,
        job_id: str,
        change: Callable[[Job, datetime], Decision | None],
        *,
        actor: str,
        reason: str,
    ) -> Applied:
        """Move one job by a person's decision: lock it, load submissions and outputs, write what `change` returns.

        Raises NotFound; Conflicts raised by `change` come out.
        """

    def flag_cancel(self, job_id: str, *, actor: str, reason: str) -> bool:
        """Set cancel_requested_at on a submitting or processing job; False when it was set or the state has moved."""

    def remember_upload(self, output_id: str, upload_id: str) -> None:
        """Keep a multipart upload's id before its first part."""

    def claim_sweep(self, name: str, *, every: timedelta, lease: timedelta) -> str | None:
        """Lease one maintenance task when it is due; return the token, None when it is not."""

    def finish_sweep(self, name: str, token: str, *, every: timedelta, result: str) -> None:
        """Record the run and make it due again."""


@dataclass(frozen=True)
class Member:
    """One line of a batch and the job that answers it."""

    line_number: int
    job_id: str
    custom_id: str | None
    body_sha256: str


@dataclass(frozen=True)
class UnpaidCost:
    """What the members of a batch that were never submitted will cost; those without a table price are counted."""

    micros: int
    unpriced_count: int


class Batches(Protocol):
    """Batches and intake."""

    def find_newest(self, identity_sha256: str, environment: str) -> Batch | None:
        """Return the newest batch of this identity."""

    def get(self, batch_id: str) -> Batch:
        """Raises NotFound."""

    def create(self, batch: Batch) -> None:
        """Insert a running batch whose intake is not done.

        Raises Conflict when there is one of the same identity, environment and generation: two processes that take
        the same file at the same moment must end in one batch, or every line is paid twice.
        """

    def add_jobs(self, batch_id: str, jobs: Sequence[NewJob], *, actor: str) -> int:
        """Insert jobs with their `accepted` events in one transaction; lines already there (batch, line_number) are
        left alone. Return how many were new.
        """

    def link_existing(self, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
        """Make jobs of other batches members of this one: (line number, custom_id, job id). Jobs added by `add_jobs`
        are members too; membership, not jobs.batch_id, is what counts, finishes and is submitted by a run. Lines
        that are members already are left alone: an intake that was killed is repeated whole.
        """

    def find_equal(
        self, environment: str, keys: Sequence[tuple[str, str]], *, outside: str | None = None
    ) -> Mapping[tuple[str, str], str]:
        """Return {(custom_id, body_sha256): job id} of the newest jobs in this environment that equal these lines,
        jobs inserted for the batch `outside` left out.
        """

    def list_members(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[Member]:
        """Return members with a line number above `after_line`, in input order."""

    def price_unpaid(self, batch_id: str) -> UnpaidCost:
        """Add up the table prices of queued members that have no submission: what running the batch may still cost."""

    def finish_intake(self, batch_id: str) -> None:
        """Every line is in."""

    def finish_done(self) -> Sequence[str]:
        """Close running batches whose intake is done and that have no active job; return those closed just now."""

    def count_states(self, batch_id: str) -> JobCounts:
        """Count the members per state."""

"""The job table, as the lanes use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Batch, Claim, Job, NewJob, Submission, Verdict
from orchestrator.domain.outcomes import (
    CallEvidence,
    SubmitOutcome,
)
from orchestrator.domain.poison import NOTHING_IN_FLIGHT, InFlight
from orchestrator.domain.ports.running import LaneName


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
class HeldPoll:
    """A row that the poll lane holds between questions. With a good answer since its claim: when it is asked next, and
    how often it has been asked in all; None before one.
    """

    job_id: str
    token: str
    due_at: datetime | None = None
    poll_count: int | None = None


@dataclass(frozen=True)
class Renewed:
    """The rows that are still ours after a renewal, and the renewal's time."""

    job_ids: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class EvidenceReport:
    """One outcome of one submission, and the rule by which its job moves. `token` None: late evidence."""

    submission_id: str
    evidence: CallEvidence
    outcome: SubmitOutcome
    verdict: Verdict
    token: str | None
    settle: Callable[[Job, datetime], Decision | None]
    actor: str = "system"
    reason: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    """What else the job's event is to say."""


@dataclass(frozen=True)
class Attachment:
    """A task id that a person says is a job's. `assumed_life` is the kind's: for the slot it may hold."""

    job_id: str
    task_id: str
    assumed_life: timedelta
    actor: str
    reason: str


@dataclass(frozen=True)
class Adoption:
    """A task submitted elsewhere, and the batch of one job that takes it on."""

    batch: Batch
    job: NewJob
    task_id: str
    assumed_life: timedelta
    actor: str
    reason: str


@dataclass(frozen=True)
class Adopted:
    """The job that has the task; `is_new` False: it had it before."""

    job_id: str
    is_new: bool


@dataclass(frozen=True)
class HeldUnknown:
    """A job held because a call is unexplained, and how often one actor has resubmitted it already."""

    job: Job
    resubmission_count: int


class Jobs(Protocol):
    """The job table. Every method is one short transaction; none is called with another one open."""

    def claim_submissions(self, window: SubmitWindow) -> Claim[ClaimedSubmission]:
        """Take queued jobs with free slots: insert their submissions, set them submitting, commit. That is intent."""

    def claim_due(
        self,
        lane: LaneName,
        *,
        limit: int,
        lease: timedelta,
        archive_class: str | None = None,
        process: str = "",
        in_flight: InFlight = NOTHING_IN_FLIGHT,
    ) -> Claim[Job]:
        """Lease due rows of the poll or archive lane. Archive rows carry their outputs and submissions,
        soonest expiry first.

        `process` names the holder, so that `release_dead` finds its rows again; `in_flight` is what it performs in that
        lane already, beside which some rows must not be taken (domain.poison). No row although some are due:
        `is_kept_waiting`.
        """

    def find_next_due(
        self, lane: LaneName, *, batch_id: str | None = None, window: SubmitWindow | None = None
    ) -> datetime | None:
        """Return the earliest due_at of the lane, None when it has nothing. Paused models count with their pause's
        end; models without free slots do not count, given the submit claim's `window` (nobody knows them without).
        """

    def renew(self, held: Mapping[str, str], *, lease: timedelta) -> frozenset[str]:
        """Extend the leases of {job id: token} in one statement; return the job ids that are still ours."""

    def renew_polls(self, held: Sequence[HeldPoll], *, lease: timedelta) -> Renewed:
        """Extend the leases of held polls, store how often each was asked and forget the deaths of those that have
        answered. Rows of a paused scope are given back, due when they would be asked next; a probe is kept.
        """

    def release(self, held: Mapping[str, str]) -> None:
        """Give rows of the poll and archive lanes back, due now."""

    def release_dead(self, process: str) -> int:
        """Give back, due now, what a process leased in the poll and archive lanes before it died; each row counts a
        death. Return how many there were.
        """

    def apply(self, decisions: Sequence[tuple[Job, Decision]]) -> Sequence[Applied]:
        """Write decisions guarded by id, state and the job's lease_token, in one transaction.

        A job that is there twice, under an old lease and a new one, is written one decision after the other.
        """

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

    def apply_reports(self, reports: Sequence[EvidenceReport]) -> Sequence[Applied]:
        """Store and settle every report as `apply_evidence` does one, in their order, in one transaction for all.

        What one transaction cannot take is applied one by one: no report waits for another's trouble.
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

    def attach_task(
        self,
        attachment: Attachment,
        *,
        choose: Callable[[Job], Submission | None],
        settle: Callable[[str], Callable[[Job, datetime], Decision | None]],
    ) -> Applied:
        """Store a task id as evidence about the submission that `choose` picks under the job's lock (None: about a new
        one of origin `adopted`), then move the job as `apply_evidence` does. An id that the job has changes nothing.

        Raises NotFound; Conflict when another job has the task; Conflicts raised by `choose` come out.
        """

    def adopt(self, adoption: Adoption) -> Adopted:
        """Insert a job in `processing` for a task submitted elsewhere; or find the job that has the task already."""

    def list_held_unknown(self, *, after: str, limit: int) -> Sequence[str]:
        """Return ids of jobs behind `after` in needs_review with an unsettled submission and no cancel flag."""

    def resubmit_held(
        self,
        job_id: str,
        change: Callable[[HeldUnknown, datetime], Decision | None],
        *,
        actor: str,
        reason: str,
    ) -> Applied:
        """As `transact`, with the number of the job's resubmissions by this actor counted under its lock."""

    def flag_cancel(self, job_id: str, *, actor: str, reason: str) -> bool:
        """Set cancel_requested_at on a submitting or processing job; False when it was set or the state has moved."""

    def load_parents(self, job_id: str) -> Mapping[str, Job]:
        """Return the jobs that one depends on, by the name it knows them by, with their outputs."""

    def settle_stragglers(self, *, limit: int) -> int:
        """Let jobs go, or fail, that wait although nothing keeps them any more; return how many there were."""

    def tell_at_risk(self, *, limit: int) -> Sequence[str]:
        """Record, once a job, that half of a link's life has passed without its output archived; return the jobs told."""

    def remember_upload(self, output_id: str, upload_id: str) -> None:
        """Keep a multipart upload's id before its first part."""

    def find_due_sweeps(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of these maintenance tasks are due, in their order: one read, where each claim is a write."""

    def claim_sweep(self, name: str, *, every: timedelta, lease: timedelta) -> str | None:
        """Lease one maintenance task when it is due; return the token, None when it is not."""

    def finish_sweep(self, name: str, token: str, *, every: timedelta, result: str) -> None:
        """Record the run and make it due again."""

"""The submit lane: the paid call, once (design section 7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import Decision, Evidence, settle_late
from orchestrator.domain.decide.late import settle
from orchestrator.domain.errors import InputLost, LeaseTooOld, StepError, Transient, Uncertain
from orchestrator.domain.job import Job, Verdict
from orchestrator.domain.outcomes import CallEvidence, InputUnusable, Moment, NotSent, SubmitOutcome, Unknown
from orchestrator.domain.ports import (
    Applied,
    ClaimedSubmission,
    EvidenceReport,
    JournalRecord,
    LaneName,
    PaidRequest,
    SubmitWindow,
)
from orchestrator.services.lanes.context import DrainTime, LaneContext
from orchestrator.services.lanes.keeping import AnswerKeeper
from orchestrator.services.lanes.outcome import outcome_of_call_error, verdict_of
from orchestrator.services.references import Resolved, has_references, resolve

log = logging.getLogger(__name__)

NOTHING_SENT = CallEvidence(moment=Moment.NOT_SENT)
NOBODY_KNOWS = CallEvidence(moment=None)


@dataclass(frozen=True)
class SubmitWork:
    """One claimed submission; `boottime` was read before the claim's first statement."""

    claimed: ClaimedSubmission
    boottime: float
    lease: timedelta
    time: DrainTime


@dataclass(frozen=True)
class SubmitResult:
    """What is known of one paid call."""

    work: SubmitWork
    evidence: CallEvidence
    outcome: SubmitOutcome
    used: Mapping[str, object] = field(default_factory=dict)
    """What its references were resolved to, for the history."""


class SubmitLane:
    """Claims are the intent; leases are never renewed; an answer is in the journal before it is in the database."""

    name = LaneName.SUBMIT
    renew_every_seconds: float | None = None
    looks_when_finished = True
    finishes_when_stopped = True

    def __init__(self, context: LaneContext) -> None:
        self._context = context
        self._keeper = AnswerKeeper(context.journal)

    def claim(self, held: Collection[SubmitWork]) -> Sequence[SubmitWork]:
        """Take queued jobs for free slots."""
        context = self._context
        free = context.limits.submit_window - len(held)
        if free <= 0:
            return []
        claim = context.jobs.claim_submissions(self._make_window(free))
        if claim.rows:
            reach(CrashPoint.INTENT_COMMITTED)
        time = DrainTime(claim.now, context.clock.monotonic())
        works = []
        for row in claim.rows:
            lease = context.deadline_of(row.job.kind) + context.limits.submit_margin
            works.append(SubmitWork(row, claim.boottime, lease, time))
        return works

    async def perform(self, work: SubmitWork) -> SubmitResult:
        """Make the paid call and keep its raw answer on this disk before anything else sees it."""
        context, job, submission = self._context, work.claimed.job, work.claimed.submission
        try:
            resolved = await self._resolve(work)
            request = PaidRequest(submission.id, job.kind, job.model, resolved.body, job.archive_url)
            evidence = await context.provider.call(request, before_first_byte=lambda: self._refuse_zombie(work))
        except LeaseTooOld as error:
            return SubmitResult(work, NOTHING_SENT, NotSent("lease_too_old", str(error)))
        except StepError as error:
            known = NOBODY_KNOWS if isinstance(error, Uncertain) else NOTHING_SENT
            return SubmitResult(work, error.evidence or known, outcome_of_call_error(error))
        reach(CrashPoint.ANSWERED)
        await self._keeper.keep(JournalRecord(submission.id, job.kind, evidence))
        reach(CrashPoint.ANSWER_KEPT)
        return SubmitResult(work, evidence, read_answer(context, job.kind, evidence), resolved.used)

    async def _resolve(self, work: SubmitWork) -> Resolved:
        """Nothing is sent yet: whatever is raised here was not sent. Most jobs refer to nothing and ask nobody."""
        context, job = self._context, work.claimed.job
        kind = context.provider.kinds.get(job.kind)
        if kind is None or not has_references(job, kind):
            return Resolved(job.body)
        now = work.time.now(context.clock)

        def look() -> Resolved:
            return resolve(job, kind, context.jobs.load_parents(job.id), context.stores, now)

        try:
            return await asyncio.to_thread(look)
        except InputLost:
            raise
        except StepError as error:  # a store or a database in trouble says nothing against the request
            raise Transient("input_unreadable", error.message, evidence=NOTHING_SENT) from error

    def apply(self, results: Sequence[SubmitResult]) -> None:
        """Commit what is known, in one transaction where it can be. A fenced paid answer is applied at once as late."""
        context = self._context
        reports = [self._report_of(result) for result in results]
        for result, applied in zip(results, context.jobs.apply_reports(reports), strict=True):
            self._finish(result, applied)

    def renew(self, held: Collection[SubmitWork]) -> Collection[SubmitWork]:
        """Submit leases are never renewed."""
        return []

    def release(self, held: Collection[SubmitWork]) -> None:
        """A paid call is never given back: it ends, or its lease lapses."""

    def find_next_due(self) -> datetime | None:
        """Return when the next queued job may be taken."""
        return self._context.jobs.find_next_due(
            LaneName.SUBMIT, batch_id=self._context.batch_id, window=self._make_window(1)
        )

    def _make_window(self, free: int) -> SubmitWindow:
        context, limits = self._context, self._context.limits
        kinds = context.provider.kinds
        return SubmitWindow(
            limit=free,
            slots=limits.slots,
            deadlines={name: context.deadline_of(name) for name in kinds},
            task_lives={name: limits.task_lives.get(name, kind.assumed_task_life) for name, kind in kinds.items()},
            margin=limits.submit_margin,
            process=context.journal.process,
            total_slots=limits.total_slots,
            batch_id=context.batch_id,
            max_unknown_per_hour=limits.max_unknown_per_hour,
            is_slot_held_until_final=limits.is_slot_held_until_final,
        )

    def _refuse_zombie(self, work: SubmitWork) -> None:
        """Design section 5: counted from before the claim's first statement, on a clock that a suspend cannot stop."""
        elapsed = self._context.clock.boottime() - work.boottime
        allowed = (work.lease - self._context.deadline_of(work.claimed.job.kind)).total_seconds()
        if elapsed > allowed:
            raise LeaseTooOld(f"{elapsed:.0f} s after the claim, of {allowed:.0f} s allowed before the first byte")
        reach(CrashPoint.CONNECTED)

    def _report_of(self, result: SubmitResult) -> EvidenceReport:
        work = result.work
        now = work.time.now(self._context.clock)
        submission_id, token = work.claimed.submission.id, work.claimed.job.lease_token
        report = make_report(self._context, submission_id, result.evidence, result.outcome, token=token, now=now)
        return replace(report, data=result.used)

    def _finish(self, result: SubmitResult, applied: Applied) -> None:
        context, row = self._context, result.work.claimed
        if applied.is_fenced:
            reach(CrashPoint.ANSWER_FENCED)
            applied = store_evidence(context, row.submission.id, result.evidence, result.outcome, token=None)
        reach(CrashPoint.ANSWER_COMMITTED)
        context.journal.settle(row.submission.id)
        report(applied, row.job.id, row.submission.id, verdict_of(result.outcome))
        context.wake_after(applied.decision)


def read_answer(context: LaneContext, kind: str, evidence: CallEvidence) -> SubmitOutcome:
    """Return what a raw answer means; the same for a live answer and for one found in a journal.

    There is an answer, so the request was sent: whatever the reader says, it never becomes "not sent" and paid again.
    """
    try:
        return context.provider.interpret(kind, evidence)
    except StepError as error:
        outcome = outcome_of_call_error(error)
        return Unknown(error.code, error.message) if isinstance(outcome, NotSent | InputUnusable) else outcome
    except Exception as error:  # a bug of the reader: the answer is kept and held, and its neighbours go on
        log.exception("answer_unreadable", extra={"kind": kind})
        return Unknown("unreadable_answer", f"our reader broke on it: {type(error).__name__}")


def store_evidence(
    context: LaneContext, submission_id: str, evidence: CallEvidence, outcome: SubmitOutcome, *, token: str | None
) -> Applied:
    """Store an outcome on its submission and move the job by all of its submissions.

    With a token this is the holder's own apply; without one it is late evidence.
    """
    (applied,) = context.jobs.apply_reports([make_report(context, submission_id, evidence, outcome, token=token)])
    return applied


def make_report(
    context: LaneContext,
    submission_id: str,
    evidence: CallEvidence,
    outcome: SubmitOutcome,
    *,
    token: str | None,
    now: datetime | None = None,
) -> EvidenceReport:
    """Return an outcome with the rule that moves its job; `now` is the drain's, else the transaction's own."""
    about = Evidence(submission_id, outcome)

    def decide_with_all(job: Job, found_at: datetime) -> Decision | None:
        rule = settle if token is not None else settle_late
        return rule(job, about, context.rules, now or found_at, context.rng)

    return EvidenceReport(submission_id, evidence, outcome, verdict_of(outcome), token, decide_with_all)


def report(applied: Applied, job_id: str, submission_id: str, verdict: Verdict) -> None:
    """Log the end of a submission; an extra paid task and an unknown are alarms."""
    fields = {"job_id": job_id, "submission_id": submission_id, "verdict": verdict}
    if applied.is_extra_paid:
        log.error("extra_paid_task", extra=fields)
    elif applied.is_duplicate_id:
        log.error("duplicate_task_id", extra=fields)
    elif verdict is Verdict.UNKNOWN:
        log.warning("submission_unknown", extra=fields)
    else:
        log.info("submission_ended", extra=fields)

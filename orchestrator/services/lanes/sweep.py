"""The sweep lane: everything that nobody else would notice. One leased row per maintenance task (design section 5)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import Decision, decide_policy_resubmit
from orchestrator.domain.errors import NotFound, Permanent, StepError
from orchestrator.domain.job import SURE_REFUSALS
from orchestrator.domain.outcomes import CallEvidence, Unknown
from orchestrator.domain.ports import ClaimedSubmission, DeadJournal, HeldUnknown, LaneName
from orchestrator.domain.ports.restores import JOURNALS_SWEEP
from orchestrator.services.archive.retention import Keeper, expire_agreed
from orchestrator.services.batch_files import Clerk, write_due_files
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.outcome import verdict_of
from orchestrator.services.lanes.submit import read_answer, report, store_evidence

log = logging.getLogger(__name__)

LAPSED_AT_ONCE = 200
STRAGGLERS_AT_ONCE = 500
AT_RISK_AT_ONCE = 500
POLICY = "policy"
SPOOL_AGE = timedelta(hours=6)
UPLOAD_AGE = timedelta(hours=24)
HOURLY = timedelta(hours=1)


@dataclass(frozen=True)
class Maintenance:
    """One task: how often it runs, and what it does; it returns a sentence for its row."""

    name: str
    every: timedelta
    run: Callable[[], str]


class SweepLane:
    """Runs each due maintenance task; the work is database work, so `perform` has nothing to wait for."""

    name = LaneName.SWEEP
    renew_every_seconds: float | None = None
    looks_when_finished = True
    finishes_when_stopped = True

    def __init__(self, context: LaneContext) -> None:
        self._context = context
        every = context.limits.sweep_every
        host = socket.gethostname()
        resubmits = context.limits.resubmit_max > 0
        keeper = Keeper(context.retention, context.stores, context.clock)
        self._tasks = (
            Maintenance(f"{JOURNALS_SWEEP}{host}", every, lambda: replay_dead_journals(context)),
            Maintenance("lapsed_submissions", every, lambda: settle_lapsed(context)),
            *([Maintenance("resubmissions", every, lambda: resubmit_unknown(context))] if resubmits else []),
            Maintenance("dependencies", every, lambda: settle_stragglers(context)),
            Maintenance("at_risk", every, lambda: tell_at_risk(context)),
            Maintenance("finished_batches", every, lambda: finish_batches(context)),
            Maintenance("batch_files", every, lambda: write_batch_files(context)),
            Maintenance(f"spool:{host}", HOURLY, lambda: sweep_spool(context)),
            Maintenance("orphan_uploads", HOURLY, lambda: abort_orphans(context)),
            Maintenance("retention", HOURLY, lambda: expire_agreed(keeper)),
        )

    def claim(self, held: Collection[None]) -> Sequence[None]:
        """Run what is due here and now; there is nothing left for the loop.

        Every worker asks every second, and mostly nothing is due: that costs a read, not a write for every task.
        """
        due = set(self._context.jobs.find_due_sweeps([task.name for task in self._tasks]))
        for task in self._tasks:
            if task.name in due:
                self._run_if_due(task)
        return []

    async def perform(self, work: None) -> None:
        """Never called: sweeps hold no work."""

    def apply(self, results: Sequence[None]) -> None:
        """Nothing to write."""

    def renew(self, held: Collection[None]) -> Collection[None]:
        """Nothing is held."""
        return []

    def release(self, held: Collection[None]) -> None:
        """Nothing is held."""

    def find_next_due(self) -> datetime | None:
        """The tick is soon enough."""
        return None

    def _run_if_due(self, task: Maintenance) -> None:
        jobs, lease = self._context.jobs, self._context.limits.sweep_lease
        token = jobs.claim_sweep(task.name, every=task.every, lease=lease)
        if token is None:
            return
        reach(CrashPoint.SWEEP_CLAIMED)
        try:
            result = task.run()
        except StepError as error:
            result = f"failed: {error}"
            log.warning("sweep_failed", extra={"sweep": task.name, "error": str(error)})
        except Exception as error:  # a bug in one kind of upkeep must not end the process that polls and archives
            result = f"crashed: {type(error).__name__}"
            log.exception("sweep_crashed", extra={"sweep": task.name})
        reach(CrashPoint.SWEEP_ENDED)
        jobs.finish_sweep(task.name, token, every=task.every, result=result)


def settle_lapsed(context: LaneContext) -> str:
    """Submissions whose lease has passed without a word: nobody can know, so the job is held."""
    lapsed = context.jobs.find_lapsed_submissions(limit=LAPSED_AT_ONCE)
    for row in lapsed:
        _settle_unknown(
            context, row, "lease_lapsed", "the worker that was sending it said nothing before its lease ended"
        )
    return f"{len(lapsed)} lapsed submissions"


def replay_dead_journals(context: LaneContext) -> str:
    """Take over from dead processes of this host: link every answer they had kept, then say what stays unknown.

    The owner's lock is free, so no answer can reach it any more: its submissions need not wait for their leases
    (docs/decisions/0002). A submission is only ever called unknown here, never repeated. Rows that it was polling or
    archiving are given back too. A journal with an answer whose submission this database does not know stays: it was
    restored from a backup, or is another's (docs/decisions/0008).
    """
    linked = unknown = released = 0
    for journal in context.journal.dead():
        replayed, unmatched = _replay(context, journal)
        linked += replayed
        for row in context.jobs.find_submissions_of(journal.process):
            _settle_unknown(context, row, "process_died", "the process that was sending it died before an answer came")
            unknown += 1
        released += context.jobs.release_dead(journal.process)
        reach(CrashPoint.LEASES_FREED)
        if unmatched:
            log.error("journal_unmatched", extra={"journal": journal.process, "answers": unmatched})
        else:
            journal.retire()
            reach(CrashPoint.JOURNAL_RETIRED)
    return f"{linked} answers linked, {unknown} submissions unknown, {released} leases given back"


def resubmit_unknown(context: LaneContext) -> str:
    """ORCHESTRATOR_ON_UNKNOWN=resubmit: submit again what an unexplained call holds, under its cap and waiting time.

    Does nothing under any other policy.
    """
    if context.limits.resubmit_max == 0:
        return "left to persons"
    count = 0
    for job_id in _iter_held_unknown(context):
        applied = context.jobs.resubmit_held(
            job_id, lambda held, now: _decide_by_policy(context, held, now), actor=POLICY, reason=""
        )
        if applied.decision is not None:
            reach(CrashPoint.RESUBMITTED)
            log.warning("resubmitted_by_policy", extra={"job_id": job_id})
            context.wake_after(applied.decision)
            context.wakeup.wake(LaneName.SUBMIT)
            count += 1
    return f"{count} held jobs submitted again"


def _iter_held_unknown(context: LaneContext) -> Iterator[str]:
    after = ""
    while page := context.jobs.list_held_unknown(after=after, limit=LAPSED_AT_ONCE):
        yield from page
        after = page[-1]


def _decide_by_policy(context: LaneContext, held: HeldUnknown, now: datetime) -> Decision | None:
    cap = context.limits.resubmit_max
    return decide_policy_resubmit(held.job, context.rules, now, done_count=held.resubmission_count, cap=cap)


def settle_own_unfinished(context: LaneContext) -> int:
    """After an abort: what this process was still sending is unknown. Returns how many jobs are held for it."""
    rows = context.jobs.find_submissions_of(context.journal.process)
    for row in rows:
        _settle_unknown(context, row, "aborted", "the call was given up on the second interrupt")
    return len(rows)


def settle_stragglers(context: LaneContext) -> str:
    """Let go, or fail, jobs that wait for others although nothing keeps them any more."""
    count = context.jobs.settle_stragglers(limit=STRAGGLERS_AT_ONCE)
    if count:
        log.warning("stragglers_settled", extra={"jobs": count})
        context.wakeup.wake(LaneName.SUBMIT)
    return f"{count} jobs had waited for nothing"


def tell_at_risk(context: LaneContext) -> str:
    """Tell of outputs that are not archived after half of their link's life (design promise 7)."""
    count = 0
    while told := context.jobs.tell_at_risk(limit=AT_RISK_AT_ONCE):
        count += len(told)
        for job_id in told:
            log.warning("output_at_risk", extra={"job_id": job_id})
        context.wakeup.wake(LaneName.DELIVER)
    return f"{count} jobs at risk"


def finish_batches(context: LaneContext) -> str:
    """Close batches in which nothing is active any more."""
    finished = context.batches.finish_done()
    if finished:
        reach(CrashPoint.BATCHES_CLOSED)
        context.wakeup.wake(LaneName.DELIVER)
    for batch_id in finished:
        log.info("batch_finished", extra={"batch_id": batch_id})
    return f"{len(finished)} batches finished"


def write_batch_files(context: LaneContext) -> str:
    """Write the files of finished batches to their archives; what a store refuses is tried again by the next sweep."""
    report = write_due_files(make_clerk(context))
    failed = f", {len(report.failed)} failed: {next(iter(report.failed.values()))}" if report.failed else ""
    return f"files of {len(report.written)} batches written{failed}"


def make_clerk(context: LaneContext) -> Clerk:
    """Return what the files of batches are written with."""
    return Clerk(
        reports=context.reports,
        stores=context.stores,
        clock=context.clock,
        kinds=context.provider.kinds,
        spool=context.spool,
        tool_version=context.tool_version,
    )


def sweep_spool(context: LaneContext) -> str:
    """Remove files of fetches that died half-way."""
    if not context.spool.is_dir():
        return "no spool"
    horizon = (context.clock.now() - SPOOL_AGE).timestamp()
    stale = [path for path in context.spool.iterdir() if path.is_file() and path.stat().st_mtime < horizon]
    for path in stale:
        path.unlink(missing_ok=True)
        reach(CrashPoint.SPOOL_FILE_REMOVED)
    return f"{len(stale)} spool files removed"


def abort_orphans(context: LaneContext) -> str:
    """Abort uploads to the archive that died half-way: stores bill their parts until somebody does."""
    count = context.stores.open(context.archive_url).abort_stale_uploads(before=context.clock.now() - UPLOAD_AGE)
    return f"{count} orphan uploads aborted"


def _replay(context: LaneContext, journal: DeadJournal) -> tuple[int, int]:
    """Return how many answers were linked, and how many that may have cost something found no submission."""
    linked = unmatched = 0
    for record in journal.records():
        outcome = read_answer(context, record.kind, record.evidence)
        try:
            applied = store_evidence(context, record.submission_id, record.evidence, outcome, token=None)
        except (NotFound, Permanent) as error:
            unmatched += verdict_of(outcome) not in SURE_REFUSALS
            log.warning("answer_not_linked", extra={"submission_id": record.submission_id, "error": str(error)})
            continue
        reach(CrashPoint.ANSWER_LINKED)
        report(applied, applied.job_id, record.submission_id, verdict_of(outcome))
        context.wake_after(applied.decision)
        linked += 1
    return linked, unmatched


def _settle_unknown(context: LaneContext, row: ClaimedSubmission, code: str, message: str) -> None:
    outcome = Unknown(code, message)
    evidence = CallEvidence(moment=None)
    applied = store_evidence(context, row.submission.id, evidence, outcome, token=row.job.lease_token)
    reach(CrashPoint.UNKNOWN_HELD)
    if not applied.is_fenced:
        report(applied, row.job.id, row.submission.id, verdict_of(outcome))
    context.wake_after(applied.decision)

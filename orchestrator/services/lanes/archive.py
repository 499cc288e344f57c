"""The archive lane: fetch, check, store, read back - in order of expiry, in two size classes (design section 8)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import decide
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import ArchiveStep
from orchestrator.domain.ports import LaneName
from orchestrator.services.archive.outputs import archive_outputs
from orchestrator.services.lanes.context import DrainTime, LaneContext
from orchestrator.services.lanes.leased import LeasedLane

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchiveWork:
    """One leased job in `archiving`, with its outputs."""

    job: Job
    archive_class: str
    time: DrainTime


@dataclass(frozen=True)
class ArchiveResult:
    """What one pass over a job's outputs brought."""

    work: ArchiveWork
    step: ArchiveStep


class ArchiveLane(LeasedLane[ArchiveWork]):
    """A window per class, so that small pictures never wait behind videos.

    A class with a row that must be alone goes first, and nothing else is taken until the lane has run empty for it.
    """

    name = LaneName.ARCHIVE

    def __init__(self, context: LaneContext) -> None:
        super().__init__(context, lease=context.limits.archive_lease)
        self._classes = list(context.limits.archive_windows)

    def claim(self, held: Collection[ArchiveWork]) -> Sequence[ArchiveWork]:
        """Lease due jobs of each class into its free places."""
        context = self._context
        taken = Counter(work.archive_class for work in held)
        works: list[ArchiveWork] = []
        for archive_class in tuple(self._classes):
            free = context.limits.archive_windows[archive_class] - taken[archive_class]
            if free <= 0:
                continue
            claim = self._claim_due(free, archive_class, beside=[*held, *works])
            if claim.is_kept_waiting:
                self._classes.sort(key=lambda name: name != archive_class)
                break
            time = DrainTime(claim.now, context.clock.monotonic())
            works += [ArchiveWork(job, archive_class, time) for job in self._without_poisoned(claim.rows)]
        return works

    async def perform(self, work: ArchiveWork) -> ArchiveResult:
        """Archive every output that is not there yet, then write the papers."""
        return ArchiveResult(work, await archive_outputs(self._context, work.job))

    def apply(self, results: Sequence[ArchiveResult]) -> None:
        """Write the decisions: the row changes only after the store has been read back."""
        context = self._context
        decided = [
            (r.work.job, decide(r.work.job, r.step, context.rules, r.work.time.now(context.clock), context.rng))
            for r in results
        ]
        applied = context.jobs.apply(decided)
        reach(CrashPoint.ARCHIVES_COMMITTED)
        for row in applied:
            if row.decision is not None:
                fields = {"job_id": row.job_id, "state": row.decision.target, "reason": row.decision.reason}
                log.info("archive_step_ended", extra=fields)
            context.wake_after(row.decision)

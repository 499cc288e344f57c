"""The poll lane: ask about running tasks. A failed question never harms a job."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.domain.decide import decide
from orchestrator.domain.errors import StepError
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import PollOutcome
from orchestrator.domain.ports import LaneName, PollQuestion
from orchestrator.services.lanes.context import DrainTime, LaneContext
from orchestrator.services.lanes.leased import LeasedLane
from orchestrator.services.lanes.outcome import outcome_of_poll_error

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PollWork:
    """One leased job in `processing`."""

    job: Job
    time: DrainTime


@dataclass(frozen=True)
class PollResult:
    """What the question brought."""

    work: PollWork
    outcome: PollOutcome


class PollLane(LeasedLane[PollWork]):
    """Batch claims, one question a row, grouped writes: nothing is stored per poll but the row's next time."""

    name = LaneName.POLL

    def __init__(self, context: LaneContext) -> None:
        super().__init__(context, lease=context.limits.poll_lease)

    def claim(self, held: Collection[PollWork]) -> Sequence[PollWork]:
        """Lease due rows."""
        free = self._context.limits.poll_window - len(held)
        if free <= 0:
            return []
        claim = self._claim_due(free, beside=held)
        time = DrainTime(claim.now, self._context.clock.monotonic())
        return [PollWork(job, time) for job in self._without_poisoned(claim.rows)]

    async def perform(self, work: PollWork) -> PollResult:
        """Ask once."""
        job = work.job
        question = PollQuestion(job.kind, job.model, job.provider_task_id or "")
        try:
            return PollResult(work, await self._context.provider.poll(question))
        except StepError as error:
            return PollResult(work, outcome_of_poll_error(error))

    def apply(self, results: Sequence[PollResult]) -> None:
        """Write all decisions in one transaction; rows that are no longer ours drop out quietly."""
        context = self._context
        decided = [
            (r.work.job, decide(r.work.job, r.outcome, context.rules, r.work.time.now(context.clock), context.rng))
            for r in results
        ]
        applied = context.jobs.apply(decided)
        for row in applied:
            if row.decision is not None and row.decision.records_event:
                log.info("task_ended", extra={"job_id": row.job_id, "state": row.decision.target})
            context.wake_after(row.decision)

"""The poll lane: ask about running tasks. A failed question never harms a job.

A row is held from its claim until something must be written: "still running" only moves the time of the next question,
and that stays in memory (design section 11, docs/decisions/0006).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import Decision, decide, is_nothing_new
from orchestrator.domain.errors import StepError
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import PollOutcome
from orchestrator.domain.ports import LaneName, PollQuestion
from orchestrator.services.lanes.context import DrainTime, LaneContext
from orchestrator.services.lanes.held import HeldPolls, PollWork, SetAlarm, set_loop_alarm
from orchestrator.services.lanes.leased import LeasedLane
from orchestrator.services.lanes.outcome import outcome_of_poll_error

log = logging.getLogger(__name__)

ROWS_PER_WRITE = 500  # as many as a claim takes: a transaction that is short for others too

Decided = tuple[Job, Decision]


@dataclass(frozen=True)
class PollResult:
    """How holding a row ended: with an answer to be written, or (None) called off by a pause, the last answer kept.

    `pause_number` names the pause that this answer asks for.
    """

    work: PollWork
    outcome: PollOutcome | None
    pause_number: int = 0


class PollLane(LeasedLane[PollWork]):
    """Claims and writes in groups; between them rows are held on a renewed lease, with no statement per question."""

    name = LaneName.POLL
    looks_when_finished = False

    def __init__(self, context: LaneContext, *, set_alarm: SetAlarm = set_loop_alarm) -> None:
        super().__init__(context, lease=context.limits.poll_lease)
        self._turns = asyncio.Semaphore(context.limits.poll_questions)
        self._held = HeldPolls(set_alarm)

    def claim(self, held: Collection[PollWork]) -> Sequence[PollWork]:
        """Lease due rows, a statement's worth at most."""
        limits = self._context.limits
        free = min(limits.poll_window - len(held), limits.poll_claim)
        if free <= 0:
            return []
        pauses_seen = self._held.written_count
        claim = self._claim_due(free, beside=[work for work in held if work.is_unanswered])
        time = DrainTime(claim.now, self._context.clock.monotonic())
        return [
            PollWork(_without_body(job), time, job.id in claim.probe_ids, pauses_seen)
            for job in self._without_poisoned(claim.rows)
        ]

    async def perform(self, work: PollWork) -> PollResult:
        """Ask, and ask again when it is time, until the answer must be written or a pause calls the row off."""
        with self._held.holding(work):
            while True:
                async with self._turns:
                    if self._held.is_called_off(work):
                        return PollResult(work, None)
                    outcome = await self._ask(work)
                reach(CrashPoint.POLL_ANSWERED)
                wait, pause_number = self._weigh(work, outcome)
                if wait is None:
                    return PollResult(work, outcome, pause_number)
                if not await self._held.wait(work, wait):
                    return PollResult(work, None)

    async def _ask(self, work: PollWork) -> PollOutcome:
        job = work.job
        try:
            return await self._context.provider.poll(PollQuestion(job.kind, job.model, job.provider_task_id or ""))
        except StepError as error:
            return outcome_of_poll_error(error)

    def _weigh(self, work: PollWork, outcome: PollOutcome) -> tuple[float | None, int]:
        """Return how long to wait before asking again, None when the answer must be written; and the pause's number."""
        context = self._context
        now = work.time.now(context.clock)
        decision = decide(work.job, outcome, context.rules, now, context.rng)
        if decision.pause is not None:
            return None, self._held.note_pause(decision.pause, work.job)
        if work.is_probe or not is_nothing_new(work.job, decision) or decision.due_at is None:
            return None, 0
        wait = decision.due_at - now
        if wait > context.limits.poll_hold or self._held.is_called_off(work):
            return None, 0
        work.keep(decision, now=now)
        return wait.total_seconds(), 0

    def apply(self, results: Sequence[PollResult]) -> None:
        """Write all decisions; rows that are no longer ours drop out quietly. What was called off goes back."""
        self._write([decided for result in results if (decided := self._find_decision(result))])
        self._give_back([r.work for r in results if r.outcome is None and r.work.decision is None])
        self._held.note_written(max((result.pause_number for result in results), default=0))

    def renew(self, held: Collection[PollWork]) -> Collection[PollWork]:
        """Extend the leases; return what another has taken over or a pause has given back."""
        renewed = self._context.jobs.renew_polls([work.describe() for work in held], lease=self._lease)
        reach(CrashPoint.POLLS_RENEWED)
        time = DrainTime(renewed.now, self._context.clock.monotonic())
        kept = [work for work in held if work.job.id in renewed.job_ids]
        for work in kept:
            work.time = time
        return [work for work in held if work.job.id not in renewed.job_ids]

    def release(self, held: Collection[PollWork]) -> None:
        """Give the rows back, due when they would have been asked: a restart must not ask about all of them at once."""
        self._write([decided for work in held if (decided := work.find_unwritten())])
        reach(CrashPoint.ROWS_GIVEN_BACK)
        self._give_back([work for work in held if work.decision is None])

    def _find_decision(self, result: PollResult) -> Decided | None:
        if result.outcome is None:
            return result.work.find_unwritten()
        context, job = self._context, result.work.counted
        decision = decide(job, result.outcome, context.rules, result.work.time.now(context.clock), context.rng)
        return job, replace(decision, last_running_at=result.work.last_running_at)

    def _write(self, decided: Sequence[Decided]) -> None:
        context = self._context
        for group in _in_groups(decided):
            applied = context.jobs.apply(group)
            reach(CrashPoint.POLLS_COMMITTED)
            for row in applied:
                if row.decision is not None and row.decision.records_event:
                    self._note_end(row.job_id, row.decision)

    def _note_end(self, job_id: str, decision: Decision) -> None:
        log.info("task_ended", extra={"job_id": job_id, "state": decision.target})
        self._context.wake_after(decision)

    def _give_back(self, unasked: Sequence[PollWork]) -> None:
        if unasked:
            super().release(unasked)


def _without_body(job: Job) -> Job:
    """Thousands of rows are held: what no answer needs is not kept."""
    return replace(job, body={}, input={}, tags={})


def _in_groups(decided: Sequence[Decided]) -> Iterator[Sequence[Decided]]:
    left = iter(decided)
    while group := list(islice(left, ROWS_PER_WRITE)):
        yield group

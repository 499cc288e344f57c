"""One sweep on demand: ask about running tasks, fetch what can be fetched, then the upkeep of archive and spool.
Nothing is submitted, so nothing is paid.

What workers do anyway, now: waiting times are cut short, leases are not, so workers may run meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import StepError
from orchestrator.domain.outcomes import OutputFailed, OutputLinkDead, OutputStored
from orchestrator.domain.ports import LaneName
from orchestrator.domain.ports.unarchived import UnarchivedOutputs
from orchestrator.domain.states import State
from orchestrator.services.lanes.archive import ArchiveLane, ArchiveResult
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost, Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.sweep import (
    abort_orphans,
    finish_batches,
    replay_dead_journals,
    sweep_spool,
    tell_at_risk,
    write_batch_files,
)

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
ROUNDS = 6
"""Of fetching and asking for fresh links: one more than a job asks for before it is held for a person."""
SHORTEST_WAIT_SECONDS = 0.1  # due, yet the drain left it: a worker holds it, or its lease has just ended; never spin
LONGEST_WAIT_SECONDS = 60.0  # workers beside may end what is waited for


@dataclass
class Tally:
    """What the fetching brought so far."""

    stored: int = 0
    failed: int = 0
    dead: int = 0
    ended: int = 0
    """Tasks that the provider said have ended, and fresh links that it gave."""


class ToldArchiveLane(ArchiveLane):
    """The archive lane that says what became of each output."""

    def __init__(self, context: LaneContext, tally: Tally, tell: Tell) -> None:
        super().__init__(context)
        self._tally = tally
        self._tell = tell

    def apply(self, results: Sequence[ArchiveResult]) -> None:
        """Write the decisions, then tell of them: what is told is in the table."""
        super().apply(results)
        for result in results:
            for output in result.step.results:
                self._note(result.work.job.id, output)
            if result.step.error is not None:
                self._tell(f"waits     {result.work.job.id}: {result.step.error}")

    def _note(self, job_id: str, output: OutputStored | OutputFailed | OutputLinkDead) -> None:
        match output:
            case OutputStored(file=file):
                self._tally.stored += 1
                self._tell(f"archived  {job_id}: {file.key}, {file.byte_count} bytes")
            case OutputFailed(code=code, message=message):
                self._tally.failed += 1
                self._tell(f"waits     {job_id}: {code}: {message}")
            case OutputLinkDead(message=message):
                self._tally.dead += 1
                self._tell(f"dead link {job_id}: {message}")


class ToldPollLane(PollLane):
    """The poll lane that says which tasks have ended, and how. Each row is asked about once in a drain."""

    def __init__(self, context: LaneContext, tally: Tally, tell: Tell) -> None:
        super().__init__(replace(context, limits=replace(context.limits, poll_hold=timedelta(0))))
        self._tally = tally
        self._tell = tell

    def _note_end(self, job_id: str, decision: Decision) -> None:
        super()._note_end(job_id, decision)
        self._tally.ended += decision.target is not State.PROCESSING
        if decision.target not in (State.PROCESSING, State.ARCHIVING):  # what is ready is told of once it is archived
            self._tell(f"ended     {job_id}: {decision.target}: {decision.reason}")


@dataclass(frozen=True)
class Sweep:
    """Who sweeps. `loop`: where the context's clients work. `may_ask` False: no key to ask the provider with.

    `must_wait`: stay until no task runs at the provider any more, or until nobody may be asked about it.
    """

    context: LaneContext
    loop: LoopThread
    outputs: UnarchivedOutputs
    stop: Stop
    may_ask: bool
    tell: Tell
    must_wait: bool = False


def sweep_archive(sweep: Sweep) -> Tally:
    """Ask about what runs, fetch what can be fetched, then run the upkeep; return what that brought.

    Raises StepError when the database cannot be reached. An archive that refuses is told of, and stops nothing.
    """
    tally = Tally()
    _keep_up(sweep, "journals", partial(replay_dead_journals, sweep.context))
    sweep.outputs.hurry()
    _fetch(sweep, tally)
    for name, run in (
        ("at risk", tell_at_risk),
        ("batches", finish_batches),
        ("files of batches", write_batch_files),
        ("spool", sweep_spool),
        ("uploads", abort_orphans),
    ):
        if not sweep.stop.is_requested:
            _keep_up(sweep, name, partial(run, sweep.context))
    return tally


def _fetch(sweep: Sweep, tally: Tally) -> None:
    context, mailboxes = sweep.context, Mailboxes()
    lanes = (ToldArchiveLane(context, tally, sweep.tell), ToldPollLane(context, tally, sweep.tell))
    host = LaneHost(lanes, loop=sweep.loop, clock=context.clock, mailboxes=mailboxes, stop=sweep.stop)
    while True:
        _drain_both(sweep, host, tally)
        if sweep.stop.is_requested or not (sweep.must_wait and sweep.may_ask):
            return
        running = sweep.outputs.count_running()
        due = [at for name in (LaneName.POLL, LaneName.ARCHIVE) if (at := context.jobs.find_next_due(name))]
        if not running or not due:
            return
        sweep.tell(f"{running} tasks are still running at the provider; interrupt to stop waiting")
        host.wait_for_note(LaneName.POLL, min(_seconds_until(min(due), context), LONGEST_WAIT_SECONDS))


def _drain_both(sweep: Sweep, host: LaneHost, tally: Tally) -> None:
    """Fetch and ask in turn, as long as asking brings something to fetch, or fetching something to ask about."""
    for _ in range(ROUNDS):
        before = (tally.stored, tally.dead)
        host.drain(LaneName.ARCHIVE)
        if sweep.stop.is_requested or not sweep.may_ask:
            return
        ended = tally.ended
        host.drain(LaneName.POLL)
        if (tally.stored, tally.dead) == before and tally.ended == ended:
            return


def _seconds_until(due: datetime, context: LaneContext) -> float:
    return max((due - context.clock.now()).total_seconds(), SHORTEST_WAIT_SECONDS)


def _keep_up(sweep: Sweep, name: str, run: Callable[[], str]) -> None:
    try:
        sweep.tell(f"{name}: {run()}")
    except StepError as error:
        log.warning("sweep_failed", extra={"sweep": name, "error": str(error)})
        sweep.tell(f"{name}: failed: {error}")

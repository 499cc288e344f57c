"""One sweep on demand: fetch what can be fetched, then the upkeep of archive and spool. Nothing is paid, nothing decided.

What workers do anyway, now: waiting times are cut short, leases are not, so workers may run meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from orchestrator.domain.errors import StepError
from orchestrator.domain.outcomes import OutputFailed, OutputLinkDead, OutputStored
from orchestrator.domain.ports import LaneName
from orchestrator.domain.ports.unarchived import UnarchivedOutputs
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


@dataclass
class Tally:
    """What the fetching brought so far."""

    stored: int = 0
    failed: int = 0
    dead: int = 0


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


@dataclass(frozen=True)
class Sweep:
    """Who sweeps. `loop`: where the context's clients work. `may_ask` False: no key to ask for fresh links with."""

    context: LaneContext
    loop: LoopThread
    outputs: UnarchivedOutputs
    stop: Stop
    may_ask: bool
    tell: Tell


def sweep_archive(sweep: Sweep) -> Tally:
    """Fetch what can be fetched, then run the upkeep; return what the fetching brought.

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
    asking = replace(context, limits=replace(context.limits, poll_hold=timedelta(0)))  # each row is asked about once
    lanes = (ToldArchiveLane(context, tally, sweep.tell), PollLane(asking))
    host = LaneHost(lanes, loop=sweep.loop, clock=context.clock, mailboxes=mailboxes, stop=sweep.stop)
    for _ in range(ROUNDS):
        before = (tally.stored, tally.dead)
        host.drain(LaneName.ARCHIVE)
        if sweep.stop.is_requested or not sweep.may_ask:
            return
        host.drain(LaneName.POLL)
        if (tally.stored, tally.dead) == before:
            return


def _keep_up(sweep: Sweep, name: str, run: Callable[[], str]) -> None:
    try:
        sweep.tell(f"{name}: {run()}")
    except StepError as error:
        log.warning("sweep_failed", extra={"sweep": name, "error": str(error)})
        sweep.tell(f"{name}: failed: {error}")

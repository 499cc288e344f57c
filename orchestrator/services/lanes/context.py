"""What every lane is given: ports, rules and the numbers of the settings. Built in wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from orchestrator.domain.decide import Decision
from orchestrator.domain.ports import (
    Batches,
    BatchReports,
    Clock,
    Fetch,
    Jobs,
    Journal,
    LaneName,
    Provider,
    Send,
    Stores,
    Wakeup,
)
from orchestrator.domain.ports.papers import Papers
from orchestrator.domain.ports.retention import Retention
from orchestrator.domain.ports.thumbnails import Thumbnails
from orchestrator.domain.ports.webhooks import Deliveries, Secrets
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import ACTIVE, State
from orchestrator.domain.webhooks import JOB_EVENTS


@dataclass(frozen=True)
class LaneLimits:
    """Numbers of the lanes. Leases and margins are design section 5's; windows are counts of rows in flight."""

    submit_window: int = 128
    """Paid calls in flight. The stock client takes as long for a call at 128 as at 16, and half as long again at 512;
    fewer make groups too small to settle cheaply. It is also how many calls a crash can leave unexplained.
    """
    poll_window: int = 20_000  # held between questions; docs/decisions/0006 has the memory and the work of each
    poll_claim: int = 500  # rows a claim takes at once: the knee of what PostgreSQL claims a second
    poll_questions: int = 100  # asked at once: as many as the client keeps connections
    poll_hold: timedelta = timedelta(seconds=60)  # a longer wait is cheaper written once than renewed three times
    archive_windows: Mapping[str, int] = field(default_factory=lambda: {"video": 4, "other": 8})
    submit_margin: timedelta = timedelta(seconds=60)
    poll_lease: timedelta = timedelta(seconds=60)
    archive_lease: timedelta = timedelta(seconds=120)
    sweep_lease: timedelta = timedelta(seconds=120)
    deliver_window: int = 32  # endpoints at a time: each has up to deliver_at_once requests under way
    deliver_failing: int = 16  # of which only fail or are slow: those that work always have the other half
    deliver_at_once: int = 8
    deliver_lease: timedelta = timedelta(seconds=60)
    sweep_every: timedelta = timedelta(seconds=30)
    output_max_bytes: int = 4 * 1024**3
    fetch_deadline: timedelta = timedelta(hours=1)
    max_unknown_per_hour: int = 20
    resubmit_max: int = 0  # ORCHESTRATOR_ON_UNKNOWN=hold: nothing is ever paid again by itself
    total_slots: int | None = None
    is_slot_held_until_final: bool = True
    call_deadlines: Mapping[str, timedelta] = field(default_factory=dict)
    task_lives: Mapping[str, timedelta] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivering:
    """What the deliver lane works with: it needs neither provider nor archive."""

    deliveries: Deliveries
    send: Send
    open_secrets: Callable[[], Secrets]
    """Opens the keeper of secrets. Raises ConfigError without a usable ORCHESTRATOR_SECRET_KEY."""
    clock: Clock
    rng: Random
    limits: LaneLimits
    process: str = ""
    """Begins its lease tokens, so that what it held can be given back once it is dead."""


@dataclass(frozen=True)
class LaneContext:
    """The ports and numbers of one process's lanes. `batch_id` narrows submitting (`run` submits only its own)."""

    jobs: Jobs
    batches: Batches
    reports: BatchReports
    retention: Retention
    papers: Papers
    provider: Provider
    stores: Stores
    fetch: Fetch
    journal: Journal
    clock: Clock
    wakeup: Wakeup
    rules: Rules
    rng: Random
    storing: Executor
    """Threads for the archive's long calls, so that they never hold those of the loop's short ones."""
    spool: Path
    archive_url: str
    limits: LaneLimits
    tool_version: str
    delivering: Delivering
    batch_id: str | None = None
    thumbnails: Thumbnails | None = None
    """None: none are wanted, or nothing that makes them is installed."""

    async def close(self) -> None:
        """Close every connection that is kept; on the event loop that used them."""
        await self.provider.close()
        await self.delivering.send.close()

    def deadline_of(self, kind: str) -> timedelta:
        """Return the call deadline of a kind: the setting, else the kind's own, else (a newer release's) the longest."""
        if kind in self.limits.call_deadlines:
            return self.limits.call_deadlines[kind]
        kinds = self.provider.kinds
        return kinds[kind].call_deadline if kind in kinds else max(known.call_deadline for known in kinds.values())

    def wake_after(self, decision: Decision | None) -> None:
        """Tell the lanes that a transition gave them work. Leaving a slot wakes submit.

        "Still running" is written by the poll lane itself, which looks at what is next anyhow.
        """
        if decision is None:
            return
        if decision.target is State.ARCHIVING:
            self.wakeup.wake(LaneName.ARCHIVE)
        if decision.target is State.PROCESSING and decision.source is not State.PROCESSING:
            self.wakeup.wake(LaneName.POLL)
        if decision.final_answer is not None or decision.source is State.SUBMITTING:
            self.wakeup.wake(LaneName.SUBMIT)
        if decision.target is State.SUCCEEDED:
            self.wakeup.wake(LaneName.SUBMIT)  # others may have waited for it
        if decision.target not in ACTIVE:
            self.wakeup.wake(LaneName.SWEEP)
        if decision.target in JOB_EVENTS and decision.target is not decision.source:
            self.wakeup.wake(LaneName.DELIVER)


@dataclass(frozen=True)
class DrainTime:
    """The drain's now: the claim's own time plus what has passed since on the monotonic clock."""

    claimed_at: datetime
    monotonic: float

    def now(self, clock: Clock) -> datetime:
        """Return the time that decisions about this claim's rows are made at."""
        return self.claimed_at + timedelta(seconds=max(clock.monotonic() - self.monotonic, 0.0))

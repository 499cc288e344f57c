"""What every lane is given: ports, rules and the numbers of the settings. Built in wiring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from orchestrator.domain.decide import Decision
from orchestrator.domain.ports import Batches, Clock, Fetch, Jobs, Journal, LaneName, Provider, Stores, Wakeup
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import ACTIVE, State


@dataclass(frozen=True)
class LaneLimits:
    """Numbers of the lanes. Leases and margins are design section 5's; windows are counts of rows in flight."""

    submit_window: int = 64
    poll_window: int = 200
    archive_windows: Mapping[str, int] = field(default_factory=lambda: {"video": 4, "other": 8})
    submit_margin: timedelta = timedelta(seconds=60)
    poll_lease: timedelta = timedelta(seconds=60)
    archive_lease: timedelta = timedelta(seconds=120)
    sweep_lease: timedelta = timedelta(seconds=120)
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
class LaneContext:
    """The ports and numbers of one process's lanes. `batch_id` narrows submitting (`run` submits only its own)."""

    jobs: Jobs
    batches: Batches
    provider: Provider
    stores: Stores
    fetch: Fetch
    journal: Journal
    clock: Clock
    wakeup: Wakeup
    rules: Rules
    rng: Random
    spool: Path
    archive_url: str
    limits: LaneLimits
    tool_version: str
    batch_id: str | None = None

    def deadline_of(self, kind: str) -> timedelta:
        """Return the call deadline of a kind: the setting, else the kind's own."""
        return self.limits.call_deadlines.get(kind, self.provider.kinds[kind].call_deadline)

    def wake_after(self, decision: Decision | None) -> None:
        """Tell the lanes that a transition gave them work. Leaving a slot wakes submit."""
        if decision is None:
            return
        if decision.target is State.ARCHIVING:
            self.wakeup.wake(LaneName.ARCHIVE)
        if decision.target is State.PROCESSING:
            self.wakeup.wake(LaneName.POLL)
        if decision.final_answer is not None or decision.source is State.SUBMITTING:
            self.wakeup.wake(LaneName.SUBMIT)
        if decision.target not in ACTIVE:
            self.wakeup.wake(LaneName.SWEEP)


@dataclass(frozen=True)
class DrainTime:
    """The drain's now: the claim's own time plus what has passed since on the monotonic clock."""

    claimed_at: datetime
    monotonic: float

    def now(self, clock: Clock) -> datetime:
        """Return the time that decisions about this claim's rows are made at."""
        return self.claimed_at + timedelta(seconds=max(clock.monotonic() - self.monotonic, 0.0))

"""Watching a batch run: what ended, how far it is, what it cost, and when waiting has become pointless."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.domain.job import Job
from orchestrator.domain.models import UNTIL_RESUMED
from orchestrator.domain.ports import Batches, Clock, JobCounts
from orchestrator.domain.progress import AnyHold, BudgetHold, Hold, Progress, SlotsHold, Spending, UnknownsHold
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.explain import describe_budget, describe_stop

PAUSE_PATIENCE = timedelta(minutes=15)  # surfaces section 1: a model pause ending later than this ends the run
STORE_PATIENCE = timedelta(minutes=10)  # the same for a store that refuses every write
OVERLAP = timedelta(minutes=2)  # rows commit out of order; nobody commits later than this after its finished_at
AT_ONCE = 500
MOVING = (State.SUBMITTING, State.PROCESSING, State.ARCHIVING)


@dataclass(frozen=True)
class Look:
    """One look at a batch. `obstacle` in words: waiting any longer is pointless; `obstacle_code` is whose fault."""

    counts: JobCounts
    ended: Sequence[Job]
    spending: Sequence[Spending]
    elapsed: timedelta
    obstacle: str | None
    obstacle_code: str | None = None
    is_stuck: bool = False
    """What is left waits for jobs that people have to settle."""
    stops: Sequence[str] = ()
    """Why nothing moves although nothing of it is paused, in words; each reason once in a watch."""

    @property
    def active_count(self) -> int:
        """Members that still move by themselves."""
        return sum(self.counts.by_state.get(state, 0) for state in ACTIVE)

    @property
    def is_done(self) -> bool:
        """Nothing is active any more; held jobs wait for people."""
        return self.active_count == 0


@dataclass
class BatchWatch:
    """Looks at one batch again and again; each ended member is reported once."""

    progress: Progress
    batches: Batches
    clock: Clock
    batch_id: str
    total_slots: int | None = None
    """Most tasks in flight over all models, where this run caps them."""
    _seen: set[str] = field(default_factory=set)
    _since: datetime | None = None
    _started: float | None = None
    _store_refused_since: float | None = None
    _told: set[tuple[str, str]] = field(default_factory=set)

    def look(self) -> Look:
        """Read how the batch stands now."""
        now = self.clock.monotonic()
        if self._started is None:
            self._started = now
        counts = self.batches.count_states(self.batch_id)
        ended = list(self._read_ended())
        holds = self._find_holds(counts.by_state)
        obstacle = self._find_obstacle(counts.by_state, holds, now, is_moving=bool(ended))
        return Look(
            counts=counts,
            ended=ended,
            spending=self.progress.sum_spending(self.batch_id),
            elapsed=timedelta(seconds=now - self._started),
            obstacle=obstacle and obstacle[0],
            obstacle_code=obstacle and obstacle[1],
            is_stuck=self._is_stuck(counts.by_state),
            stops=list(self._tell_stops(holds)),
        )

    def _find_holds(self, counts: Mapping[str, int]) -> Sequence[AnyHold | None]:
        """Return what holds the queued members while nothing else of the batch moves."""
        if any(counts.get(state, 0) for state in MOVING) or not counts.get(State.QUEUED, 0):
            return ()
        return self.progress.find_holds(self.batch_id, total_slots=self.total_slots)

    def _tell_stops(self, holds: Sequence[AnyHold | None]) -> Iterator[str]:
        for hold in holds:
            if isinstance(hold, UnknownsHold | SlotsHold) and (hold.code, hold.name) not in self._told:
                self._told.add((hold.code, hold.name))
                yield describe_stop(hold)

    def _is_stuck(self, counts: Mapping[str, int]) -> bool:
        """Counted after `counts`: a job that was let go since then is missing, and the next look sees it move."""
        queued = counts.get(State.QUEUED, 0)
        if not queued or not counts.get(State.NEEDS_REVIEW, 0) or any(counts.get(state, 0) for state in MOVING):
            return False
        return self.progress.count_waiting(self.batch_id) == queued

    def _read_ended(self) -> Iterator[Job]:
        """Yield members that ended since the last look, a stretch of overlap included."""
        since, after_id = self._since, ""
        while jobs := self.progress.list_ended(self.batch_id, since=since, after_id=after_id, limit=AT_ONCE):
            for job in jobs:
                if job.id not in self._seen:
                    self._seen.add(job.id)
                    yield job
            last = jobs[-1]
            assert last.finished_at is not None
            since, after_id = last.finished_at, last.id
            self._since = last.finished_at - OVERLAP

    def _find_obstacle(
        self, counts: Mapping[str, int], holds: Sequence[AnyHold | None], now: float, *, is_moving: bool
    ) -> tuple[str, str | None] | None:
        if refusal := self._find_store_refusal(counts, now, is_moving=is_moving):
            minutes = STORE_PATIENCE.total_seconds() / 60
            text = f"the archive has refused every write for {minutes:.0f} minutes: {refusal}"
            return text, refusal.partition(":")[0]
        now_at = self.clock.now()
        if not holds or not all(hold is not None and _is_pointless(hold, now_at) for hold in holds):
            return None
        pauses = [hold for hold in holds if isinstance(hold, Hold)]
        if not pauses:
            return _tell_budget(holds)
        hold = pauses[0]
        whom = "the account" if hold.is_credential else f"model {hold.name}"
        if hold.until >= UNTIL_RESUMED:
            return f"every job left waits for {whom}, which is paused {hold.message}", hold.code
        why = f"{hold.message or 'paused'} [{hold.code}]"
        return f"every job left waits for {whom}: {why}; the pause ends at {hold.until:%Y-%m-%d %H:%M} UTC", hold.code

    def _find_store_refusal(self, counts: Mapping[str, int], now: float, *, is_moving: bool) -> str | None:
        """Return what the store says (`code: words`) once it has refused everything for too long."""
        errors = self.progress.list_archive_errors(self.batch_id) if counts.get(State.ARCHIVING, 0) else []
        is_refusing = bool(errors) and all(error and error.startswith("store_") for error in errors)
        if not is_refusing or is_moving:
            self._store_refused_since = None
            return None
        if self._store_refused_since is None:
            self._store_refused_since = now
        if now - self._store_refused_since < STORE_PATIENCE.total_seconds():
            return None
        return errors[0]


def _tell_budget(holds: Sequence[AnyHold | None]) -> tuple[str, str]:
    hold = next(hold for hold in holds if isinstance(hold, BudgetHold))
    return f"every job left is paused: budget; {describe_budget(hold)}", hold.code


def _is_pointless(hold: AnyHold, now: datetime) -> bool:
    """A pause whose time has passed is about to be probed: whoever has topped the account up may go on. A budget waits
    for a person: nothing is in flight any more that could give money back.
    """
    if isinstance(hold, BudgetHold):
        return True
    if not isinstance(hold, Hold):
        return False  # a call that lets go, an unknown that ages: both go on by themselves
    return hold.until > (now if hold.is_credential else now + PAUSE_PATIENCE)

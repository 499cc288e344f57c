"""What the poll and archive lanes share: rows leased by token, renewed in one statement, given back on a stop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.decide import Decision, decide_poisoned
from orchestrator.domain.errors import StepError
from orchestrator.domain.job import Claim, Job
from orchestrator.domain.poison import InFlight
from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.context import LaneContext

log = logging.getLogger(__name__)


class LeasedWork(Protocol):
    """Work on one leased job."""

    @property
    def job(self) -> Job:
        """The job as claimed, its lease_token ours."""


W = TypeVar("W", bound=LeasedWork)


class LeasedLane(Generic[W]):
    """Renews every third of the lease; a row that is not ours any more is dropped.

    A job whose step killed its worker too often is handed to a person before it kills another.
    """

    name: LaneName
    looks_when_finished = True
    finishes_when_stopped = False

    def __init__(self, context: LaneContext, *, lease: timedelta) -> None:
        self._context = context
        self._lease = lease
        self.renew_every_seconds: float | None = lease.total_seconds() / 3

    def _claim_due(self, limit: int, archive_class: str | None = None, *, beside: Iterable[W] = ()) -> Claim[Job]:
        """Lease due rows that may be performed beside these: suspects are few at once, or alone (domain.poison)."""
        context = self._context
        claim = context.jobs.claim_due(
            self.name,
            limit=limit,
            lease=self._lease,
            archive_class=archive_class,
            process=context.journal.process,
            in_flight=InFlight.of([work.job.death_count for work in beside]),
        )
        if claim.rows:
            reach(CrashPoint.POLLS_CLAIMED if self.name is LaneName.POLL else CrashPoint.ARCHIVES_CLAIMED)
        return claim

    def _without_poisoned(self, rows: Sequence[Job]) -> list[Job]:
        now = self._context.clock.now()
        allowed = self._context.rules.deaths_allowed
        poisoned = [(job, decide_poisoned(job, now)) for job in rows if job.death_count >= allowed]
        if poisoned:
            self._put_aside(poisoned)
        for job, _ in poisoned:
            log.error("job_poisoned", extra={"job_id": job.id, "lane": self.name, "death_count": job.death_count})
        return [job for job in rows if job.death_count < allowed]

    def _put_aside(self, poisoned: Sequence[tuple[Job, Decision]]) -> None:
        """Write the moves of poisoned jobs. A failure must not cost the other rows of the claim their lease."""
        try:
            self._context.jobs.apply(poisoned)
        except StepError as error:
            fields = {"lane": self.name, "result_count": len(poisoned), "error": str(error)}
            log.warning("apply_postponed", extra=fields)

    def renew(self, held: Collection[W]) -> Collection[W]:
        """Extend the leases of what is in flight; return what another has taken over."""
        kept = self._context.jobs.renew(_tokens(held), lease=self._lease)
        reach(CrashPoint.ARCHIVES_RENEWED)  # polls are renewed in their own way
        return [work for work in held if work.job.id not in kept]

    def release(self, held: Collection[W]) -> None:
        """Give the rows back, due now."""
        self._context.jobs.release(_tokens(held))
        reach(CrashPoint.ROWS_GIVEN_BACK)

    def find_next_due(self) -> datetime | None:
        """Return when the lane next has something due."""
        return self._context.jobs.find_next_due(self.name)


def _tokens(held: Collection[W]) -> dict[str, str]:
    return {work.job.id: work.job.lease_token or "" for work in held}

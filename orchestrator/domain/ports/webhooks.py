"""What webhooks ask of the database and of the keeper of secrets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.access import AuditEntry
from orchestrator.domain.job import Batch, Job
from orchestrator.domain.ports.batches import JobCounts
from orchestrator.domain.ports.reports import Costs
from orchestrator.domain.webhooks import DeliveryRecord, DeliveryState, Endpoint, Turn, TurnReport


@dataclass(frozen=True)
class BatchEnd:
    """A batch that has just finished, with what its object is made of."""

    batch: Batch
    counts: JobCounts
    costs: Sequence[Costs]
    unpriced_count: int


class Render(Protocol):
    """Writes the body of an event. Called inside the transaction of the state change: it reads and asks nothing."""

    def __call__(self, event_type: str, subject: Job | BatchEnd | Endpoint, *, at: datetime, sequence: int) -> str:
        """Return compact JSON."""


class Secrets(Protocol):
    """Makes, seals and opens the secrets of endpoints."""

    @property
    def default_secret(self) -> str:
        """The project's secret."""

    def new_secret(self) -> str:
        """Return a fresh one."""

    def seal(self, secret: str, *, endpoint_id: str) -> str:
        """Return the text to store."""

    def open(self, sealed: str, *, endpoint_id: str) -> str:
        """Return the secret. Raises ConfigError when it was sealed with another key."""


@dataclass(frozen=True)
class TurnWindow:
    """How much a claim may take. Of its `limit` turns at most `failing_limit` go to endpoints that only fail, or are
    among the `slow`.
    """

    limit: int
    failing_limit: int
    per_endpoint: int
    lease: timedelta
    process: str = ""
    slow: Collection[str] = ()


@dataclass(frozen=True)
class ClaimedTurns:
    """The turns of one claim, and its time."""

    turns: tuple[Turn, ...]
    now: datetime


class Deliveries(Protocol):
    """The deliver lane's half. Raises Transient("database_unavailable") when the database is away."""

    def claim_turns(self, window: TurnWindow) -> ClaimedTurns:
        """Lease endpoints with due deliveries, whoever waited longest first, and a few deliveries of each."""

    def claim_one(self, delivery_id: str, *, lease: timedelta, process: str) -> ClaimedTurns:
        """Lease the endpoint of a due delivery for a turn of that one alone; no turn while another process has a turn of it."""

    def renew(self, held: Mapping[str, str], *, lease: timedelta) -> frozenset[str]:
        """Extend the leases {endpoint id: token}; return the ids that are still ours."""

    def apply(self, reports: Sequence[TurnReport]) -> frozenset[str]:
        """Write what turns brought and end their leases; return the ids of endpoints that were still theirs."""

    def find_next_due(self) -> datetime | None:
        """Return when the next attempt is due."""

    def count_pending(self) -> int:
        """Count deliveries that are still to be made."""


class Endpoints(Protocol):
    """Endpoints and their deliveries as persons handle them. Raises NotFound and Conflict."""

    def add(self, endpoint: Endpoint) -> None:
        """Insert a global endpoint."""

    def get(self, endpoint_id: str) -> Endpoint:
        """Return one, deleted ones too."""

    def list_all(
        self,
        *,
        owner: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        is_failing: bool = False,
    ) -> Sequence[Endpoint]:
        """Return those that are not deleted, in the order of their ids; with `owner`, only theirs, with `is_failing` only
        those whose last attempt failed.
        """

    def set_enabled(self, endpoint_id: str, *, reason: str | None) -> Endpoint:
        """Enable (`reason` None) or disable: what was queued for it is cancelled."""

    def delete(self, endpoint_id: str) -> None:
        """Disable for good and forget its secrets; its log stays."""

    def rotate(self, endpoint_id: str, sealed: str, *, overlap: timedelta) -> Endpoint:
        """Give it a new secret; the one before signs beside it for `overlap`."""

    def add_test(self, endpoint_id: str) -> str:
        """Record a webhook.test event for this endpoint alone; return the delivery's id."""

    def get_delivery(self, delivery_id: str) -> DeliveryRecord:
        """Return one with its attempts."""

    def list_deliveries(
        self,
        *,
        endpoint_id: str | None,
        states: Sequence[DeliveryState],
        limit: int,
        after: str | None,
        owner: str | None = None,
        job_id: str | None = None,
    ) -> Sequence[DeliveryRecord]:
        """Return the newest first, with their attempts; with `owner`, only those to their endpoints, with `job_id` only
        those of its events.
        """

    def resend(self, delivery_id: str) -> None:
        """Make it due now, whatever became of it."""

    def resend_failed(self, *, since: datetime, owner: str | None = None, audit: AuditEntry | None = None) -> int:
        """Make every delivery due that was given up since then and whose endpoint is enabled; return how many. With
        `owner`, only those to their endpoints; with `audit`, that line is written with them, and says how many.
        """

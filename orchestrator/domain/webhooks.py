"""Webhook values: who hears, what is said, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.deliveries import Delivered, DeliveryDecision, Disable, Held
from orchestrator.domain.ports.send import Sent
from orchestrator.domain.states import State

ALL_OF_JOBS = ("job.*", "batch.finished")
"""What an endpoint hears that nobody was asked about: one that a job or a batch named."""
DELETED = "deleted"

JOB_EVENTS = {
    State.SUCCEEDED: "job.succeeded",
    State.FAILED: "job.failed",
    State.CANCELLED: "job.cancelled",
    State.NEEDS_REVIEW: "job.needs_review",
}
AT_RISK = "job.at_risk"
BATCH_FINISHED = "batch.finished"
ENDPOINT_DISABLED = "webhook_endpoint.disabled"
TEST = "webhook.test"


class DeliveryState(StrEnum):
    """Pending until it is delivered, given up (failed), or its endpoint was disabled or deleted (cancelled)."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class SealedSecrets:
    """What signs for an endpoint; `sealed` is None when the project's default secret does."""

    sealed: str | None = field(default=None, repr=False)
    previous: str | None = field(default=None, repr=False)
    previous_until: datetime | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where events go. Global ones hear every job of their owner, others those that named them."""

    id: str
    owner: str
    url: str
    patterns: tuple[str, ...]
    is_global: bool
    created_at: datetime
    secrets: SealedSecrets = SealedSecrets()
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    deleted_at: datetime | None = None
    failing_since: datetime | None = None
    last_success_at: datetime | None = None


@dataclass(frozen=True)
class DueDelivery:
    """A delivery whose time has come. `attempt` is its place in the schedule, from 1."""

    id: str
    event_id: str
    event_type: str
    body: str
    attempt: int


@dataclass(frozen=True)
class Turn:
    """One endpoint, leased, with a few of its due deliveries."""

    endpoint: Endpoint
    token: str
    deliveries: tuple[DueDelivery, ...]


@dataclass(frozen=True)
class Attempt:
    """One attempt of a turn, with what follows from it."""

    delivery_id: str
    at: datetime
    sent: Sent
    decision: DeliveryDecision

    @property
    def is_delivered(self) -> bool:
        """The receiver has it."""
        return isinstance(self.decision, Delivered)

    @property
    def is_held(self) -> bool:
        """The receiver was not even asked: it says nothing about it, and counts for no place in the schedule."""
        return isinstance(self.decision, Held)


@dataclass(frozen=True)
class TurnReport:
    """What a turn brought; `disable` when the endpoint is to take no more events."""

    endpoint_id: str
    token: str
    attempts: tuple[Attempt, ...]
    disable: Disable | None = None


@dataclass(frozen=True)
class AttemptRecord:
    """A row of the delivery log."""

    number: int
    at: datetime
    duration_ms: int
    status: int | None
    code: str | None
    message: str
    answer_head: str
    next_due_at: datetime | None


@dataclass(frozen=True)
class DeliveryRecord:
    """A delivery as people are shown it, its attempts in order."""

    id: str
    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    job_id: str | None
    batch_id: str | None
    state: DeliveryState
    attempt_count: int
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[AttemptRecord, ...] = ()

"""Figures over every owner: what a monitor asks for every few seconds, and what is known of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Duration:
    """Sum and number of durations of one kind and model: their mean over any time is the ratio of two differences."""

    kind: str
    model: str
    total_seconds: float
    count: int


@dataclass(frozen=True)
class ModelPause:
    """A pause of a model or, with `model` None, of the whole account."""

    model: str | None
    until: datetime
    code: str | None
    message: str | None


@dataclass(frozen=True)
class Totals:
    """What the whole history adds up to: every row is read for it."""

    jobs: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Jobs in a final state by (state, kind, model)."""
    failures: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Failed jobs by (code, kind, model)."""
    queue_waits: Sequence[Duration] = ()
    """From acceptance, or the time that was asked for, to the provider's first acceptance."""
    provider_times: Sequence[Duration] = ()
    """From the paid call's intent to the provider's final answer."""
    notice_lags: Sequence[Duration] = ()
    """From when a task was last known to run to when its end was heard of: the end went unnoticed for at most that."""
    cost_micros: Mapping[str, int] = field(default_factory=dict)
    """What is known to have been paid, by currency."""
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """Webhook deliveries by state."""


@dataclass(frozen=True)
class Figures:
    """One look at what is going on: only rows that live are read for it."""

    at: datetime
    jobs: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Jobs that are active or held, by (state, kind, model)."""
    oldest_queued_at: datetime | None = None
    oldest_poll_at: datetime | None = None
    """Since when the longest waiting question is due that nobody asks; None: none is, or it is paused."""
    soonest_expiry_at: datetime | None = None
    """The earliest end of a link whose output is not archived yet."""
    unknown_count: int = 0
    """Paid calls that nobody can explain and nobody has decided about."""
    slots_held: Mapping[str, int] = field(default_factory=dict)
    slot_limits: Mapping[str, int] = field(default_factory=dict)
    """What an operator set over the settings, by model."""
    pauses: Sequence[ModelPause] = ()
    oldest_delivery_at: datetime | None = None
    """When the event happened that has waited longest for its endpoint."""
    failing_endpoint_count: int = 0


class FiguresSource(Protocol):
    """Reads the figures. Raises Transient when the database is away."""

    def read(self, *, is_slot_held_until_final: bool) -> Figures:
        """Return them as of one moment."""

    def read_totals(self) -> Totals:
        """Add up the history as of one moment."""

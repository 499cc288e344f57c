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
class Figures:
    """One look at the whole job table."""

    at: datetime
    jobs: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """By (state, kind, model)."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed jobs by code."""
    queue_waits: Sequence[Duration] = ()
    """From acceptance, or the time that was asked for, to the provider's first acceptance."""
    provider_times: Sequence[Duration] = ()
    """From the paid call's intent to the provider's final answer."""
    oldest_queued_at: datetime | None = None
    soonest_expiry_at: datetime | None = None
    """The earliest end of a link whose output is not archived yet."""
    cost_micros: Mapping[str, int] = field(default_factory=dict)
    """What is known to have been paid, by currency."""
    unknown_count: int = 0
    """Paid calls that nobody can explain and nobody has decided about."""
    slots_held: Mapping[str, int] = field(default_factory=dict)
    pauses: Sequence[ModelPause] = ()


class FiguresSource(Protocol):
    """Reads the figures."""

    def read(self, *, is_slot_held_until_final: bool) -> Figures:
        """Return them as of one moment."""

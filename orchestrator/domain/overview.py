"""What is going on now and what the last day brought, for whoever looks at the console: one owner's, or everybody's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.figures import ModelPause

DAY_HOURS = 24
AT_RISK_WITHIN = timedelta(hours=12)
"""Half of the day that most links live (zai-api.md 7): an output that is not archived by then is worth a look."""


@dataclass(frozen=True)
class HourCount:
    """How many jobs ended in one hour, by state; `hour` is its beginning."""

    hour: datetime
    by_state: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())


@dataclass(frozen=True)
class Overview:
    """One look. Slots and pauses are the account's, whoever asks; everything else is the owner's."""

    at: datetime
    going: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Jobs that are active or held, by (state, model)."""
    hours: Sequence[HourCount] = ()
    """The last DAY_HOURS hours, the present one included, oldest first."""
    cost_today: Mapping[str, int] = field(default_factory=dict)
    """What is known to be paid for jobs submitted since midnight UTC, in micro-units by currency."""
    at_risk_count: int = 0
    """Jobs whose outputs are not archived and whose links end within AT_RISK_WITHIN."""
    soonest_expiry_at: datetime | None = None
    unknown_count: int = 0
    """Paid calls that nobody can explain and nobody has decided about."""
    slots_held: Mapping[str, int] = field(default_factory=dict)
    slot_limits: Mapping[str, int] = field(default_factory=dict)
    """Those that an operator set over the settings."""
    pauses: Sequence[ModelPause] = ()

    def count(self, *states: str) -> int:
        """Return how many jobs are in one of these states, active or held."""
        return sum(number for (state, _), number in self.going.items() if state in states)

    def ended(self, *states: str) -> int:
        """Return how many jobs ended so in the hours shown."""
        return sum(hour.by_state.get(state, 0) for hour in self.hours for state in states)

    @property
    def models(self) -> frozenset[str]:
        """Models with jobs that are active or held."""
        return frozenset(model for _, model in self.going)


class OverviewSource(Protocol):
    """Reads it."""

    def read_overview(self, *, owner: str | None, is_slot_held_until_final: bool) -> Overview:
        """Return it as of one moment; `owner` None: of everybody's jobs."""

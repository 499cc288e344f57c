"""What was used: counts, money, and what came of it, added up over jobs; the port that adds it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class GroupBy(StrEnum):
    """What one row of usage is about."""

    MODEL = "model"
    BATCH = "batch"
    TAG = "tag"
    DAY = "day"


@dataclass(frozen=True)
class UsageRow:
    """The jobs of one group that are priced in one currency (None: without a price). Money in micro-units.

    `group`: a model, a batch's id (None: no batch), `name=value` of a tag, a UTC day, or None for all jobs. `final` adds
    up what is known to have been charged, `estimate` the table prices of all; `unknown_count`: charges that nobody can
    know. `media_seconds` and `byte_count` are of the archived outputs.
    """

    group: str | None
    currency: str | None
    job_count: int
    succeeded_count: int
    failed_count: int
    cancelled_count: int
    held_count: int
    submission_count: int
    estimate_micros: int
    final_micros: int
    unknown_count: int
    output_count: int = 0
    byte_count: int = 0
    media_seconds: float = 0.0

    @property
    def active_count(self) -> int:
        """Jobs that go on."""
        return self.job_count - self.succeeded_count - self.failed_count - self.cancelled_count - self.held_count


class Usage(Protocol):
    """Adds up."""

    def sum_usage(self, by: GroupBy | None, *, since: datetime | None, owner: str | None = None) -> Sequence[UsageRow]:
        """Return a row per group and currency over jobs created from `since` on, by group; without `by` one per currency.

        A job with several tags counts under each; one without tags under none. With `owner`, only that owner's jobs.
        Raises QueryTooSlow.
        """

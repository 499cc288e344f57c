"""The port through which a running batch is watched, and the values it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.job import Job


@dataclass(frozen=True)
class Spending:
    """Money of a batch in one currency, in micro-units. `unknown_count`: charges that nobody can know."""

    currency: str
    spent_micros: int
    unknown_count: int


@dataclass(frozen=True)
class Hold:
    """A pause that keeps a queued job waiting. `is_credential`: the whole account."""

    name: str
    until: datetime
    code: str | None
    message: str | None
    is_credential: bool


@dataclass(frozen=True)
class BudgetHold:
    """A batch's budget that has no room for what comes next, in micro-units.

    `charged_micros` is what its submissions cost or may cost; `next_micros` None: the job has no price.
    """

    batch_id: str
    limit_micros: int
    charged_micros: int
    next_micros: int | None
    code: str = "budget"


@dataclass(frozen=True)
class UnknownsHold:
    """Too many calls of the trailing hour ended unknown: nothing of the credential is submitted until `until`."""

    name: str
    count: int
    limit: int
    until: datetime
    code: str = "too_many_unknowns"


@dataclass(frozen=True)
class SlotHolder:
    """An unexplained call that holds a slot although nothing of it is asked about: `until` its assumed life ends."""

    job_id: str
    number: int
    until: datetime


@dataclass(frozen=True)
class SlotsHold:
    """Every slot of a model is taken, some by calls that nobody can explain. `until`: when one is free at the latest as
    far as those go. `name` empty: not a model's slots, but all that may be in flight at once.
    """

    name: str
    slots: int
    holders: tuple[SlotHolder, ...]
    until: datetime
    code: str = "slots_held"


AnyHold = Hold | BudgetHold | UnknownsHold | SlotsHold
"""What keeps a queued job from being submitted."""


class Progress(Protocol):
    """Reads about one batch."""

    def list_ended(self, batch_id: str, *, since: datetime | None, after_id: str, limit: int) -> Sequence[Job]:
        """Return final members by (finished_at, id) from `since` on, behind `after_id` at that time; with outputs."""

    def list_held(self, batch_id: str) -> Sequence[Job]:
        """Return the members in needs_review, with their submissions."""

    def sum_spending(self, batch_id: str) -> Sequence[Spending]:
        """Add up what the members cost so far, per currency."""

    def find_holds(self, batch_id: str, *, total_slots: int | None = None) -> Sequence[AnyHold | None]:
        """Return, for every model with queued members that wait for no other job, the pause that holds it the longest,
        else the budget that holds all its members, else the stop for too many unknowns, else unexplained calls in its
        slots, or in those of all models where `total_slots` caps them; None when nothing does.
        """

    def count_waiting(self, batch_id: str) -> int:
        """Return how many queued members wait for other jobs."""

    def find_hold(self, job_id: str) -> AnyHold | None:
        """Return the first that holds a queued job, in the order of `find_holds`; None when nothing does."""

    def list_archive_errors(self, batch_id: str) -> Sequence[str | None]:
        """Return last_error of the members in archiving."""

    def find_last_sweep(self) -> datetime | None:
        """Return when a sweep last began: a process that runs lanes was there then."""

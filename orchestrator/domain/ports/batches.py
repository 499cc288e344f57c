"""Batches and intake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.access import LOCAL
from orchestrator.domain.job import Batch, NewJob


@dataclass(frozen=True)
class JobCounts:
    """Jobs per state, and when the next queued or active one is due."""

    by_state: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())


@dataclass(frozen=True)
class Member:
    """One line of a batch and the job that answers it."""

    line_number: int
    job_id: str
    custom_id: str | None
    body_sha256: str


@dataclass(frozen=True)
class UnpaidCost:
    """What the queued members of a batch will cost; those without a table price are counted.

    `charged_micros`: what the submissions of its own jobs cost or may cost already. `linked_micros`: the part of `micros`
    that is of jobs which other batches made; it is charged to those (docs/decisions/0013).
    """

    micros: int
    unpriced_count: int
    charged_micros: int = 0
    linked_micros: int = 0

    @property
    def total_micros(self) -> int:
        """What is charged to the batch if every queued member is paid for."""
        return self.micros - self.linked_micros + self.charged_micros


class Batches(Protocol):
    """Batches and intake."""

    def find_newest(self, identity_sha256: str, environment: str) -> Batch | None:
        """Return the newest batch of this identity."""

    def get(self, batch_id: str) -> Batch:
        """Raises NotFound."""

    def create(self, batch: Batch) -> None:
        """Insert a running batch whose intake is not done.

        Raises Conflict when there is one of the same identity, environment and generation: two processes that take
        the same file at the same moment must end in one batch, or every line is paid twice.
        """

    def add_jobs(
        self, batch_id: str, jobs: Sequence[NewJob], *, actor: str, links: Sequence[tuple[int, str, str]] = ()
    ) -> int:
        """Insert jobs with their `accepted` events in one transaction, and make `links` members with them; lines
        already there (batch, line_number) are left alone. Return how many jobs were new: none once the intake is done
        or the batch's cancellation was asked for.
        """

    def link_webhook(self, batch_id: str, url: str) -> None:
        """Let a webhook hear of the batch and of its jobs from now on; naming it again changes nothing."""

    def link_job_webhooks(self, owner: str, urls: Mapping[str, str]) -> int:
        """Let the URL of each job id hear of that job from now on, beside whoever hears of it already. Return how many of
        the jobs have ended: of those it hears nothing unless they are tried again.
        """

    def find_last_line(self, batch_id: str) -> int:
        """Return the last line that is in, 0 before the first: the checkpoint of an intake that adds lines in order."""

    def link_existing(self, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
        """Make jobs of other batches members of this one: (line number, custom_id, job id). Jobs added by `add_jobs`
        are members too; membership, not jobs.batch_id, is what counts, finishes and is submitted by a run. Lines
        that are members already are left alone: an intake that was killed is repeated whole.
        """

    def find_equal(
        self, environment: str, keys: Sequence[tuple[str, str]], *, outside: str | None = None, owner: str = LOCAL
    ) -> Mapping[tuple[str, str], str]:
        """Return {(custom_id, body_sha256): job id} of this owner's jobs in this environment that equal these lines, jobs
        inserted for the batch `outside` left out: of several the one that came furthest, of equals the newest.
        """

    def list_members(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[Member]:
        """Return members with a line number above `after_line`, in input order."""

    def price_unpaid(self, batch_id: str) -> UnpaidCost:
        """Add up what running the batch may still cost, and what it has cost or may have."""

    def price_family(self, batch_id: str) -> UnpaidCost:
        """The same of a batch and all that try it again, each job once, for the batch that it is charged to."""

    def set_budget(self, batch_id: str, micros: int) -> Sequence[str]:
        """Let the jobs of a batch and of all that try it again cost so much in all from now on, and raise the budgets of the
        batches that it tries again by what they lack for it, all in one write; return the ids of those that were raised.
        Every claim sees it whole, or began before. Raises NotFound.
        """

    def finish_intake(self, batch_id: str) -> None:
        """Every line is in."""

    def finish_done(self) -> Sequence[str]:
        """Close running batches whose intake is done and that have no active job; return those closed just now."""

    def count_states(self, batch_id: str) -> JobCounts:
        """Count the members per state."""

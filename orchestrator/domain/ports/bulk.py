"""Changing many jobs that a query found: in groups, so that thousands take seconds and no transaction is long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Job
from orchestrator.domain.states import State


@dataclass(frozen=True)
class ChangedGroup:
    """What one group came to: where each job went, those that got the cancel flag, and why the others were left."""

    moved: Mapping[str, State]
    flagged_count: int
    refused: Mapping[str, str]


class BulkJobs(Protocol):
    """What reads and changes groups of jobs."""

    def load(self, job_ids: Sequence[str]) -> Sequence[Job]:
        """Return these jobs as decisions need them: with submissions, outputs and those that they depend on."""

    def change_group(
        self, job_ids: Sequence[str], change: Callable[[Job, datetime], Decision | None], *, actor: str, reason: str
    ) -> ChangedGroup:
        """Lock these jobs and write what `change` returns for each, in one transaction.

        Those for which it returns nothing get the cancel flag; those that it refuses by a Conflict are left alone.
        """

"""Cancelling a whole batch: in groups, so that fifty thousand jobs take seconds and no transaction is long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Job


@dataclass(frozen=True)
class CancelledGroup:
    """What one group came to. `last_line` None: there was none left behind the line asked for."""

    last_line: int | None
    stopped_count: int
    flagged_count: int


class BatchCancels(Protocol):
    """What stops a batch."""

    def request_cancel(self, batch_id: str) -> None:
        """Note that it was asked for and close its intake: lines that are not in yet stay out. Raises NotFound."""

    def cancel_group(
        self,
        batch_id: str,
        change: Callable[[Job, datetime], Decision | None],
        *,
        after_line: int,
        actor: str,
        reason: str,
    ) -> CancelledGroup:
        """Write what `change` returns for the next group of queued, submitting and processing members, in one
        transaction; those for which it returns nothing get the cancel flag.
        """

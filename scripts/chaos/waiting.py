"""Waits until no job is at work any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.domain.errors import StepError
from orchestrator.domain.query import Filter
from orchestrator.domain.states import ACTIVE
from orchestrator.wiring import App

EVERY_SECONDS = 0.3


def count_active(app: App) -> int | None:
    """Return how many jobs are at work, None while the database is away."""
    try:
        counts = app.history.count_jobs(Filter())
    except StepError:
        return None
    return sum(counts.get(state, 0) for state in ACTIVE)


def wait_for_end(app: App, *, seconds: float, meanwhile: Callable[[], None]) -> bool:
    """Return True once nothing is active, False when the time is up: the rest is counted as lost."""
    give_up_at = time.monotonic() + seconds
    while count_active(app) != 0:
        if time.monotonic() > give_up_at:
            return False
        meanwhile()
        time.sleep(EVERY_SECONDS)
    return True

"""What `doctor --fix` does: the maintenance that a worker does anyway, now. It costs nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from orchestrator.domain.errors import StepError
from orchestrator.services.doctor.look import Look
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.sweep import (
    LAPSED_AT_ONCE,
    abort_orphans,
    finish_batches,
    replay_dead_journals,
    settle_lapsed,
    sweep_spool,
)

MOST_PASSES = 1_000


def run_maintenance(context: LaneContext) -> tuple[Look, ...]:
    """Run every maintenance task once and return what each said; one that fails does not keep the others."""
    tasks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("dead journals", partial(replay_dead_journals, context)),
        ("lapsed calls", partial(_settle_all_lapsed, context)),
        ("batches", partial(finish_batches, context)),
        ("spool", partial(sweep_spool, context)),
        ("uploads", partial(abort_orphans, context)),
    )
    return tuple(Look(name, _said(run)) for name, run in tasks)


def _said(run: Callable[[], str]) -> str:
    try:
        return run()
    except StepError as error:
        return f"failed: {error}"


def _settle_all_lapsed(context: LaneContext) -> str:
    """A sweep takes some at a time; here none is left for the next one."""
    count = 0
    for _ in range(MOST_PASSES):
        found = len(context.jobs.find_lapsed_submissions(limit=LAPSED_AT_ONCE))
        if not found:
            break
        settle_lapsed(context)
        count += found
    return f"{count} lapsed submissions are unknown now, their jobs held"

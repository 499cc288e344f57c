"""The budget of a batch and of all that try it again: what is left of it, and how it is changed."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.errors import BudgetError
from orchestrator.domain.ports import Batches, BatchReports
from orchestrator.services.batches import refuse_unpriced, show_micros


@dataclass(frozen=True)
class Given:
    """What changing a budget came to, in micro-units: the budget before, and the ids of the batches that this one tries
    again whose budgets were raised by what they lacked for it.
    """

    former: int | None
    raised: tuple[str, ...]


def give_budget(batches: Batches, batch_id: str, micros: int) -> Given:
    """Change what a batch, and all that try it again, may cost in all. Safe to repeat. Raises NotFound, BudgetError."""
    former = batches.get(batch_id).max_cost_micros
    require_family_within(batches, batch_id, micros)
    return Given(former, tuple(batches.set_budget(batch_id, micros)))


def require_family_within(batches: Batches, batch_id: str, limit: int) -> None:
    """Raise BudgetError unless what a batch and all that try it again have charged and queued is within the limit: a
    lower one would only stop them half-way.
    """
    cost = batches.price_family(batch_id)
    refuse_unpriced(cost.unpriced_count)
    if cost.total_micros > limit:
        charged, total = show_micros(cost.charged_micros), show_micros(cost.total_micros)
        raise BudgetError(
            f"the batch and its retries come to {total} with what is queued ({charged} is charged or may be); "
            f"at most {show_micros(limit)} was allowed",
            hint="raise it, or cancel first what is not to be paid for",
        )


def find_left(batches: Batches, reports: BatchReports, batch_id: str) -> int | None:
    """Return what may still be spent on trying a batch again; None where nothing limits it.

    A budget is for a batch and all that try it again, so those of the batches that this one tries again bind as well.
    """
    family = {batch.id: batch for batch in reports.list_family(batch_id)}
    left: list[int] = []
    binding: str | None = batch_id
    while binding is not None and binding in family:
        if (limit := family[binding].max_cost_micros) is not None:
            left.append(max(limit - batches.price_family(binding).total_micros, 0))
        binding = family[binding].parent_id
    return min(left, default=None)

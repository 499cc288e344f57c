"""The batch object and the rows that lists of batches and of their errors show. Names and their order are a promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain import codes
from orchestrator.domain.advice import Catalogue, Source
from orchestrator.domain.job import Batch
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Costs, ErrorGroup, JobCounts
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.batches import show_micros
from orchestrator.services.explain import REFUSALS
from orchestrator.services.views import Object, show_time

OURS = Catalogue(codes.entries())


def batch_object(batch: Batch, counts: JobCounts, costs: Sequence[Costs], *, unpriced_count: int = 0) -> Object:
    """Return the batch object: its counts per state (`held` are those in needs_review), its money, its times."""
    by_state = counts.by_state
    return {
        "id": batch.id,
        "object": "batch",
        "name": batch.name,
        "status": batch_status(batch, counts),
        "environment": batch.environment,
        "identity_sha256": batch.identity_sha256,
        "generation": batch.generation,
        "parent_id": batch.parent_id,
        "line_count": batch.line_count,
        "refused_count": batch.refused_count,
        "done_count": counts.total - count_active(counts),
        "job_counts": {"total": counts.total, **{str(state): by_state.get(state, 0) for state in State}},
        "cost": cost_object(batch, costs, unpriced_count=unpriced_count),
        "archive_url": batch.archive_url,
        "created_at": show_time(batch.created_at),
        "cancel_requested_at": show_time(batch.cancel_requested_at),
        "finished_at": show_time(batch.finished_at),
        "files_written_at": show_time(batch.files_written_at),
    }


def batch_status(batch: Batch, counts: JobCounts) -> str:
    """Return one word: taking_in, running, or finished; finished means that nothing in it moves by itself."""
    if not batch.is_intake_done:
        return "taking_in"
    return "running" if count_active(counts) else "finished"


def count_active(counts: JobCounts) -> int:
    """Return how many members still move by themselves."""
    return sum(counts.by_state.get(state, 0) for state in ACTIVE)


def cost_object(batch: Batch, costs: Sequence[Costs], *, unpriced_count: int) -> Object:
    """Return the money of a batch; the table has one currency, and a second one is listed beside it."""
    first = costs[0] if costs else Costs("USD", 0, 0, 0)
    value: Object = {
        "currency": first.currency,
        "estimate": show_micros(first.estimate_micros),
        "final": show_micros(first.final_micros),
        "unknown_count": sum(each.unknown_count for each in costs),
        "unpriced_count": unpriced_count,
        "max": show_micros(batch.max_cost_micros) if batch.max_cost_micros is not None else None,
    }
    if others := costs[1:]:
        value["others"] = [
            {"currency": c.currency, "estimate": show_micros(c.estimate_micros), "final": show_micros(c.final_micros)}
            for c in others
        ]
    return value


def error_group_object(group: ErrorGroup, kinds: Mapping[str, Kind]) -> Object:
    """Return members that ended alike without success: how many, what to do, and a few to look at."""
    return {
        "code": group.code or str(group.state),
        "provider_code": group.provider_code,
        "status": str(group.state),
        "count": group.count,
        "advice": _advise(group, kinds),
        "examples": list(group.example_ids),
    }


def _advise(group: ErrorGroup, kinds: Mapping[str, Kind]) -> str | None:
    """A refusal's advice is the provider's own where any kind knows the code; the rest is ours."""
    if group.state is State.NEEDS_REVIEW:
        entry = OURS.find(group.provider_code, Source.SUBMISSION)
        return entry.advice if entry else codes.LOOK_AT_PROVIDER
    if group.code in REFUSALS and group.provider_code:
        theirs = (kind.advise(group.provider_code) for kind in kinds.values())
        if advice := next((text for text in theirs if text), None):
            return advice
    entry = OURS.find(group.code or str(group.state), Source.JOB)
    return entry.advice if entry else None

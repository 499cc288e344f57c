"""What was used, as it is shown: the counts, money and files of each group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.domain.usage import GroupBy, Usage, UsageRow
from orchestrator.services.batches import show_micros
from orchestrator.services.views import Object


def list_usage(
    usage: Usage, by: GroupBy | None, *, since: datetime | None, owner: str | None = None
) -> Iterator[Object]:
    """Yield a usage object per group and currency. Raises QueryTooSlow."""
    for row in usage.sum_usage(by, since=since, owner=owner):
        yield usage_object(row, by)


def usage_object(row: UsageRow, by: GroupBy | None) -> Object:
    """Return the usage object. `cost.final` is what is known to be charged; `cost.unknown_count` says how much is not."""
    return {
        "object": "usage",
        "by": str(by) if by is not None else None,
        "group": row.group,
        "jobs": row.job_count,
        "succeeded": row.succeeded_count,
        "failed": row.failed_count,
        "cancelled": row.cancelled_count,
        "needs_review": row.held_count,
        "active": row.active_count,
        "submissions": row.submission_count,
        "cost": {
            "currency": row.currency,
            "estimate": show_micros(row.estimate_micros),
            "final": show_micros(row.final_micros),
            "unknown_count": row.unknown_count,
        },
        "outputs": row.output_count,
        "bytes": row.byte_count,
        "seconds": round(row.media_seconds, 3),
    }

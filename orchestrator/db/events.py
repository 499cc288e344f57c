"""Rows of the history. Their numbers come from jobs.sequence, raised by the same transaction's write of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from sqlalchemy import Connection

from orchestrator.db.inserts import insert_many
from orchestrator.db.rows import table_of
from orchestrator.db.tables import JobEventRow
from orchestrator.db.types import clean_text
from orchestrator.domain import ids
from orchestrator.domain.states import State

EVENTS = table_of(JobEventRow)


@dataclass(frozen=True)
class EventDraft:
    """An event of one job before it has a number."""

    type: str
    source: State | None
    target: State | None
    actor: str
    reason: str
    data: Mapping[str, object] = field(default_factory=dict)


def append_events(
    connection: Connection,
    drafts: Mapping[str, Sequence[EventDraft]],
    last_sequences: Mapping[str, int],
    *,
    now: datetime,
    rng: Random,
) -> None:
    """Write each job's drafts in order, the last of them with the number in `last_sequences`."""
    insert_many(connection, EVENTS, make_event_rows(drafts, last_sequences, now=now, rng=rng))


def make_event_rows(
    drafts: Mapping[str, Sequence[EventDraft]], last_sequences: Mapping[str, int], *, now: datetime, rng: Random
) -> list[dict[str, object]]:
    """Return the rows of `append_events`."""
    return [
        {
            "id": ids.make_id(ids.EVENT, now=now, rng=rng),
            "job_id": job_id,
            "sequence": last_sequences[job_id] - len(events) + position,
            "type": event.type,
            "from_state": event.source,
            "to_state": event.target,
            "at": now,
            "actor": event.actor,
            "reason": clean_text(event.reason),
            "data": dict(event.data),
        }
        for job_id, events in drafts.items()
        for position, event in enumerate(events, start=1)
    ]

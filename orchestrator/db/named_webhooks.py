"""Webhooks that a job or a batch named: one endpoint for each URL of an owner, signed with the project's secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from sqlalchemy import Connection, select, update

from orchestrator.db.endpoint_rows import make_endpoint_row
from orchestrator.db.inserts import insert_missing
from orchestrator.db.outbox import ENDPOINTS, LINKS
from orchestrator.domain import ids
from orchestrator.domain.webhooks import ALL_OF_JOBS, Endpoint


@dataclass(frozen=True)
class Named:
    """Who named which URL: exactly one of job and batch."""

    owner: str
    url: str
    job_id: str | None = None
    batch_id: str | None = None


def link_webhooks(connection: Connection, named: Sequence[Named], *, now: datetime, rng: Random) -> None:
    """Make the endpoints that are missing and link them. One that was deleted comes back; a disabled one stays so."""
    if not named:
        return
    wanted = sorted({(each.owner, each.url) for each in named})
    insert_missing(connection, ENDPOINTS, [_row(owner, url, now, rng) for owner, url in wanted])
    found = _find(connection, wanted)
    _bring_back(connection, list(found.values()))
    links = [
        {"endpoint_id": found[each.owner, each.url], "job_id": each.job_id, "batch_id": each.batch_id} for each in named
    ]
    insert_missing(connection, LINKS, links)


def inherit_webhooks(connection: Connection, child_id: str, parent_id: str) -> None:
    """Let whoever hears of a batch hear of one that tries it again."""
    query = select(LINKS.c.endpoint_id).where(LINKS.c.batch_id == parent_id)
    endpoints = connection.execute(query).scalars().all()
    links = [{"endpoint_id": endpoint_id, "job_id": None, "batch_id": child_id} for endpoint_id in endpoints]
    if links:
        insert_missing(connection, LINKS, links)


def _row(owner: str, url: str, now: datetime, rng: Random) -> dict[str, object]:
    endpoint_id = ids.make_id(ids.ENDPOINT, now=now, rng=rng)
    return make_endpoint_row(Endpoint(endpoint_id, owner, url, ALL_OF_JOBS, is_global=False, created_at=now))


def _find(connection: Connection, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    owners, urls = {owner for owner, _ in wanted}, {url for _, url in wanted}
    theirs = ENDPOINTS.c.owner.in_(owners) & ENDPOINTS.c.url.in_(urls) & ~ENDPOINTS.c.is_global
    rows = connection.execute(select(ENDPOINTS.c.id, ENDPOINTS.c.owner, ENDPOINTS.c.url).where(theirs))
    return {(row.owner, row.url): row.id for row in rows}


def _bring_back(connection: Connection, endpoint_ids: Sequence[str]) -> None:
    deleted = ENDPOINTS.c.id.in_(endpoint_ids) & ENDPOINTS.c.deleted_at.is_not(None)
    values = dict.fromkeys(("deleted_at", "disabled_at", "disabled_reason", "failing_since"))
    connection.execute(update(ENDPOINTS).where(deleted).values(values))

"""Endpoints as rows, and what lane and persons do to them alike: disabling one, cancelling what is queued for it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, literal_column, select, update

from orchestrator.db import outbox
from orchestrator.db.engine import Database
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS
from orchestrator.db.tokens import token_prefix
from orchestrator.db.types import clean_text
from orchestrator.domain.errors import NotFound
from orchestrator.domain.webhooks import DeliveryState, Endpoint, SealedSecrets

WHERE = "shows those that are here; `run --sandbox` keeps its own, in `sandbox` below its data directory"
"""Ends the hint at what was not found."""


def read_endpoint(row: RowMapping) -> Endpoint:
    """Return the endpoint in a row that holds every column of `webhook_endpoints`."""
    secrets = SealedSecrets(row["sealed_secret"], row["sealed_previous"], row["previous_until"])
    return Endpoint(
        id=row["id"],
        owner=row["owner"],
        url=row["url"],
        patterns=tuple(row["patterns"]),
        is_global=row["is_global"],
        created_at=row["created_at"],
        secrets=secrets,
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
        deleted_at=row["deleted_at"],
        failing_since=row["failing_since"],
        last_success_at=row["last_success_at"],
    )


def make_endpoint_row(endpoint: Endpoint) -> dict[str, object]:
    """Return the row of an endpoint that nobody has leased yet."""
    return {
        "id": endpoint.id,
        "owner": endpoint.owner,
        "url": endpoint.url,
        "patterns": list(endpoint.patterns),
        "is_global": endpoint.is_global,
        "uses_default_secret": endpoint.secrets.sealed is None,
        "sealed_secret": endpoint.secrets.sealed,
        "sealed_previous": None,
        "previous_until": None,
        "disabled_at": None,
        "disabled_reason": None,
        "deleted_at": None,
        "failing_since": None,
        "last_success_at": None,
        "created_at": endpoint.created_at,
        "lease_token": None,
        "leased_until": None,
    }


def no_endpoint(endpoint_id: str) -> NotFound:
    """Return what to raise, with where to look."""
    return NotFound(f"there is no endpoint {endpoint_id}", hint=f"`orchestrator webhooks list` {WHERE}")


def lock_endpoint(connection: Connection, endpoint_id: str) -> Endpoint:
    """Return the endpoint, locked. Raises NotFound, also for one that was deleted."""
    query = select(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id, ENDPOINTS.c.deleted_at.is_(None)).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise no_endpoint(endpoint_id)
    return read_endpoint(row)


def disable(connection: Connection, endpoint: Endpoint, reason: str, *, now: datetime, database: Database) -> None:
    """Let it take no more events: what is queued is cancelled, whoever held it is fenced out, the owner is told."""
    values = {"disabled_at": now, "disabled_reason": clean_text(reason), "lease_token": None, "leased_until": now}
    connection.execute(update(ENDPOINTS).where(ENDPOINTS.c.id == endpoint.id).values(values))
    cancel_pending(connection, [endpoint.id], now=now)
    stored = connection.execute(select(ENDPOINTS).where(ENDPOINTS.c.id == endpoint.id)).mappings().one()
    outbox.record_disabled(connection, read_endpoint(stored), now=now, database=database)


def release_dead(connection: Connection, process: str, now: datetime) -> int:
    """Give back, for a turn at once, the endpoints that a dead process holds; return how many. What it had sent is sent again."""
    prefix = token_prefix(process)
    is_theirs = ENDPOINTS.c.lease_token.is_not(None) & (func.substr(ENDPOINTS.c.lease_token, 1, len(prefix)) == prefix)
    return connection.execute(update(ENDPOINTS).where(is_theirs).values(lease_token=None, leased_until=now)).rowcount


def cancel_pending(connection: Connection, endpoint_ids: Collection[str], *, now: datetime) -> None:
    """Cancel what is queued for these endpoints."""
    queued = (DELIVERIES.c.endpoint_id.in_(endpoint_ids)) & (DELIVERIES.c.state == literal_column("'pending'"))
    values = {"state": DeliveryState.CANCELLED, "due_at": None, "finished_at": now}
    connection.execute(update(DELIVERIES).where(queued).values(values))

"""Endpoints as persons add, rotate and test them, and the last deliveries of a process that ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from orchestrator.domain import ids
from orchestrator.domain.errors import RequestError
from orchestrator.domain.ports import Clock, Send
from orchestrator.domain.ports.webhooks import Endpoints, Secrets
from orchestrator.domain.subscriptions import parse_subscription
from orchestrator.domain.webhooks import ALL_OF_JOBS, Endpoint, SealedSecrets

LONGEST_OVERLAP = timedelta(days=30)
"""Longer, and a secret that got out signs for a month."""


@dataclass(frozen=True)
class EndpointDesk:
    """What it takes to look after endpoints."""

    endpoints: Endpoints
    send: Send
    open_secrets: Callable[[], Secrets]
    clock: Clock
    rng: Random
    owner: str = "local"


@dataclass(frozen=True)
class WithSecret:
    """An endpoint and its new secret, which is shown this once."""

    endpoint: Endpoint
    secret: str


def add_endpoint(desk: EndpointDesk, url: str, events: Sequence[str] = ALL_OF_JOBS) -> WithSecret:
    """Add an endpoint that hears all of its owner's events of these types. Raises RequestError for a URL or a type."""
    desk.send.check(url)
    patterns = parse_subscription(events)
    box, now = desk.open_secrets(), desk.clock.now()
    endpoint_id = ids.make_id(ids.ENDPOINT, now=now, rng=desk.rng)
    secret = box.new_secret()
    sealed = SealedSecrets(box.seal(secret, endpoint_id=endpoint_id))
    endpoint = Endpoint(endpoint_id, desk.owner, url, patterns, is_global=True, created_at=now, secrets=sealed)
    desk.endpoints.add(endpoint)
    return WithSecret(endpoint, secret)


def rotate_secret(desk: EndpointDesk, endpoint_id: str, *, overlap: timedelta) -> WithSecret:
    """Give an endpoint a new secret; the one before signs beside it for `overlap`. Raises RequestError, Conflict, NotFound."""
    if overlap > LONGEST_OVERLAP:
        raise RequestError(f"the old secret may sign for at most {LONGEST_OVERLAP.days} days more", param="overlap")
    box = desk.open_secrets()
    secret = box.new_secret()
    sealed = box.seal(secret, endpoint_id=endpoint_id)
    return WithSecret(desk.endpoints.rotate(endpoint_id, sealed, overlap=overlap), secret)

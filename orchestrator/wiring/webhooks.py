"""What sends webhooks, seals their secrets, and judges foreign URLs at intake."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from functools import cache
from random import Random

from orchestrator.config import Settings
from orchestrator.db.deliveries import SqlDeliveries
from orchestrator.db.engine import Database
from orchestrator.domain.errors import ConfigError, NotListed, Permanent, RequestError
from orchestrator.domain.ports import Clock
from orchestrator.egress import EgressGuard, GuardedPost
from orchestrator.services.jobfile.fields import Judge
from orchestrator.services.lanes.context import Delivering, LaneLimits
from orchestrator.webhooks import SecretBox, WebhookSender, read_or_make_key
from orchestrator.wiring.names import DISTRIBUTION


def make_delivering(settings: Settings, clock: Clock, rng: Random, database: Database) -> Delivering:
    """Return what the deliver lane works with."""
    return Delivering(
        deliveries=SqlDeliveries(database, rng=rng),
        send=make_sender(settings),
        open_secrets=cache(lambda: make_secret_box(settings)),
        clock=clock,
        rng=rng,
        limits=_make_deliver_limits(settings),
    )


def _make_deliver_limits(settings: Settings) -> LaneLimits:
    plain = LaneLimits()
    return replace(plain, deliver_lease=settings.leases.get("deliver", plain.deliver_lease))


def make_sender(settings: Settings) -> WebhookSender:
    """Return what sends events to endpoints; to be closed on the event loop that sent."""
    post = GuardedPost(allow=settings.egress_allow, ca_bundle=settings.ca_bundle)
    return WebhookSender(post, version=importlib.metadata.version(DISTRIBUTION))


def webhook_judge(settings: Settings) -> Judge:
    """Return the guard's look at a webhook's URL. It raises RequestError, and ConfigError where nothing could be signed."""
    open_sender = cache(lambda: make_sender(settings))

    def judge(url: str) -> None:
        _require_secret_key(settings)
        open_sender().check(url)

    return judge


def make_link_judge(settings: Settings) -> Judge:
    """Return the guard's look at an input's link: spelling, port and literal address. It raises RequestError."""
    guard = EgressGuard(settings.egress_allow)

    def judge(url: str) -> None:
        try:
            guard.check(url)
        except Permanent as refused:
            raise RequestError(refused.message, hint=_hint_at(refused)) from refused

    return judge


def _hint_at(refused: Permanent) -> str:
    if isinstance(refused, NotListed):
        return f"name the file instead; if it is meant, an operator adds {refused.entry} to ORCHESTRATOR_EGRESS_ALLOW"
    return "name the file instead, or write the link as https://host/path"


def make_secret_box(settings: Settings) -> SecretBox:
    """Return what seals the secrets of endpoints. Raises ConfigError as `read_secret_key`."""
    return SecretBox(read_secret_key(settings))


def read_secret_key(settings: Settings) -> str:
    """Return the installation's key. On the data directory's own SQLite one is made on first need.

    Raises ConfigError naming the setting when there is none: processes that share a server's job table must share it.
    """
    _require_secret_key(settings)
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().strip()
    return read_or_make_key(settings.secret_key_file)


def _require_secret_key(settings: Settings) -> None:
    if settings.secret_key is None and not settings.database.startswith("sqlite"):
        raise ConfigError(
            "ORCHESTRATOR_SECRET_KEY",
            "needed for webhooks and API keys: every process on this database works with it; `openssl rand -base64 32` makes one",
        )

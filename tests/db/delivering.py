"""Runs the deliver lane a turn at a time against receivers that are played, on a database of either sort."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from orchestrator.db.deliveries import SqlDeliveries
from orchestrator.db.endpoints import SqlEndpoints
from orchestrator.domain import ids
from orchestrator.domain.ports import Sending, Sent
from orchestrator.domain.webhooks import DeliveryRecord, Endpoint, SealedSecrets
from orchestrator.services.lanes.context import Delivering, LaneLimits
from orchestrator.services.lanes.deliver import DeliverLane, DeliverWork
from orchestrator.services.webhook_bodies import EventBodies
from orchestrator.webhooks import SecretBox
from tests.db.driver import Driver

KEY = "a key of an installation, long enough"
OK = Sent(200, None, "the endpoint answered 200", "thanks", None, timedelta(milliseconds=12))
SLOW = Sent(200, None, "the endpoint answered 200", "thanks", None, timedelta(seconds=10))
DOWN = Sent(None, "connect_failed", "nobody listens there", "", None, timedelta(milliseconds=1))
GONE = Sent(410, "http_410", "the endpoint answered 410", "", None, timedelta(milliseconds=5))


@dataclass
class Receivers:
    """Plays every receiver: answers by URL, keeps what it was sent."""

    answers: dict[str, Sent] = field(default_factory=lambda: defaultdict(lambda: OK))
    received: list[Sending] = field(default_factory=list)
    before: Callable[[Sending], None] = lambda _: None

    async def send(self, sending: Sending) -> Sent:
        self.before(sending)
        self.received.append(sending)
        return self.answers[sending.url]

    def check(self, url: str) -> None:
        """Every URL may be an endpoint here."""

    async def close(self) -> None:
        """Nothing is open."""

    def counts(self) -> Mapping[str, int]:
        """Return how often each event was received."""
        return Counter(sending.message_id for sending in self.received)


class Post:
    """The deliver lane of one process, and what persons do beside it."""

    def __init__(self, driver: Driver, **limits: object) -> None:
        self.clock = driver.clock
        database = replace(driver.database, render=EventBodies({}), rng=Random(3))
        self.driver = Driver(database, driver.clock)
        self.box = SecretBox(KEY)
        self.receivers = Receivers()
        self.deliveries = SqlDeliveries(database)
        self.endpoints = SqlEndpoints(database)
        plain = replace(LaneLimits(), **limits)  # type: ignore[arg-type]
        self.lane = DeliverLane(
            Delivering(self.deliveries, self.receivers, lambda: self.box, driver.clock, Random(5), plain)
        )

    def add(self, url: str = "https://hooks.example/all", *patterns: str, owner: str = "local") -> Endpoint:
        """Insert a global endpoint with a secret of its own."""
        rng, now = self.driver.database.rng, self.clock.now()
        endpoint_id = ids.make_id(ids.ENDPOINT, now=now, rng=rng)
        sealed = self.box.seal(self.box.new_secret(), endpoint_id=endpoint_id)
        endpoint = Endpoint(endpoint_id, owner, url, patterns or ("job.*",), True, now, SealedSecrets(sealed))
        self.endpoints.add(endpoint)
        return endpoint

    def claim(self) -> Sequence[DeliverWork]:
        """Take the turns that a claim takes."""
        return self.lane.claim([])

    def perform(self, works: Sequence[DeliverWork]) -> None:
        """Send what the turns hold."""

        async def perform() -> None:
            for work in works:
                await self.lane.perform(work)

        asyncio.run(perform())

    def take_turns(self) -> int:
        """Claim, send and write until nothing is due; return how many turns there were."""
        count = 0
        while works := self.claim():
            self.perform(works)
            self.lane.apply(works)
            count += len(works)
        return count

    def go_on_for(self, span: timedelta) -> None:
        """Let the time pass and deliver whatever comes due in it."""
        end = self.clock.now() + span
        while (due := self.deliveries.find_next_due()) is not None and due <= end:
            self.clock.advance(max(due - self.clock.now(), timedelta(0)))
            self.take_turns()
        self.clock.advance(end - self.clock.now())

    def records(self, endpoint: Endpoint | None = None) -> Sequence[DeliveryRecord]:
        """Return every delivery, the newest first."""
        endpoint_id = endpoint.id if endpoint else None
        return self.endpoints.list_deliveries(endpoint_id=endpoint_id, states=(), limit=100_000, after=None)

"""The deliver lane: leases endpoints with due deliveries in turns, sends a few of each at once, writes what came back.

A dead or slow endpoint holds its own turn and nobody else's; those that only fail or are slow share half of the places.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.deliveries import (
    SECRET_UNUSABLE,
    Delivered,
    Disable,
    Exhausted,
    Held,
    Retry,
    decide_delivery,
    is_delivered,
)
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.ports import LaneName, Sending, Sent
from orchestrator.domain.ports.webhooks import TurnWindow
from orchestrator.domain.webhooks import Attempt, DueDelivery, Endpoint, Turn, TurnReport
from orchestrator.services.lanes.context import Delivering, DrainTime

log = logging.getLogger(__name__)

SLOW = timedelta(seconds=2)
"""Who takes longer to answer holds its place from others, whatever it answers."""
REMEMBERED = 10_000


@dataclass(frozen=True)
class Answer:
    """What came of one delivery of a turn, and when it was sent."""

    delivery: DueDelivery
    at: datetime
    sent: Sent


@dataclass
class DeliverWork:
    """One turn under way. `answers` fill as they come: a stop half-way still writes those that did."""

    turn: Turn
    time: DrainTime
    answers: list[Answer] = field(default_factory=list)


class DeliverLane:
    """Turns of leased endpoints."""

    name = LaneName.DELIVER
    looks_when_finished = True
    finishes_when_stopped = True

    def __init__(self, tools: Delivering) -> None:
        self._tools = tools
        self._slow: dict[str, None] = {}  # by their last turns in this process: a new one learns it by one turn of each
        self.renew_every_seconds: float | None = tools.limits.deliver_lease.total_seconds() / 3

    def claim(self, held: Collection[DeliverWork]) -> Sequence[DeliverWork]:
        """Lease endpoints into the free places."""
        limits, clock = self._tools.limits, self._tools.clock
        limited = sum(self._is_limited(work) for work in held)
        window = TurnWindow(
            limit=limits.deliver_window - len(held),
            failing_limit=limits.deliver_failing - limited,
            per_endpoint=limits.deliver_at_once,
            lease=limits.deliver_lease,
            process=self._tools.process,
            slow=self._slow,
        )
        if window.limit <= 0:
            return []
        claimed = self._tools.deliveries.claim_turns(window)
        if claimed.turns:
            reach(CrashPoint.DELIVERIES_CLAIMED)
        time = DrainTime(claimed.now, clock.monotonic())
        return [DeliverWork(turn, time) for turn in claimed.turns]

    def claim_one(self, delivery_id: str) -> Sequence[DeliverWork]:
        """Take a turn of one due delivery alone; nothing while another process has a turn of its endpoint."""
        limits, clock = self._tools.limits, self._tools.clock
        claimed = self._tools.deliveries.claim_one(delivery_id, lease=limits.deliver_lease, process=self._tools.process)
        time = DrainTime(claimed.now, clock.monotonic())
        return [DeliverWork(turn, time) for turn in claimed.turns]

    def _is_limited(self, work: DeliverWork) -> bool:
        """Return True for a turn that takes of the failing's and the slow's share: a long one does even before it ends."""
        endpoint = work.turn.endpoint
        is_slow = endpoint.id in self._slow or work.time.now(self._tools.clock) - work.time.claimed_at > SLOW
        return is_slow or endpoint.failing_since is not None

    async def perform(self, work: DeliverWork) -> DeliverWork:
        """Send the deliveries of the turn, all at once."""
        await asyncio.gather(*(self._send(work, delivery) for delivery in work.turn.deliveries))
        return work

    async def _send(self, work: DeliverWork, delivery: DueDelivery) -> None:
        at = work.time.now(self._tools.clock)
        endpoint = work.turn.endpoint
        try:
            secrets = self._secrets_of(endpoint, at)
        except ConfigError as error:
            log.error("delivery_unsigned", extra={"endpoint_id": endpoint.id, "error": str(error)})  # noqa: TRY400 - an operator's mistake, told by its words
            sent = Sent(None, SECRET_UNUSABLE, str(error), "", None, timedelta(0))
        else:
            body = delivery.body.encode()
            sent = await self._tools.send.send(Sending(endpoint.url, delivery.event_id, at, body, secrets))
        reach(CrashPoint.EVENT_SENT)
        work.answers.append(Answer(delivery, at, sent))

    def _secrets_of(self, endpoint: Endpoint, at: datetime) -> tuple[str, ...]:
        """Return what signs: the previous secret too while it still does, and opens.

        Who lost the key that sealed a secret is told to rotate: the overlap must not keep the new one from signing.
        """
        kept, box = endpoint.secrets, self._tools.open_secrets()
        if kept.sealed is None:
            return (box.default_secret,)
        signing = (box.open(kept.sealed, endpoint_id=endpoint.id),)
        if kept.previous is None or kept.previous_until is None or at >= kept.previous_until:
            return signing
        try:
            return (*signing, box.open(kept.previous, endpoint_id=endpoint.id))
        except ConfigError as error:
            log.warning("previous_secret_unusable", extra={"endpoint_id": endpoint.id, "error": str(error)})
            return signing

    def apply(self, results: Sequence[DeliverWork]) -> None:
        """Decide and write; an endpoint that was disabled or taken over meanwhile is left alone."""
        for work in results:
            self._note_pace(work)
        reports = [self._report(work) for work in results]
        ours = self._tools.deliveries.apply(reports)
        reach(CrashPoint.DELIVERIES_COMMITTED)
        for work, report in zip(results, reports, strict=True):
            _tell(work, report, is_ours=report.endpoint_id in ours)

    def _note_pace(self, work: DeliverWork) -> None:
        if not work.answers:
            return
        self._slow.pop(work.turn.endpoint.id, None)
        if any(answer.sent.duration > SLOW for answer in work.answers):
            self._slow[work.turn.endpoint.id] = None
        if len(self._slow) > REMEMBERED:
            del self._slow[next(iter(self._slow))]

    def _report(self, work: DeliverWork) -> TurnReport:
        endpoint = work.turn.endpoint
        is_well = any(is_delivered(answer.sent) for answer in work.answers)
        since = None if is_well else endpoint.failing_since
        now = work.time.now(self._tools.clock)
        attempts = tuple(
            Attempt(
                answer.delivery.id,
                answer.at,
                answer.sent,
                decide_delivery(
                    answer.delivery.attempt, answer.sent, now=now, rng=self._tools.rng, failing_since=since
                ),
            )
            for answer in work.answers
        )
        return TurnReport(endpoint.id, work.turn.token, attempts, _disabled_by(attempts))

    def renew(self, held: Collection[DeliverWork]) -> Collection[DeliverWork]:
        """Extend the leases; return what another has taken over, or what was disabled."""
        tokens = {work.turn.endpoint.id: work.turn.token for work in held}
        kept = self._tools.deliveries.renew(tokens, lease=self._tools.limits.deliver_lease)
        return [work for work in held if work.turn.endpoint.id not in kept]

    def release(self, held: Collection[DeliverWork]) -> None:
        """End the turns: what was answered is written, the rest is due as before."""
        self.apply(list(held))

    def find_next_due(self) -> datetime | None:
        """Return when the next attempt is due."""
        return self._tools.deliveries.find_next_due()


def _disabled_by(attempts: Sequence[Attempt]) -> Disable | None:
    decisions = (attempt.decision for attempt in attempts)
    reasons = [d.disable for d in decisions if isinstance(d, Exhausted) and d.disable is not None]
    return Disable.GONE if Disable.GONE in reasons else next(iter(reasons), None)


def _tell(work: DeliverWork, report: TurnReport, *, is_ours: bool) -> None:
    """One line an attempt; failures of other people's servers are expected."""
    if not is_ours:
        log.info("deliveries_fenced", extra={"endpoint_id": report.endpoint_id, "answers": len(work.answers)})
        return
    for answer, attempt in zip(work.answers, report.attempts, strict=True):
        fields = {
            "delivery_id": answer.delivery.id,
            "event_id": answer.delivery.event_id,
            "endpoint_id": report.endpoint_id,
            "status": answer.sent.status,
            "reason": answer.sent.message,
        }
        match attempt.decision:
            case Delivered():
                log.info("event_delivered", extra=fields)
            case Retry():
                log.info("delivery_failed", extra=fields)
            case Held():
                pass  # `delivery_unsigned` has told it
            case Exhausted():
                log.warning("delivery_given_up", extra=fields)
    if report.disable is not None:
        log.warning("endpoint_disabled", extra={"endpoint_id": report.endpoint_id, "reason": report.disable})

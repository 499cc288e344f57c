"""Processes that deliver and die: the deliver lane of each on the same database, with one crash point armed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from orchestrator.clock import SystemClock
from orchestrator.crashpoints import arm
from orchestrator.db.deliveries import SqlDeliveries
from orchestrator.db.engine import open_database
from orchestrator.domain.ports import LaneName
from orchestrator.egress import GuardedPost
from orchestrator.services.lanes.context import Delivering, LaneLimits
from orchestrator.services.lanes.deliver import DeliverLane
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost, Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.webhooks import SecretBox, WebhookSender
from tests.crashes.forks import FORKING, SECONDS

KEY = "the key of an installation, of chance enough"


@dataclass(frozen=True)
class Place:
    """Where senders work: their database, and the receiver that they may reach."""

    database_url: str
    host_port: str
    ca_bundle: Path


def deliver_and_die(name: str, place: Place, setting: str) -> int:
    """Deliver in a process of its own with a crash point armed; return its exit code."""
    process = FORKING.Process(target=_run_armed, args=(name, place, setting))
    process.start()
    process.join(SECONDS)
    code = process.exitcode
    process.kill()
    process.join()
    assert code is not None, "it did not end"
    return code


def deliver(name: str, place: Place) -> None:
    """Run the deliver lane until nothing is due."""
    clock, loop, box = SystemClock(), LoopThread(), SecretBox(KEY)
    sender = WebhookSender(GuardedPost(allow=[place.host_port], ca_bundle=place.ca_bundle), version="test")
    with closing(open_database(place.database_url, clock=clock)) as database, closing(loop):
        tools = Delivering(SqlDeliveries(database), sender, lambda: box, clock, Random(2), LaneLimits(), name)
        host = LaneHost([DeliverLane(tools)], loop=loop, clock=clock, mailboxes=Mailboxes(), stop=Stop())
        host.drain(LaneName.DELIVER)
        loop.submit(sender.close()).result()


def _run_armed(name: str, place: Place, setting: str) -> None:
    arm(setting)
    deliver(name, place)

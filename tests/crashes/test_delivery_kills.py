"""A run dies around a delivery; the next one delivers, under the same id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.crashpoints import CrashPoint
from orchestrator.sandbox import SandboxOptions, start
from orchestrator.webhooks import SecretBox
from tests.acceptance.runs import Desk
from tests.crashes.cases import DELIVERING, Case
from tests.crashes.test_walk import SPEED, Walk
from tests.receiving import Receiver, verifying_receiver

pytestmark = pytest.mark.acceptance
KEY = "the key of an installation, of chance enough"
LINE = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}}
RECEIVED_BEFORE = {CrashPoint.DELIVERIES_CLAIMED: 0, CrashPoint.EVENT_SENT: 1, CrashPoint.DELIVERIES_COMMITTED: 1}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=11, speed=SPEED)) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with verifying_receiver(SecretBox(KEY).default_secret) as receiver:
        yield receiver


@pytest.mark.parametrize("point", sorted(DELIVERING))
def test_an_event_is_delivered_whenever_its_worker_dies(
    point: CrashPoint, desk: Desk, receiver: Receiver, database_url: str
) -> None:
    """F9: killed between sending and marking, it is sent again with the same id; killed elsewhere, it is sent once."""
    allow = f"{desk.sandbox.host_port},{receiver.host_port}"
    settings = {"ORCHESTRATOR_SECRET_KEY": KEY, "ORCHESTRATOR_EGRESS_ALLOW": allow}
    walk = Walk(Case(point), desk, database_url, settings)
    path = desk.write_jobs([{**LINE, "custom_id": "lamp", "webhook": receiver.url}])
    walk.die(path)
    assert len(receiver.received) == RECEIVED_BEFORE[point]
    walk.run(path)
    assert receiver.refused == []
    assert len(receiver.received) == (2 if point is CrashPoint.EVENT_SENT else 1)
    assert len(set(receiver.ids)) == 1
    assert {event["type"] for _, event in receiver.received} == {"job.succeeded"}
    assert walk.query("SELECT state, due_at FROM webhook_deliveries") == [("delivered", None)]
    walk.check(is_holding=False)

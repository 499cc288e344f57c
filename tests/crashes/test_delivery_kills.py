"""A run dies around a delivery; the next one delivers, under the same id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, insert, select

from orchestrator.clock import SystemClock
from orchestrator.crashpoints import KILLED, CrashPoint
from orchestrator.db.endpoint_rows import make_endpoint_row
from orchestrator.db.engine import Database, open_database
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.outbox import DELIVERIES, ENDPOINTS, record_for
from orchestrator.domain.ids import ENDPOINT, make_id
from orchestrator.domain.webhooks import TEST, Endpoint
from orchestrator.sandbox import SandboxOptions, start
from orchestrator.services.webhook_bodies import EventBodies
from orchestrator.webhooks import SecretBox
from tests.acceptance.runs import Desk
from tests.crashes.cases import DELIVERING, Case
from tests.crashes.senders import KEY, Place, deliver, deliver_and_die
from tests.crashes.test_walk import SPEED, Walk
from tests.receiving import Receiver, verifying_receiver
from tests.services.desk import few_authorities

pytestmark = pytest.mark.acceptance
FEW, MANY = 12, 200
PASSINGS, MARKED = 16, 8
"""A sender dies at the latest with its second turn under way: what its first one brought is marked."""
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


@pytest.mark.timeout(600)  # a tenth of that for 200 kills on a quiet machine
@pytest.mark.parametrize(
    "kills", [FEW, pytest.param(MANY, marks=pytest.mark.whole_walk)], ids=lambda kills: f"{kills} kills"
)
def test_nothing_is_lost_however_often_a_sender_dies(
    kills: int, database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    """F9, 200 times: each sender dies after one of its sends and before it is marked; every event arrives, under one id
    and with one body, and is marked once.
    """
    rng = Random(9)
    place = Place(database_url, receiver.host_port, few_authorities(tmp_path))
    with closing(open_database(database_url, clock=SystemClock())) as database:
        events = announce(replace(database, render=EventBodies({})), receiver.url, MARKED * kills + PASSINGS)
        for number in range(kills):
            setting = f"{CrashPoint.EVENT_SENT}:{rng.randint(1, PASSINGS)}"
            before = len(receiver.received)
            assert deliver_and_die(f"sender-{number}", place, setting) == KILLED
            assert len(receiver.received) > before, "it died before it had sent anything"
            assert SqlJobs(database).release_dead(f"sender-{number}") == 1
        deliver("the last", place)
        rows = database.read(lambda c: c.execute(select(DELIVERIES.c.state, DELIVERIES.c.attempt_count)).all())
    assert receiver.refused == []
    assert set(receiver.ids) == set(events)
    assert len(receiver.ids) >= len(events) + kills
    assert len({(event_id, json.dumps(event)) for event_id, event in receiver.received}) == len(events)
    assert [tuple(row) for row in rows] == [("delivered", 1)] * len(events)


def announce(database: Database, url: str, count: int) -> list[str]:
    """Record events for an endpoint that is signed for with the project's secret; return their ids."""
    now = database.clock.now()
    endpoint_id = make_id(ENDPOINT, now=now, rng=database.rng)
    endpoint = Endpoint(endpoint_id, "local", url, ("job.*",), is_global=False, created_at=now)

    def work(connection: Connection) -> list[str]:
        connection.execute(insert(ENDPOINTS).values(make_endpoint_row(endpoint)))
        return [record_for(connection, TEST, endpoint, [endpoint.id], now=now, database=database) for _ in range(count)]

    return database.write(work)

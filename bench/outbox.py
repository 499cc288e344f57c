"""What the deliver lane does in an outage, and whether a dead endpoint holds healthy ones back.

    python -m bench.outbox [--events 10000] [--paced 300] [--rounds 5]

Outage: so many events for an endpoint whose port is closed for 30 minutes of a clock that runs 120 times too fast; attempts are
real connections. Then the port opens, and every event must arrive; those that arrive twice are counted.

Fairness: 50 healthy endpoints, an event each 20 ms, from the commit to the receiver; alone, beside a dead endpoint with the same
backlog that refuses connections, and beside one that takes them and says nothing. Rounds alternate; ratios are of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from bench.results import Figure, emit, percentile
from bench.stub import OK_ANSWER, Answering, find_field
from orchestrator.clock import SystemClock
from orchestrator.db import migrate
from orchestrator.db.deliveries import SqlDeliveries
from orchestrator.db.endpoints import SqlEndpoints
from orchestrator.db.engine import Database, open_database
from orchestrator.db.inserts import insert_many
from orchestrator.db.outbox import DELIVERIES, WEBHOOK_EVENTS
from orchestrator.domain import ids
from orchestrator.domain.ports import Clock, LaneName
from orchestrator.domain.webhooks import TEST, Endpoint, SealedSecrets
from orchestrator.egress import GuardedPost
from orchestrator.services.lanes.context import Delivering, LaneLimits
from orchestrator.services.lanes.deliver import DeliverLane
from orchestrator.services.lanes.drain import Stop
from orchestrator.services.lanes.host import LaneHost, Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.webhooks import SecretBox, WebhookSender

OUTAGE = timedelta(minutes=30)
SCALE = 120  # 15 s of outage; the waits after it are hours of the schedule, here a minute
LIMITS = LaneLimits(deliver_lease=timedelta(seconds=60) * SCALE)  # a minute of ours, whichever clock
HEALTHY = 50
PACE_SECONDS = 0.02
BODY = '{"type":"webhook.test","timestamp":"2026-11-24T12:00:00Z","data":{"prompt":"' + "a" * 900 + '"}}'
MESSAGE_ID = b"webhook-id:"


class Receiver(Answering):
    """200 to every event; notes its id and when it came."""

    def __init__(self, received: dict[str, list[float]]) -> None:
        super().__init__(OK_ANSWER)
        self._received = received

    def take(self, head: bytes) -> None:
        self._received.setdefault(find_field(head, MESSAGE_ID).decode(), []).append(time.perf_counter())


class FastClock:
    """Two minutes pass in a second."""

    def __init__(self) -> None:
        self._start, self._began = SystemClock().now(), time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * SCALE

    def boottime(self) -> float:
        return self.monotonic()


class Office:
    """A database with endpoints, and the deliver lane of one process."""

    def __init__(self, folder: Path, clock: Clock, ports: list[int]) -> None:
        url = f"sqlite:///{folder}/outbox.db"
        migrate.upgrade(url)
        self.database: Database = replace(open_database(url, clock=clock), rng=Random(1))
        self.clock = clock
        self.box = SecretBox("a key of an installation, long enough")
        self.deliveries = SqlDeliveries(self.database)
        self.loop, self.mailboxes, self.stop = LoopThread(), Mailboxes(), Stop()
        self.sender = WebhookSender(GuardedPost(allow=[f"127.0.0.1:{port}" for port in ports]), version="bench")
        tools = Delivering(self.deliveries, self.sender, lambda: self.box, clock, Random(2), LIMITS)
        self.host = LaneHost(
            [DeliverLane(tools)], loop=self.loop, clock=clock, mailboxes=self.mailboxes, stop=self.stop
        )

    def add_endpoint(self, port: int) -> Endpoint:
        now = self.clock.now()
        endpoint_id = ids.make_id(ids.ENDPOINT, now=now, rng=self.database.rng)
        secret = SealedSecrets(self.box.seal(self.box.new_secret(), endpoint_id=endpoint_id))
        endpoint = Endpoint(
            endpoint_id,
            "local",
            f"http://127.0.0.1:{port}/hook",
            ("job.*",),
            is_global=True,
            created_at=now,
            secrets=secret,
        )
        SqlEndpoints(self.database).add(endpoint)
        return endpoint

    def announce(self, endpoint: Endpoint, count: int) -> list[str]:
        """Commit events with a delivery each; return their ids."""
        now, rng = self.clock.now(), self.database.rng
        event_ids = [ids.make_id(ids.EVENT, now=now, rng=rng) for _ in range(count)]
        events = [
            {"id": event_id, "type": TEST, "owner": "local", "job_id": None, "batch_id": None, "endpoint_id": None,
             "sequence": 0, "body": BODY, "created_at": now}
            for event_id in event_ids
        ]  # fmt: skip
        rows = [
            {"id": ids.make_id(ids.DELIVERY, now=now, rng=rng), "event_id": event_id, "endpoint_id": endpoint.id,
             "state": "pending", "attempt_count": 0, "resent_count": 0, "due_at": now, "created_at": now,
             "finished_at": None}
            for event_id in event_ids
        ]  # fmt: skip

        def work(connection: object) -> None:
            insert_many(connection, WEBHOOK_EVENTS, events)  # type: ignore[arg-type]
            insert_many(connection, DELIVERIES, rows)  # type: ignore[arg-type]

        self.database.write(work)
        self.mailboxes.wake(LaneName.DELIVER)
        return event_ids

    def close(self) -> None:
        self.stop.abort()
        self.loop.submit(self.sender.close()).result()
        self.loop.close()
        self.database.close()


@contextmanager
def receiving(port: int = 0) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Run a receiver on a loop of its own; give its port and what it received."""
    received: dict[str, list[float]] = {}
    loop = LoopThread()

    async def listen() -> asyncio.Server:
        running = asyncio.get_running_loop()
        return await running.create_server(lambda: Receiver(received), "127.0.0.1", port, backlog=2048)

    server = loop.submit(listen()).result()
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        loop.call_soon(server.close)
        loop.close()


@contextmanager
def deaf_port(*, is_silent: bool) -> Iterator[int]:
    """Give a port that refuses connections, or that takes them and says nothing."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if is_silent:
            held.listen(1024)
        yield held.getsockname()[1]


def sit_out(folder: Path, count: int) -> tuple[int, int, float]:
    """Return how many events arrived, how many of them twice, and the seconds until the last one had, from the return."""
    clock = FastClock()
    with deaf_port(is_silent=False) as port:
        office = Office(folder, clock, [port])
        lane = threading.Thread(target=_serve, args=(office,), daemon=True)
        office.announce(office.add_endpoint(port), count)
        lane.start()
        time.sleep(OUTAGE.total_seconds() / SCALE)
    with closing(office), receiving(port) as (_, received):
        began = time.perf_counter()
        while office.deliveries.count_pending():
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        office.stop.request()
        lane.join()
    times = Counter(len(each) for each in received.values())
    return len(received), sum(n for seen, n in times.items() if seen > 1), seconds


def pace(folder: Path, paced: int, backlog: int, *, dead: bool | None) -> list[float]:
    """Return the seconds from commit to receiver of paced events to healthy endpoints. `dead`: None for none beside
    them, else whether the dead one is silent.
    """
    folder.mkdir()
    with receiving() as (port, received), deaf_port(is_silent=bool(dead)) as deaf:
        office = Office(folder, SystemClock(), [port, deaf])
        with closing(office):
            healthy = [office.add_endpoint(port) for _ in range(HEALTHY)]
            if dead is not None:
                office.announce(office.add_endpoint(deaf), backlog)
            lane = threading.Thread(target=_serve, args=(office,), daemon=True)
            lane.start()
            _wait_for(
                received, {office.announce(each, 1)[0]: 0.0 for each in healthy}
            )  # connections stand, all is warm
            committed: dict[str, float] = {}
            for number in range(paced):
                (event_id,) = office.announce(healthy[number % HEALTHY], 1)
                committed[event_id] = time.perf_counter()
                time.sleep(PACE_SECONDS)
            _wait_for(received, committed)
            office.stop.abort()
            lane.join()
    return [max(received[event_id][0] - at, 0.0) for event_id, at in committed.items()]


def _serve(office: Office) -> None:
    while not office.stop.is_requested:
        office.host.drain(LaneName.DELIVER)
        office.host.wait_for_note(LaneName.DELIVER, 1.0)


def _wait_for(received: dict[str, list[float]], committed: dict[str, float]) -> None:
    give_up_at = time.perf_counter() + 120
    while any(event_id not in received for event_id in committed):
        if time.perf_counter() > give_up_at:
            raise RuntimeError("healthy endpoints were not served within two minutes")
        time.sleep(0.05)


def report_outage(folder: Path, count: int) -> None:
    """Print what arrived after the outage."""
    arrived, twice, seconds = sit_out(folder, count)
    note = f"{count - arrived} missing, {twice} arrived twice; the last one {seconds:.0f} s after the return"
    emit(Figure("events delivered after 30 minutes of outage", "%", ours=100 * arrived / count, aim="100", note=note))


def report_fairness(folder: Path, given: argparse.Namespace) -> None:
    """Print the p99 of healthy endpoints beside dead ones over that without: of the events of all rounds together, since
    that of one round hangs on its three slowest.
    """
    waits: dict[bool | None, list[float]] = {None: [], False: [], True: []}
    for number in range(given.rounds):
        for dead, found in waits.items():
            found.extend(pace(folder / f"{number}-{dead}", given.paced, given.events, dead=dead))
    alone = percentile(waits[None], 0.99)
    for dead, what in ((False, "refuses"), (True, "is silent")):
        beside = percentile(waits[dead], 0.99)
        name = f"p99 of 50 healthy endpoints beside a dead one that {what}"
        emit(Figure(name, "ms", beside * 1e3, alone * 1e3, "without it", beside / alone, "1.5 or less"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.outbox", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000, help="events of the outage, and the backlog of the dead")
    parser.add_argument("--paced", type=int, default=300, help="events to healthy endpoints in a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report_outage(Path(folder), given.events)
        report_fairness(Path(folder), given)


if __name__ == "__main__":
    main()

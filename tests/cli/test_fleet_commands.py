"""`worker` and `run --broker`: what they refuse, and in which words."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.fleet import Fleet, running_fleet
from tests.acceptance.runs import Desk
from tests.fixtures.brokers import Valkey
from tests.fixtures.postgres import PostgresServer

POSTGRES = "postgresql://nobody@127.0.0.1:1/none"
BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=1)) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest.fixture
def fleet(tmp_path: Path, postgres_server: PostgresServer, valkey: Valkey) -> Iterator[Fleet]:
    with (
        start(SandboxOptions(seed=1, speed=4.0)) as sandbox,
        running_fleet(tmp_path, sandbox, postgres_server, valkey.url) as running,
    ):
        yield running


def test_a_worker_needs_a_broker(desk: Desk) -> None:
    ended = desk.run("worker")
    assert ended.code == 2
    assert "ORCHESTRATOR_BROKER_URL" in ended.err


def test_a_worker_refuses_sqlite(desk: Desk) -> None:
    """Design section 5: a SQLite file is for the processes of one host."""
    ended = desk.run("worker", ORCHESTRATOR_BROKER_URL=BROKER)
    assert ended.code == 2
    assert "ORCHESTRATOR_DATABASE_URL" in ended.err
    assert "PostgreSQL" in ended.err


@pytest.mark.parametrize("queues", ["", "submit,pol", "celery"])
def test_a_queue_that_is_none_is_refused(desk: Desk, queues: str) -> None:
    """The message lists the queues that there are."""
    ended = desk.run("worker", "--queues", queues)
    assert ended.code == 2
    assert "submit,poll,archive,deliver,sweep" in ended.err


@pytest.mark.parametrize("option", [("--sandbox",), ("--concurrency", "2")])
def test_what_speaks_of_this_process_does_not_go_with_a_broker(desk: Desk, option: tuple[str, ...]) -> None:
    """The workers have settings of their own; the message names the one to set."""
    path = desk.write_jobs([{"custom_id": "a", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "x"}}])
    ended = desk.run("run", str(path), "--broker", *option, ORCHESTRATOR_BROKER_URL=BROKER)
    assert ended.code == 2
    assert "ORCHESTRATOR_" in ended.err


def test_a_broker_of_another_kind_is_refused(desk: Desk) -> None:
    """Memory, file and SQL transports lose messages without a word."""
    ended = desk.run("worker", ORCHESTRATOR_BROKER_URL="filesystem://")
    assert ended.code == 2
    assert "redis://" in ended.err


def test_the_brokers_password_is_not_shown(fleet: Fleet, valkey: Valkey) -> None:
    """Promise 13: neither in the worker's first line nor in what it logs while the broker is away."""
    fleet.broker_url = valkey.url.replace("redis://", "redis://:canary-of-the-broker@")
    valkey.stop()
    worker = fleet.start_worker("--queues", "sweep")
    fleet.wait_until(lambda: "broker_unreachable" in worker.said)
    assert "canary" not in worker.said
    worker.kill()


def test_a_second_signal_gives_the_paid_calls_up(fleet: Fleet) -> None:
    """Their jobs are held for review, as nobody can know; never sent again by themselves."""
    fleet.desk.control("PUT", "faults", [{"fault": "hang", "phase": "submit", "seconds": 60}])
    worker = fleet.start_worker("--queues", "submit,sweep")
    taken = fleet.command("submit", "video", "-m", "viduq1-text", "-p", "a kite")
    assert taken.code == 0, taken.err
    assert json.loads(taken.out)["status"] == "queued"
    fleet.wait_until(lambda: fleet.states()["submitting"] == 1)
    fleet.wait_until(lambda: bool(fleet.desk.control("GET", "stats")["requests"]))
    worker.process.send_signal(signal.SIGTERM)
    fleet.wait_until(lambda: "stopping" in worker.said)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 143, worker.said
    assert fleet.states() == {"needs_review": 1}

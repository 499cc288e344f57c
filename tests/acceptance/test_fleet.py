"""Promises 1, 2 and 11 on a fleet: workers, broker and database are killed, flushed, cut and stopped; every job ends,
none is charged twice.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.fleet import Fleet, running_fleet
from tests.acceptance.runs import AFTER_A_KILL, ROOT, check_archive, check_health
from tests.fixtures.brokers import Valkey
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

IMAGE = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite", "size": "512x512"}}
VIDEO = {"kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}}
ONE = ("-m", "cogview-4-250304", "-p", "a kite", "--param", "size=512x512")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A database server that these tests may stop; what it has confirmed survives a crash of it."""
    with running_server(*choose_binaries(), synchronous_commit="on") as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path, server: PostgresServer, valkey: Valkey) -> Iterator[Fleet]:
    with (
        start(SandboxOptions(seed=3, speed=2.0)) as sandbox,
        running_fleet(tmp_path, sandbox, server, valkey.url, ORCHESTRATOR_LIMITS="*=3") as running,
    ):
        yield running


def test_two_workers_run_the_example_file(fleet: Fleet) -> None:
    """The same file, the same result as in one process; both workers stop when they are asked to."""
    workers = [fleet.start_worker(), fleet.start_worker()]
    quickstart = ROOT / "examples/quickstart.jsonl"
    ended = fleet.command("run", str(quickstart), "--broker")
    assert ended.code == 0, ended.err
    assert {line["status"] for line in ended.lines} == {"succeeded"}
    assert check_archive(fleet.desk.data_dir, ended.lines) > len(ended.lines)
    assert set(fleet.charges_per_job().values()) == {1}
    assert "no worker" not in ended.err
    again = fleet.command("run", str(quickstart), "--broker")
    assert (again.code, len(fleet.desk.ledger())) == (0, len(ended.lines)), again.err
    assert [worker.stop() for worker in workers] == [0, 0]


def test_every_job_ends_whatever_breaks(fleet: Fleet, valkey: Valkey) -> None:
    """B1, B2, B4, B8, C1: kill a worker, flush the broker, cut it for twenty seconds, crash the database, in one run."""
    # All of them first: on a busy machine the jobs could be done before another worker has started.
    first, second, third = (fleet.start_worker() for _ in range(3))
    lines = [{"custom_id": f"job-{n:02}", **(VIDEO if n % 3 else IMAGE)} for n in range(30)]
    run = fleet.hand_over(lines)
    fleet.wait_until(lambda: fleet.states()["succeeded"] >= 3)

    first.kill()
    valkey.client.flushall()
    done = fleet.states()["succeeded"]
    fleet.wait_until(lambda: fleet.states()["succeeded"] > done + 2)

    valkey.stop()
    # Two seconds lie between two tries: so many of them are more than twenty seconds of outage.
    tries = second.said.count("broker_unreachable") + 11
    fleet.wait_until(lambda: second.said.count("broker_unreachable") >= tries)
    valkey.start()
    fleet.wait_until(lambda: bool(valkey.client.exists("_kombu.binding.orchestrator")))

    fleet.server.stop(signal.SIGQUIT)
    fleet.server.start()
    out, err = run.communicate(timeout=200)

    results = {line["custom_id"]: line for line in map(json.loads, out.splitlines())}
    charges = fleet.charges_per_job()
    assert len(results) == 30, err
    assert max(charges.values()) == 1, charges
    succeeded = [line for line in results.values() if line["status"] == "succeeded"]
    held = [line for line in results.values() if line["status"] == "needs_review"]
    assert len(succeeded) + len(held) == 30, fleet.states()
    assert len(held) <= 6, "only what was being sent when the worker or the database died may be in doubt"
    assert check_archive(fleet.desk.data_dir, succeeded) >= len(succeeded)
    assert [second.stop(), third.stop()] == [0, 0]
    looked = fleet.command("doctor", "-o", "jsonl", "--verify", "100%", "--ledger", fleet.desk.sandbox.base_url)
    check_health(looked, allow=AFTER_A_KILL if held else ())


def test_a_stopped_worker_finishes_its_paid_calls_and_gives_the_rest_back(fleet: Fleet) -> None:
    """SIGTERM costs nothing: no submission in doubt, no lease left behind, the next worker goes on at once."""
    fleet.desk.control("PUT", "faults", [{"fault": "hang", "phase": "submit", "seconds": 2, "times": 3}])
    first = fleet.start_worker()
    run = fleet.hand_over([{"custom_id": f"job-{n}", **VIDEO} for n in range(6)])
    fleet.wait_until(lambda: fleet.states()["submitting"] > 0)
    assert first.stop() == 0, first.said
    assert fleet.states()["submitting"] == 0
    assert fleet.query("SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL") == [(0,)]
    fleet.start_worker()
    out, err = run.communicate(timeout=100)
    assert {json.loads(line)["status"] for line in out.splitlines()} == {"succeeded"}, err
    assert set(fleet.charges_per_job().values()) == {1}


def test_a_frozen_broker_keeps_nobody_waiting(fleet: Fleet, valkey: Valkey) -> None:
    """Promise 11, fault B3: a job is taken in while the broker hangs, and run once it goes on."""
    worker = fleet.start_worker()
    valkey.freeze()
    taken = fleet.command("submit", "image", *ONE)
    assert taken.code == 0, taken.err
    valkey.thaw()
    job_id = json.loads(taken.out)["id"]
    watched = fleet.command("jobs", "watch", job_id)
    assert watched.code == 0, watched.err + worker.said


class Marking:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def make_message(content_type: str, body: bytes) -> bytes:
    """Return a message to a lane as Celery sends it, in a form of the sender's choice."""
    delivery = {"exchange": "", "routing_key": "submit"}
    properties = {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": delivery, "correlation_id": "x"}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": content_type,
            "content-encoding": "binary",
            "headers": {"task": "orchestrator.submit", "id": "x", "lang": "py"},
            "properties": properties | {"delivery_mode": 2, "priority": 0},
        }
    ).encode()


def test_messages_of_all_sorts_leave_a_worker_alive(fleet: Fleet, valkey: Valkey, tmp_path: Path) -> None:
    """Faults B7, I14: garbage, unknown tasks and arguments nobody asked for are dropped, pickle and YAML that would run code
    are not read; the next job is run.
    """
    worker = fleet.start_worker("--queues", "submit,poll,archive,sweep")
    marks = tmp_path / "by-pickle", tmp_path / "by-yaml"
    pickled = make_message("application/x-python-serialize", pickle.dumps(((), {}, Marking(marks[0]))))
    written = make_message("application/x-yaml", f"!!python/object/apply:os.mkdir ['{marks[1]}']".encode())
    for junk in (b"\x80\x04garbage", b"{}", b'{"body": 1}', b"[" * 1000, pickled, written):
        valkey.client.lpush("submit", junk)
    fleet.wait_until(lambda: valkey.client.llen("submit") == 0)
    ended = fleet.command("submit", "image", *ONE, "--wait")
    assert ended.code == 0, ended.err + worker.said
    assert worker.process.poll() is None
    assert not [mark for mark in marks if mark.exists()]


def test_whoever_hands_over_to_nobody_is_told(fleet: Fleet) -> None:
    """A run that would wait for ever says why; interrupting it stops the watching and nothing else."""
    run = fleet.hand_over([{"custom_id": "only", **IMAGE}])
    fleet.wait_until(lambda: fleet.states()["queued"] == 1)
    assert run.stderr is not None
    said = ""
    while "Start a worker: orchestrator" not in said:
        line = run.stderr.readline()
        assert line, said
        said += line
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "workers go on" in err
    assert fleet.states() == {"queued": 1}

"""Options of `run` that change where outputs go, how much runs at once, and what is paid for again."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import Desk
from tests.fixtures.s3 import S3Server

pytestmark = pytest.mark.acceptance


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=9, speed=8.0)) as sandbox:
        yield Desk(tmp_path, sandbox)


def line(number: int, kind: str = "image") -> dict[str, object]:
    body = {"model": "cogview-4-250304" if kind == "image" else "viduq1-text", "prompt": f"number {number}"}
    return {"custom_id": f"{kind}-{number}", "kind": kind, "body": body}


def test_outputs_go_to_a_bucket(desk: Desk, s3_server: S3Server) -> None:
    """--archive s3://bucket/prefix: stored, read back, and found there by the key of the results line."""
    client = s3_server.client()
    client.create_bucket(Bucket="acceptance")
    ended = desk.run(
        "run",
        str(desk.write_jobs([line(1), line(1, "video")])),
        "--archive",
        "s3://acceptance/films",
        ORCHESTRATOR_S3_ENDPOINT_URL=s3_server.endpoint_url,
        ORCHESTRATOR_S3_REGION=s3_server.region,
        AWS_ACCESS_KEY_ID=s3_server.access_key_id,
        AWS_SECRET_ACCESS_KEY=s3_server.secret_access_key,
    )
    assert ended.code == 0, ended.err
    for result in ended.lines:
        for output in result["response"]["body"]["outputs"]:
            data = client.get_object(Bucket="acceptance", Key=f"films/{output['key']}")["Body"].read()
            assert hashlib.sha256(data).hexdigest() == output["sha256"]


def test_failed_jobs_are_retried_only_when_asked(desk: Desk) -> None:
    """Running again leaves a failed job failed; --retry-failed pays for it anew and says so."""
    desk.control("PUT", "faults", [{"fault": "content_policy", "phase": "submit", "times": 1}])
    path = str(desk.write_jobs([line(1)]))
    first = desk.run("run", path)
    assert first.code == 3, first.err
    assert first.lines[0]["error"]["code"] == "content_policy"
    assert desk.run("run", path).code == 3
    assert desk.ledger() == []
    again = desk.run("run", path, "--retry-failed")
    assert again.code == 0, again.err
    assert "1 as new charges" in again.err
    assert len(desk.ledger()) == 1


def test_concurrency_caps_the_tasks_in_flight_over_all_models(desk: Desk) -> None:
    """--concurrency 2: the provider never sees three."""
    lines = [line(n, "video") for n in range(4)] + [line(n) for n in range(4)]
    ended = desk.run("run", str(desk.write_jobs(lines)), "--concurrency", "2")
    assert ended.code == 0, ended.err
    assert max(desk.control("GET", "stats")["in_flight_high_water"].values()) <= 2


def test_a_terminated_run_ends_with_143(desk: Desk) -> None:
    """SIGTERM is a clean stop too."""
    path = str(desk.write_jobs([line(n, "video") for n in range(12)]))
    with desk.started("run", path) as process:
        desk.wait_until(lambda: len(desk.ledger()) >= 1, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert all(json.loads(each)["status"] == "succeeded" for each in out.splitlines())

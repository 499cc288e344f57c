"""The same fleet on RabbitMQ: quorum queues, another protocol, the same end. `make test-all` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.fleet import Fleet, running_fleet
from tests.acceptance.runs import ROOT, check_archive
from tests.fixtures.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.rabbitmq, pytest.mark.timeout(240)]


@pytest.fixture
def fleet(tmp_path: Path, postgres_server: PostgresServer, rabbitmq_url: str) -> Iterator[Fleet]:
    with (
        start(SandboxOptions(seed=5, speed=2.0)) as sandbox,
        running_fleet(tmp_path, sandbox, postgres_server, rabbitmq_url) as running,
    ):
        yield running


def test_two_workers_run_the_example_file(fleet: Fleet) -> None:
    """Paid once each; the one that is left goes on alone when the other is killed."""
    first, second = fleet.start_worker(), fleet.start_worker()
    quickstart = ROOT / "examples/quickstart.jsonl"
    ended = fleet.command("run", str(quickstart), "--broker")
    assert ended.code == 0, ended.err + first.said + second.said
    assert check_archive(fleet.desk.data_dir, ended.lines) > len(ended.lines)
    assert set(fleet.charges_per_job().values()) == {1}
    for worker in (first, second):
        assert "broker_away" not in worker.said
        assert "Traceback" not in worker.said
    first.kill()
    once_more = fleet.command("run", str(quickstart), "--broker", "--force-new")
    assert once_more.code == 0, once_more.err + second.said
    assert second.stop() == 0

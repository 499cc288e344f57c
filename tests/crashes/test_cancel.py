"""A batch of several groups whose cancel dies: the next cancel ends it, and nothing of it is paid for afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.crashpoints import KILLED, VARIABLE, CrashPoint
from orchestrator.db.batch_cancels import AT_ONCE
from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import Desk
from tests.crashes.cases import OF_A_CANCEL
from tests.crashes.forks import forked

pytestmark = pytest.mark.acceptance

COUNT = 2 * AT_ONCE + 1
STOPPED = {CrashPoint.CANCEL_ASKED: (0,), CrashPoint.CANCEL_GROUP_DONE: (AT_ONCE, 2 * AT_ONCE)}
"""Jobs that were stopped at each passing."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=11, speed=50.0)) as sandbox:
        yield Desk(tmp_path, sandbox)


@pytest.mark.parametrize(("point", "passing"), OF_A_CANCEL)
def test_a_second_cancel_ends_what_the_first_began(
    point: CrashPoint, passing: int, desk: Desk, database_url: str
) -> None:
    """Each group is whole or untouched; the batch is finished with its files, and running it pays for nothing."""
    settings = {"ORCHESTRATOR_DATABASE_URL": database_url}
    body = {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}
    path = desk.write_jobs([{"custom_id": f"l{n}", "kind": "image", "body": body} for n in range(COUNT)])
    batch_id = json.loads(desk.run("batches", "submit", str(path), "--yes", "-o", "json", **settings).out)["id"]
    environment = desk.environment(**settings, **{VARIABLE: f"{point}:{passing}"})
    command = ["batches", "cancel", batch_id, "--yes"]
    with forked(command, environment=environment, folder=desk.folder) as process:
        assert (process.wait(), f"died at {point}\n" in process.said) == (KILLED, True), process.said
    stopped = STOPPED[point][passing - 1]
    assert show(desk, batch_id, settings)["job_counts"]["cancelled"] == stopped
    again = json.loads(desk.run(*command, "-o", "json", **settings).out)
    assert again == {"id": batch_id, "stopped": COUNT - stopped, "runs_on": 0}
    shown = show(desk, batch_id, settings)
    assert (shown["status"], shown["job_counts"]["cancelled"]) == ("finished", COUNT)
    assert Path(shown["files"]["errors.jsonl"].removeprefix("file://")).read_text().count("\n") == COUNT
    assert desk.run("run", str(path), **settings).code == 3
    assert desk.ledger() == []


def show(desk: Desk, batch_id: str, settings: dict[str, str]) -> dict[str, Any]:
    """Return the batch object."""
    shown: dict[str, Any] = json.loads(desk.run("batches", "show", batch_id, "-o", "json", **settings).out)
    return shown

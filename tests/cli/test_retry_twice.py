"""Two processes retry the same batch at once: one child, each line paid for once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import Desk

pytestmark = pytest.mark.acceptance

LINES = 5


def test_two_processes_make_one_child(tmp_path: Path) -> None:
    """Promise 2: whichever is first, the family has one child with every line, and running it pays for each once."""
    body = {"model": "cogview-4-250304", "prompt": "a lamp"}
    with start(SandboxOptions(seed=11, speed=50.0)) as sandbox:
        desk = Desk(tmp_path, sandbox)
        path = desk.write_jobs([{"custom_id": f"l{n}", "kind": "image", "body": body} for n in range(LINES)])
        desk.control("PUT", "faults", [{"fault": "content_policy", "phase": "submit"}])
        assert desk.run("run", str(path)).code == 3
        desk.control("PUT", "faults", [])
        batch_id = desk.run("batches", "list", "-o", "jsonl").lines[0]["id"]
        command = ("batches", "retry", batch_id, "--yes", "-o", "json")
        with desk.started(*command) as one, desk.started(*command) as other:
            ends = [(process.communicate(timeout=180), process.returncode) for process in (one, other)]
        assert {code for _, code in ends} <= {0, 2}, ends
        named = [json.loads(out)["child"] for (out, _), code in ends if code == 0]
        (child,) = {name for name in named if name}
        assert json.loads(desk.run("batches", "show", batch_id, "-o", "json").out)["family"] == [batch_id, child]
        assert desk.run("batches", "run", child).code == 0
        assert [row["charged"] for row in desk.ledger()].count(True) == LINES

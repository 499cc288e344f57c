"""The ledger read by others: the same rows from a running sandbox, from what it keeps while it runs, and afterwards."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from orchestrator.sandbox import SandboxConfigError, SandboxOptions, read_ledger, start

BODY = {"model": "viduq1-text", "prompt": "a kite", "request_id": "sub_00001"}


def test_three_ways_to_one_ledger(tmp_path: Path) -> None:
    """A second reader neither disturbs the sandbox nor needs it."""
    with start(SandboxOptions(seed=1, state_dir=tmp_path)) as running:
        headers = {"Authorization": "Bearer id.secret"}
        url = f"{running.base_url}/videos/generations"
        httpx.post(url, json=BODY, headers=headers, trust_env=False).raise_for_status()
        asked = read_ledger(running.base_url)
        beside = read_ledger(str(tmp_path))
    (row,) = read_ledger(str(tmp_path))
    assert [each["id"] for each in (*asked, *beside)] == [row["id"]] * 2
    assert (row["request_id"], row["charged"]) == ("sub_00001", True)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """No state directory appears because somebody asked for one."""
    with pytest.raises(SandboxConfigError, match="no state directory"):
        read_ledger(str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_nobody_there() -> None:
    with pytest.raises(SandboxConfigError, match="does not answer"):
        read_ledger("http://127.0.0.1:9/api/paas/v4")

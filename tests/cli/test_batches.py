"""`orchestrator batches`: what a person types, what is asked, what is said, with which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start

LINES = (
    {"custom_id": "first", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}},
    {"custom_id": "second", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite"}},
)


@pytest.fixture
def provider() -> Iterator[RunningSandbox]:
    """Give a provider that refuses pictures."""
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        set_faults(sandbox, {"fault": "content_policy", "phase": "submit", "model": "cogview-4-250304"})
        yield sandbox


@pytest.fixture
def settings(tmp_path: Path, provider: RunningSandbox) -> dict[str, str]:
    """Give the settings of a data directory with a file that ran: its video succeeded, its picture was refused."""
    settings = {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"),
        "ORCHESTRATOR_ZAI_BASE_URL": provider.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
        "ORCHESTRATOR_EGRESS_ALLOW": provider.host_port,
        "ORCHESTRATOR_TICK_SECONDS": "0.1",
        "ORCHESTRATOR_POLL_INTERVALS": "video=0.1..0.5",
    }
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    ended = call(settings, "run", str(tmp_path / "jobs.jsonl"))
    assert (ended.exit_code, "results.jsonl" in ended.stderr) == (3, True)
    return settings


def set_faults(provider: RunningSandbox, *rules: dict[str, object]) -> None:
    httpx.put(f"{provider.control_url}/faults", json=list(rules), trust_env=False).raise_for_status()


def call(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, input=text)


def batches(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return call(settings, "batches", *arguments, text=text)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def newest(settings: dict[str, str]) -> str:
    batch_id: str = rows(batches(settings, "list", "-o", "jsonl"))[0]["id"]
    return batch_id


def posts(provider: RunningSandbox) -> int:
    stats = httpx.get(f"{provider.control_url}/stats", trust_env=False).json()
    return sum(count for name, count in stats["requests"].items() if name.startswith("POST"))


def test_a_batch_is_listed_and_shown_with_its_files(settings: dict[str, str]) -> None:
    """Counts, money, family, and where results.jsonl lies; the file says what `results` says."""
    batch_id = newest(settings)
    (row,) = rows(batches(settings, "list", "-o", "jsonl"))
    assert (row["status"], row["done_count"], row["job_counts"]["failed"]) == ("finished", 2, 1)
    shown = json.loads(batches(settings, "show", batch_id, "-o", "json").stdout)
    assert (shown["cost"]["final"], shown["family"]) == ("0.40", [batch_id])
    path = Path(shown["files"]["results.jsonl"].removeprefix("file://"))
    lines = rows(batches(settings, "results", batch_id, "-o", "jsonl"))
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["custom_id"], line["status"]) for line in lines] == [("first", "succeeded"), ("second", "failed")]
    assert [line["id"] for line in written] == [line["id"] for line in lines]
    assert "first" in batches(settings, "results", batch_id, "-o", "table").stdout
    assert batches(settings, "list", "-o", "table").stdout.splitlines()[1].startswith(batch_id)
    assert batches(settings, "show", "batch_none").exit_code == 5


def test_errors_come_with_counts_names_and_advice(settings: dict[str, str]) -> None:
    """One row per code; in words for people."""
    batch_id = newest(settings)
    (row,) = rows(batches(settings, "errors", batch_id, "-o", "jsonl"))
    assert (row["code"], row["count"], row["examples"]) == ("content_policy", 1, ["second"])
    assert row["advice"]
    text = batches(settings, "errors", batch_id, "-o", "table").stdout
    assert "1 x content_policy" in text
    assert "hint: " in text


def test_watching_a_finished_batch_ends_with_its_exit_code(settings: dict[str, str]) -> None:
    """As `run` would: 3 because one failed, a results line per job, and no word of missing workers."""
    watched = batches(settings, "watch", newest(settings), "-o", "jsonl")
    assert (watched.exit_code, len(rows(watched))) == (3, 2)
    assert "no worker" not in watched.stderr


def test_a_retry_is_asked_for_run_and_merged(settings: dict[str, str], provider: RunningSandbox) -> None:
    """Without a yes nothing is paid; with it a child runs, and --effective shows each line once at its best."""
    batch_id, paid = newest(settings), posts(provider)
    set_faults(provider)
    refused = batches(settings, "retry", batch_id)
    assert (refused.exit_code, "1 would be new charges of about 0.01" in refused.stderr) == (4, True)
    assert newest(settings) == batch_id
    retried = batches(settings, "retry", batch_id, "--yes", "-o", "json")
    child = json.loads(retried.stdout)["child"]
    assert f"batches run {child}" in retried.stderr
    assert batches(settings, "run", child, "-o", "jsonl").exit_code == 0
    assert posts(provider) == paid + 1
    merged = rows(batches(settings, "results", child, "--effective", "-o", "jsonl"))
    assert [(line["custom_id"], line["status"]) for line in merged] == [
        ("first", "succeeded"),
        ("second", "succeeded"),
    ]
    again = batches(settings, "retry", batch_id, "--yes")
    assert "nothing of it can be tried again" in again.stderr


def test_only_takes_what_a_job_can_end_with(settings: dict[str, str]) -> None:
    """A typing error must not look like nothing to do."""
    batch_id = newest(settings)
    assert batches(settings, "retry", batch_id, "--only", "faild").exit_code == 2
    nothing = batches(settings, "retry", batch_id, "--only", "dependency_failed", "--yes")
    assert (nothing.exit_code, "nothing of it" in nothing.stderr) == (0, True)
    over = batches(settings, "retry", batch_id, "--max-cost", "0.001", "--yes")
    assert over.exit_code == 4


def test_a_cancel_asks_stops_and_writes_the_files(settings: dict[str, str], provider: RunningSandbox) -> None:
    """What is queued stops without a charge; the batch is finished there and then and its files say so."""
    paid = posts(provider)
    child = json.loads(batches(settings, "retry", newest(settings), "--yes", "-o", "json").stdout)["child"]
    kept = batches(settings, "cancel", child)
    assert (kept.exit_code, "stop 1 queued jobs" in kept.stderr) == (4, True)
    stopped = batches(settings, "cancel", child, "--yes", "-o", "json")
    assert json.loads(stopped.stdout) == {"id": child, "stopped": 1, "runs_on": 0}
    shown = json.loads(batches(settings, "show", child, "-o", "json").stdout)
    assert (shown["status"], shown["job_counts"]["cancelled"]) == ("finished", 1)
    assert Path(shown["files"]["errors.jsonl"].removeprefix("file://")).read_text().count("cancelled")
    assert posts(provider) == paid

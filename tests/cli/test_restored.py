"""`orchestrator db mark-restored`: hold, look, release; each asked for and told."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.sandbox import SandboxOptions, start

SUBMIT = ("submit", "image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512")


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """Give the settings of a data directory with one job that nobody has run."""
    settings = {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"),
        "ORCHESTRATOR_ZAI_BASE_URL": "http://127.0.0.1:9",
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
    }
    submitted = call(settings, *SUBMIT)
    assert submitted.exit_code == 0, submitted.output
    return settings


def call(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, input=text)


def mark(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return call(settings, "db", "mark-restored", *arguments, text=text)


def the_job(settings: dict[str, str]) -> dict[str, Any]:
    (line,) = call(settings, "jobs", "list", "-o", "jsonl").stdout.splitlines()
    job: dict[str, Any] = json.loads(line)
    return job


def test_hold_then_release(place: dict[str, str]) -> None:
    """The whole way, with reasons in the history and the cost said before the release."""
    held = mark(place, "--yes", "--reason", "disk died")
    assert held.exit_code == 0, held.output
    assert "held: 1 queued" in held.stderr
    job = the_job(place)
    assert job["status"] == "needs_review"
    assert "restored from a backup" in job["status_reason"]
    assert json.loads(held.stdout)["without_trace"] == [job["id"]]
    released = mark(place, "--release", "--yes")
    assert "0.01 USD" in released.stderr
    assert json.loads(released.stdout)["released_count"] == 1
    assert the_job(place)["status"] == "queued"
    events = [json.loads(line) for line in call(place, "jobs", "events", job["id"]).stdout.splitlines()]
    assert [(event["type"], event["actor"]) for event in events[-2:]] == [("restored", "local"), ("released", "local")]
    assert "disk died" in events[-2]["reason"]


@pytest.mark.parametrize("flags", [(), ("--release",)])
@pytest.mark.parametrize(("text", "words"), [("n\n", "nothing was changed"), ("", "--yes agrees")])
def test_nothing_happens_unasked(place: dict[str, str], flags: tuple[str, ...], text: str, words: str) -> None:
    """A no, and a stdin that nobody answers on, leave everything as it is; a script is told of --yes."""
    if flags:
        mark(place, "--yes")
    before = the_job(place)
    refused = mark(place, *flags, text=text)
    assert (refused.exit_code, words in refused.stderr) == (4, True)
    assert the_job(place) == before


def test_there_may_be_nothing_to_do(place: dict[str, str]) -> None:
    """Run twice, or before anything was held: said, and good."""
    mark(place, "--yes")
    again = mark(place, text="")
    assert (again.exit_code, "nothing here could be paid for again" in again.stderr) == (0, True)
    mark(place, "--release", "--yes")
    assert "no job can be released" in mark(place, "--release", text="").stderr


def test_the_table_names_what_was_found(place: dict[str, str]) -> None:
    """For eyes: counts and ids, one line each."""
    shown = mark(place, "--yes", "-o", "table").stdout
    assert f"1: {the_job(place)['id']}" in shown
    assert "none" in shown


def test_what_was_held_before_keeps_its_reason_and_waits_for_a_person(tmp_path: Path, place: dict[str, str]) -> None:
    """A call whose answer was lost before the backup: the restore does not hide it, and no release queues it."""
    (job,) = [the_job(place)]
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        rules = [{"fault": "lost_answer", "phase": "submit"}]
        httpx.put(f"{sandbox.control_url}/faults", json=rules, trust_env=False).raise_for_status()
        settings = place | {
            "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
            "ORCHESTRATOR_EGRESS_ALLOW": sandbox.host_port,
        }
        assert call(settings, "jobs", "run", job["id"]).exit_code == 3
    before = the_job(place)["status_reason"]
    assert "disconnected" in before
    held = mark(place, "--yes")
    assert (
        f"1 of them were held for a reason of their own; they keep it and wait for a person anyway: orchestrator --data-dir {tmp_path / 'data'} jobs review"
        in held.stderr
    )
    assert json.loads(held.stdout)["wait_for_a_person_count"] == 1
    assert "disconnected" in the_job(place)["status_reason"]
    released = mark(place, "--release", "--yes")
    assert json.loads(released.stdout)["wait_for_a_person_count"] == 1
    assert the_job(place)["status"] == "needs_review"


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as found, closing(sqlite3.connect(target)) as copy:
        found.backup(copy)


def test_what_was_paid_after_the_backup_is_not_paid_again(tmp_path: Path, place: dict[str, str]) -> None:
    """The whole story on a real database, archive and provider: two jobs, a backup, one of them paid, the disk dies."""
    database = Path(place["ORCHESTRATOR_DATA_DIR"]) / "orchestrator.db"
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        settings = place | {
            "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
            "ORCHESTRATOR_EGRESS_ALLOW": sandbox.host_port,
            "ORCHESTRATOR_TICK_SECONDS": "0.2",
        }
        paid = json.loads(call(settings, *SUBMIT, "--custom-id", "paid", "-o", "json").stdout)["id"]
        other = json.loads(call(settings, *SUBMIT, "--custom-id", "other", "-o", "json").stdout)["id"]
        copy_database(database, tmp_path / "backup.db")
        assert call(settings, "jobs", "run", paid).exit_code == 0
        copy_database(tmp_path / "backup.db", database)

        found = json.loads(mark(settings, "--yes").stdout)
        assert found["held_but_archived"] == [paid]
        assert other in found["without_trace"]
        call(settings, "jobs", "run", paid)  # nothing can be done with it: it is held
        mark(settings, "--release", "--yes")
        assert call(settings, "jobs", "run", other).exit_code == 0
        call(settings, "jobs", "run", paid)
        ledger = httpx.get(f"{sandbox.control_url}/ledger", trust_env=False).json()["data"]
    assert len(ledger) == 2
    shown = json.loads(call(settings, "jobs", "show", paid, "-o", "json").stdout)
    assert shown["status"] == "needs_review"

"""`orchestrator errors list`, and the hint that stands beside every failure on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.exits import advice_on
from orchestrator.cli.main import main
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.sandbox import SandboxOptions, start
from orchestrator.wiring import error_catalogue


def call(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environment)


def test_every_code_is_listed_in_four_forms() -> None:
    """table, json, jsonl, csv: the same rows."""
    codes = [entry.code for entry in error_catalogue()]
    lines = [json.loads(line) for line in call("errors", "list", "-o", "jsonl").stdout.splitlines()]
    assert [line["code"] for line in lines] == codes
    assert [row["code"] for row in json.loads(call("errors", "list", "-o", "json").stdout)] == codes
    rows = list(csv.DictReader(io.StringIO(call("errors", "list", "-o", "csv").stdout)))
    assert [row["code"] for row in rows] == codes
    assert all(row["advice"] for row in rows)
    assert "Top up the account" in call("errors", "list", "-o", "table").stdout


@pytest.mark.parametrize(("code", "named"), [("1113", ["1113"]), ("http_502", ["http_xxx", "http_5xx", "http_5xx"])])
def test_one_code_is_looked_up(code: str, named: list[str]) -> None:
    """Also one that only its family explains."""
    lines = [json.loads(line) for line in call("errors", "list", code, "-o", "jsonl").stdout.splitlines()]
    assert [line["code"] for line in lines] == named


def test_a_code_that_nobody_knows_is_exit_5() -> None:
    """And says where all of them are."""
    ended = call("errors", "list", "no_such_code")
    assert ended.exit_code == 5
    assert "hint: orchestrator errors list" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "hint"),
    [
        (["jobs", "show", "job_x"], {}, 5, "--data-dir"),
        (["run", "jobs.jsonl"], {"ORCHESTRATOR_DATABASE_URL": "nonsense"}, 5, "check its name and its folder"),
        (["jobs", "list"], {"ORCHESTRATOR_DATABASE_URL": "nonsense"}, 2, "docs/settings.md"),
        (["jobs", "list", "statsu:failed"], {}, 2, "status"),
    ],
)
def test_an_error_of_a_command_says_what_to_do(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], exit_code: int, hint: str
) -> None:
    """Its own hint where it has one, else the catalogue's."""
    place = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data")}
    assert call("db", "upgrade", **place).exit_code == 0
    ended = call(*arguments, **place, **environment)
    assert ended.exit_code == exit_code, ended.output
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("hint: ")]
    assert hint in line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Transient("database_unavailable", "m"), "Start the database"),
        (Permanent("store_denied", "m"), "Grant read, write"),
        (Transient("broker_unavailable", "m"), "Start the broker"),
        (Permanent("archive_differs", "m"), "Restore that object"),
        (Permanent("a code without a row", "m"), "Correct what the message names"),
        (OrchestratorError("m"), "report it"),
    ],
)
def test_an_error_without_a_row_has_the_advice_of_its_class(error: OrchestratorError, words: str) -> None:
    """No error of ours ends a command without a word on what to do."""
    advice = advice_on(error)
    assert advice is not None
    assert words in advice


LAMP = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}}


def run_one(folder: Path, fault: str, *arguments: str) -> tuple[dict[str, str], Result]:
    """Run one picture on a simulator with a fault; return the settings and how it ended."""
    (folder / "script.json").write_text(json.dumps({"faults": [{"fault": fault, "phase": "submit"}]}))
    (folder / "jobs.jsonl").write_text(json.dumps({"custom_id": "lamp", **LAMP}) + "\n")
    with start(SandboxOptions(seed=5, speed=20.0, script=folder / "script.json")) as sandbox:
        settings = {
            "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
            "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
            "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
            "ORCHESTRATOR_TICK_SECONDS": "0.2",
        }
        return settings, call("run", str(folder / "jobs.jsonl"), *arguments, **settings)


def test_a_failed_job_says_what_to_do_wherever_it_is_shown(tmp_path: Path) -> None:
    """In the results line, in `jobs show`, beside `jobs why`, and on a terminal below the line."""
    settings, ended = run_one(tmp_path, "content_policy")
    assert ended.exit_code == 3, ended.output
    line = json.loads(ended.stdout)
    assert line["error"]["advice"].startswith("Change the prompt")
    shown = json.loads(call("jobs", "show", line["id"], **settings).stdout)
    assert shown["failure"]["advice"] == line["error"]["advice"]
    assert f"hint: {line['error']['advice']}" in call("jobs", "why", line["id"], **settings).stderr
    exported = call("jobs", "export", "status:failed", "-o", "csv", **settings).stdout
    assert line["error"]["advice"] in exported


def test_a_terminal_shows_the_advice_below_the_job(tmp_path: Path) -> None:
    """The short form of a results line has it too."""
    _, ended = run_one(tmp_path, "content_policy", "-o", "table")
    assert "  hint: Change the prompt" in ended.stdout


def test_a_held_job_says_what_to_do_at_the_end_of_a_run(tmp_path: Path) -> None:
    """Promise 3: not only that nobody can know, but how to find out."""
    settings, ended = run_one(tmp_path, "lost_answer")
    assert ended.exit_code == 3, ended.output
    assert "  hint: Look at the provider's bill" in ended.stderr
    line = json.loads(ended.stdout)
    assert line["error"]["advice"].startswith("Look at the provider's bill")  # an answer at once leaves no task
    assert "hint: Look at the provider's bill" in call("jobs", "why", line["id"], **settings).stderr


def test_what_stopped_a_run_says_what_to_do(tmp_path: Path) -> None:
    """Exit 6: the account is empty, and that is what the hint is about."""
    settings, ended = run_one(tmp_path, "arrears")
    assert ended.exit_code == 6, ended.output
    assert "hint: Top up the account" in ended.stderr
    (job,) = [json.loads(line) for line in call("jobs", "list", **settings).stdout.splitlines()]
    assert "hint: Top up the account" in call("jobs", "why", job["id"], **settings).stderr

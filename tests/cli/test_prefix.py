"""Every printed command meets the same jobs when it is pasted: data directory and config file in it, quoted."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.cli.prefix import pasteable, remember_place
from orchestrator.config import load_settings
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start

LAMP = ("image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512")
FILM = {"custom_id": "film", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}}


@pytest.fixture
def provider() -> Iterator[RunningSandbox]:
    """Give a provider that takes each request and loses the answer."""
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        rules = [{"fault": "lost_answer", "phase": "submit"}]
        httpx.put(f"{sandbox.control_url}/faults", json=rules, trust_env=False).raise_for_status()
        yield sandbox


@pytest.fixture
def place(tmp_path: Path, provider: RunningSandbox) -> tuple[str, ...]:
    """Give the options of a place with a blank in its name, whose database only the config file names."""
    config = tmp_path / "my settings.toml"
    lines = {
        "database_url": f"sqlite:///{tmp_path}/elsewhere.db",
        "zai_base_url": provider.base_url,
        "zai_api_key": "id.canary",
        "egress_allow": provider.host_port,
    }
    config.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
    config.chmod(0o600)
    return ("--data-dir", str(tmp_path / "my data"), "--config", str(config))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def paste(line: str, *, wanted: str) -> Result:
    """Run the command that stands in a line of text, as a shell would read it."""
    words = shlex.split(line[line.index("orchestrator ") :])
    assert wanted in " ".join(words), line
    return call(*words[1:])


def find_line(text: str, start: str) -> str:
    (line,) = [line for line in text.splitlines() if line.lstrip().startswith(start)]
    return line


def test_what_a_run_says_at_its_end_can_be_pasted(place: tuple[str, ...], tmp_path: Path) -> None:
    """`look:`, `settle them:`, `history:`, and what the review then names."""
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps(FILM) + "\n")
    ended = call(*place, "run", str(file))
    assert ended.exit_code == 3, ended.output
    job_id = json.loads(ended.stdout)["id"]
    assert json.loads(paste(find_line(ended.stderr, "look:"), wanted="jobs show").stdout)["id"] == job_id
    assert json.loads(paste(find_line(ended.stderr, "history:"), wanted="jobs list").stdout)["id"] == job_id
    review = json.loads(paste(find_line(ended.stderr, "settle them:"), wanted="jobs review").stdout)
    write_off = next(action["command"] for action in review["actions"] if "write-off" in action["command"])
    assert "failed: written off" in paste(write_off, wanted="write-off").stdout
    conflict = call(*place, "jobs", "resubmit", job_id, "--yes")
    assert find_line(conflict.stderr, "hint:") == f"hint: {shlex.join(('orchestrator', *place))} jobs retry {job_id}"


def test_what_is_recorded_and_listed_can_be_pasted(place: tuple[str, ...]) -> None:
    """`run it with:` and `more:`; also what a NotFound advises keeps its place."""
    recorded = call(*place, "submit", *LAMP)
    call(*place, "submit", *LAMP)
    page = call(*place, "jobs", "list", "--limit", "1")
    assert json.loads(paste(find_line(page.stderr, "more:"), wanted="--after").stdout)["status"] == "queued"
    assert paste(find_line(recorded.stderr, "recorded"), wanted="jobs run job_").exit_code == 3
    missing = call(*place, "errors", "list", "no_such_code")
    assert find_line(missing.stderr, "hint:").startswith("hint: orchestrator errors list")


@pytest.mark.parametrize("form", ["table", "json"])
def test_what_a_doctor_advises_can_be_pasted(place: tuple[str, ...], form: str) -> None:
    """For eyes and for scripts."""
    call(*place, "submit", *LAMP)
    database = Path(place[1]).parent / "elsewhere.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE jobs SET submission_count = 2")
    found = call(*place, "doctor", "-o", form)
    if form == "json":
        mends = {finding["code"]: finding["mend"] for finding in json.loads(found.stdout)["findings"]}
        mend = mends["submission_count_wrong"]
    else:
        lines = found.stdout.splitlines()
        mend = lines[next(n for n, line in enumerate(lines) if "[submission_count_wrong]" in line) + 1]
    assert json.loads(paste(mend, wanted="jobs show").stdout)["submission_count"] == 2


def test_a_sandbox_is_met_past_the_database_of_the_config(place: tuple[str, ...], tmp_path: Path) -> None:
    """What looks at its jobs names its folder and not the config's database; what runs them brings the simulator."""
    recorded = call(*place, "submit", *LAMP, "--sandbox")
    line = find_line(recorded.stderr, "recorded")
    assert line.endswith(
        f"{shlex.join(('orchestrator', *place))} jobs run {json.loads(recorded.stdout)['id']} --sandbox"
    )
    ended = paste(line, wanted="--sandbox")
    assert ended.exit_code == 0, ended.output
    listed = paste(find_line(ended.stderr, "history:"), wanted=str(tmp_path / "my data" / "sandbox"))
    assert json.loads(listed.stdout)["status"] == "succeeded"


def test_a_sandbox_that_is_named_by_its_folder_is_run_from_outside(tmp_path: Path) -> None:
    """`--data-dir X/sandbox` looks at its jobs; only `--sandbox` at X runs them."""
    call("--data-dir", str(tmp_path), "submit", *LAMP, "--sandbox")
    page = json.loads(call("--data-dir", str(tmp_path / "sandbox"), "jobs", "list").stdout)
    call("--data-dir", str(tmp_path / "sandbox"), "jobs", "cancel", page["id"])
    retried = call("--data-dir", str(tmp_path / "sandbox"), "jobs", "retry", page["id"], "--yes")
    assert retried.exit_code == 0, retried.output
    assert paste(find_line(retried.stderr, "run it with:"), wanted="--sandbox").exit_code == 0


def test_only_commands_get_a_prefix(tmp_path: Path) -> None:
    """Words and paths are left alone; the default place needs no prefix."""
    text = "the orchestrator waits; `orchestrator jobs list`, or ./orchestrator jobs; see /opt/orchestrator db"
    assert pasteable(text) == text
    with click.Context(main):
        remember_place(load_settings({}), None)
        assert pasteable(text) == text
        remember_place(load_settings({"data_dir": tmp_path / "a b"}), None)
        assert pasteable(text) == text.replace("`orchestrator", f"`orchestrator --data-dir '{tmp_path / 'a b'}'")
        remember_place(load_settings({"data_dir": tmp_path}), Path("x.toml"), is_dir_of_config=True)
        assert pasteable("orchestrator doctor --fix") == "orchestrator --config x.toml doctor --fix"

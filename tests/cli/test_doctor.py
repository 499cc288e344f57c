"""`orchestrator doctor`: exit codes, forms of output, where settings came from, and no secret in any of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.disclosure import describe_settings, hide_secrets
from orchestrator.cli.main import main
from orchestrator.config import load_settings, load_with_sources
from orchestrator.domain.audit import RULES
from orchestrator.sandbox import SandboxOptions, start
from tests.repo.test_documents import parse_command

LAMP = ("submit", "image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512")
CANARY = "canary-7Yt2"


def call(settings: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, catch_exceptions=False)


def look(settings: dict[str, str], *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(settings, "doctor", "-o", "json", *arguments).stdout)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data directory in which `submit --sandbox --wait` has made one picture."""
    folder = tmp_path_factory.mktemp("doctor") / "data"
    ended = call({"ORCHESTRATOR_DATA_DIR": str(folder)}, *LAMP, "--sandbox", "--wait")
    assert ended.exit_code == 0, ended.output
    return folder / "sandbox"


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> dict[str, str]:
    """Give the settings of a copy of it."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    archive = (copy / "archive").as_uri()
    with closing(sqlite3.connect(copy / "orchestrator.db")) as connection, connection:
        connection.execute("UPDATE jobs SET archive_url = ?", (archive,))
        connection.execute("UPDATE batches SET archive_url = ?", (archive,))
    return {"ORCHESTRATOR_DATA_DIR": str(copy)}


def damage(settings: dict[str, str], statement: str) -> None:
    with (
        closing(sqlite3.connect(Path(settings["ORCHESTRATOR_DATA_DIR"]) / "orchestrator.db")) as connection,
        connection,
    ):
        connection.execute(statement)


def test_a_finished_sandbox_run_is_healthy(place: dict[str, str]) -> None:
    """Exit 0, and the ledger that the sandbox kept was compared although no sandbox runs."""
    ended = call(place, "doctor", "-o", "table", "--verify", "100%", "--all")
    assert ended.exit_code == 0, ended.output
    assert "nothing found" in ended.stderr
    assert "1 tasks of the provider were compared" in ended.stdout
    assert "1 of them read and hashed" in ended.stdout
    assert "as this version needs it" in ended.stdout


def test_a_finding_ends_with_3_words_and_a_command(place: dict[str, str]) -> None:
    damage(place, "UPDATE jobs SET submission_count = 2")
    ended = call(place, "doctor", "-o", "table")
    assert ended.exit_code == 3
    assert "says 2 submissions and has 1" in ended.stdout
    assert f"mend: orchestrator --data-dir {place['ORCHESTRATOR_DATA_DIR']} jobs show job_" in ended.stdout
    assert "1 found" in ended.stderr


@pytest.mark.parametrize("output", ["json", "jsonl", "csv"])
def test_programs_get_every_finding(place: dict[str, str], output: str) -> None:
    """The same finding in each form."""
    damage(place, "UPDATE jobs SET submission_count = 2")
    text = call(place, "doctor", "-o", output).stdout
    if output == "json":
        report = json.loads(text)
        assert (report["object"], report["is_healthy"]) == ("doctor_report", False)
        assert report["finding_counts"] == {"submission_count_wrong": 1}
        assert report["findings"][0]["code"] == "submission_count_wrong"
    elif output == "jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
        assert {row["object"] for row in rows} == {"setting", "look", "finding"}
    else:
        assert text.splitlines()[1].startswith("submission_count_wrong,broken,job_")


def test_before_the_first_job_there_is_nothing_to_find(tmp_path: Path) -> None:
    """A new place is healthy, and its archive can be written."""
    ended = call({"ORCHESTRATOR_DATA_DIR": str(tmp_path / "new")}, "doctor", "-o", "table")
    assert ended.exit_code == 0, ended.output
    assert "there are no jobs" in ended.stdout
    assert "written, read back and deleted" in ended.stdout


def test_a_schema_that_does_not_fit_is_a_finding(place: dict[str, str]) -> None:
    """And the place is looked at all the same."""
    damage(place, "UPDATE alembic_version SET version_num = '0000_older'")
    report = look(place)
    assert [found["code"] for found in report["findings"]] == ["schema_wrong"]
    assert "archive rights" in {each["name"] for each in report["looks"]}


def test_a_database_that_is_away_is_a_finding(tmp_path: Path) -> None:
    """No traceback, and its password nowhere."""
    settings = {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path),
        "ORCHESTRATOR_DATABASE_URL": f"postgresql://someone:{CANARY}@127.0.0.1:9/jobs",
    }
    ended = call(settings, "doctor", "-o", "json")
    assert ended.exit_code == 3
    assert [found["code"] for found in json.loads(ended.stdout)["findings"]] == ["database_unreachable"]
    assert CANARY not in ended.output


@pytest.mark.parametrize("url", ["redis://:{}@127.0.0.1:9/0", "amqp://guest:{}@127.0.0.1:9//"])
def test_a_broker_that_is_away_is_a_finding(place: dict[str, str], url: str) -> None:
    ended = call({**place, "ORCHESTRATOR_BROKER_URL": url.format(CANARY)}, "doctor", "-o", "json")
    assert ended.exit_code == 3
    assert [found["code"] for found in json.loads(ended.stdout)["findings"]] == ["broker_unreachable"]
    assert CANARY not in ended.output


def test_fix_runs_the_maintenance_and_says_so(place: dict[str, str]) -> None:
    """Without a key: it calls nobody. A call that lapsed long ago is held, an old download goes."""
    damage(
        place,
        "UPDATE batches SET finished_at = NULL, files_written_at = NULL, intake_done_at = '2020-01-01T00:00:00.000000Z'",
    )
    damage(place, "UPDATE jobs SET finished_at = '2020-01-01T00:00:00.000000Z'")
    assert [found["code"] for found in look(place)["findings"]] == ["batch_not_closed"]
    report = look(place, "--fix")
    assert report["is_healthy"]
    assert {"name": "batches", "words": "1 batches finished"} in report["fixed"]
    assert look(place)["fixed"] == []


def test_fix_leaves_what_costs_or_decides(place: dict[str, str]) -> None:
    """A queued job stays queued: running it is not maintenance."""
    recorded = call(place, *LAMP)
    assert recorded.exit_code == 0, recorded.output
    look(place, "--fix")
    rows = [json.loads(line) for line in call(place, "jobs", "list", "-o", "jsonl").stdout.splitlines()]
    assert [row["status"] for row in rows] == ["queued", "succeeded"]


def test_a_ledger_can_be_named(place: dict[str, str]) -> None:
    """Another sandbox's knows nothing of these jobs; one that is not there is told, because it was asked for."""
    with start(SandboxOptions(seed=4)) as other:
        report = look(place, "--ledger", other.base_url)
    assert [found["code"] for found in report["findings"]] == []  # a picture made in the call has no task to miss
    gone = look(place, "--ledger", other.base_url)
    assert [found["code"] for found in gone["findings"]] == ["ledger_unreadable"]


def test_a_running_sandbox_is_asked(tmp_path: Path) -> None:
    """The base URL is on this host: its control surface has the ledger."""
    with start(SandboxOptions(seed=4, speed=20.0)) as running:
        settings = {
            "ORCHESTRATOR_DATA_DIR": str(tmp_path),
            "ORCHESTRATOR_ZAI_BASE_URL": running.base_url,
            "ORCHESTRATOR_ZAI_API_KEY": f"id.{CANARY}",
            "ORCHESTRATOR_EGRESS_ALLOW": running.host_port,
        }
        assert call(settings, *LAMP, "--wait").exit_code == 0
        ended = call(settings, "doctor", "-o", "table")
    assert ended.exit_code == 0, ended.output
    assert "1 tasks of the provider were compared" in ended.stdout
    assert CANARY not in ended.output


@pytest.mark.parametrize("share", ["101%", "-1%", "all"])
def test_a_share_that_is_none_is_refused(place: dict[str, str], share: str) -> None:
    """A usage error, before anything is looked at."""
    ended = call(place, "doctor", "--verify", share)
    assert ended.exit_code == 2
    assert "such as 1% or 100%" in ended.stderr


def test_fix_without_a_table_says_so(tmp_path: Path) -> None:
    """Nothing is made where nothing is."""
    report = look({"ORCHESTRATOR_DATA_DIR": str(tmp_path / "new")}, "--fix")
    assert report["fixed"] == [{"name": "maintenance", "words": "not run: there is no job table to work on"}]
    assert not (tmp_path / "new" / "orchestrator.db").exists()


# -- settings ----------------------------------------------------------------------------------------------------


def test_each_setting_says_where_it_came_from(tmp_path: Path) -> None:
    """Flag over variable over file over default, and the one that won is named."""
    config = tmp_path / "fleet.toml"
    config.write_text('data_dir = "from-file"\nlog_level = "info"\nslot_rule = "during_call"\n')
    settings = {"ORCHESTRATOR_LOG_LEVEL": "error", "ORCHESTRATOR_LIMITS": "*=2"}
    arguments = ("--config", str(config), "--data-dir", str(tmp_path / "flag"))
    lines = {line["name"]: (line["value"], line["source"]) for line in look(settings, *arguments)["settings"]}
    assert lines["ORCHESTRATOR_DATA_DIR"] == (str(tmp_path / "flag"), "--data-dir")
    assert lines["ORCHESTRATOR_LOG_LEVEL"] == ("error", "ORCHESTRATOR_LOG_LEVEL")
    assert lines["ORCHESTRATOR_LIMITS"] == ("*=2", "ORCHESTRATOR_LIMITS")
    assert lines["ORCHESTRATOR_SLOT_RULE"] == ("during_call", f"--config {config}")
    assert lines["ORCHESTRATOR_TICK_SECONDS"] == ("1.0", "default")
    assert lines["ORCHESTRATOR_DATABASE_URL"][0].startswith("sqlite:///")


def test_values_read_as_they_are_written() -> None:
    """What is shown can be put into a variable again."""
    given = {"limits": "a=1,*=2", "poll_intervals": "video=5..30", "leases": "poll=90s", "egress_allow": "a,b:1"}
    settings, sources = load_with_sources(given)
    shown = {line.name: line.value for line in describe_settings(settings, sources)}
    again = load_settings({name: shown[f"ORCHESTRATOR_{name.upper()}"] for name in given})
    assert again.model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    ("name", "value", "password"),
    [
        ("zai_api_key", "id.{}", "{}"),
        ("secret_key", "{}" + "k" * 32, "{}" + "k" * 32),
        ("database_url", "postgresql://u:{}@h/d", "{}"),
        ("database_url", "postgresql://u:a@{}@h/d", "a@{}"),
        ("database_url", "postgresql://u:{}/x@h/d", "{}/x"),
        ("database_url", "postgresql://h/d?user=u&password={}", "{}"),
        ("broker_url", "redis://:{}@h:6379/0", "{}"),
        ("broker_url", "amqps://u:{}%2F@h//", "{}/"),
        ("http_proxy", "http://u:{}@proxy:3128", "{}"),
    ],
)
def test_no_secret_is_shown(name: str, value: str, password: str) -> None:
    """The canary: neither among the settings, nor in an error that quotes the URL or the password as it is meant."""
    settings, sources = load_with_sources({name: value.format(CANARY)})
    assert CANARY not in repr(describe_settings(settings, sources))
    assert CANARY not in hide_secrets(f"cannot connect to {value.format(CANARY)}, really", settings)
    assert CANARY not in hide_secrets(f"wrong password {password.format(CANARY)}", settings)


def test_a_secret_where_none_belongs_is_hidden_too() -> None:
    """Any address may be given with a password in it."""
    settings, sources = load_with_sources({"s3_endpoint_url": f"https://u:{CANARY}@store"})
    assert CANARY not in repr(describe_settings(settings, sources))


def test_every_mend_that_is_a_command_exists() -> None:
    """What a finding tells to type can be typed."""
    for rule in RULES.values():
        words = rule.mend.split()
        if words[0] == "orchestrator":
            parse_command(words[1:])

"""The command line as people and scripts meet it: forms of output, exit codes, errors that say what to do."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.db.migrate import newest
from orchestrator.sandbox import SandboxOptions, start

LAMP = {"model": "cogview-4-250304", "prompt": "a lamp", "size": "512x512"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give a data directory in which an image, a refused image and a transcription have run; and its settings."""
    folder = tmp_path_factory.mktemp("cli")
    speech = Path(__file__).parents[2] / "examples/speech/kite.wav"
    (folder / "kite.wav").write_bytes(speech.read_bytes())
    with start(SandboxOptions(seed=5, speed=20.0)) as sandbox:
        settings = {
            "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
            "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
            "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
            "ORCHESTRATOR_EGRESS_ALLOW": sandbox.host_port,
            "ORCHESTRATOR_TICK_SECONDS": "0.2",
        }
        lines = [
            {
                "custom_id": "=1+1",
                "kind": "image",
                "body": {"model": "cogview-4-250304", "prompt": "red kite \x1b[31m"},
            },
            {"custom_id": "talk", "kind": "transcription", "body": {"model": "glm-asr-2512", "file": "kite.wav"}},
        ]
        (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        ended = call(settings, "run", str(folder / "jobs.jsonl"))
        assert ended.exit_code == 0, ended.output
        yield settings


def call(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, input=text)


def jobs_of(settings: dict[str, str], *query: str) -> list[dict[str, Any]]:
    ended = call(settings, "jobs", "list", *query, "-o", "jsonl")
    assert ended.exit_code == 0, ended.output
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_lists_come_in_four_forms(place: dict[str, str]) -> None:
    """Surfaces section 1: table, json, jsonl, csv (I8: no formula in it); common options before or after the command."""
    assert len(jobs_of(place)) == 2
    as_json = json.loads(call(place, "-o", "json", "jobs", "list").stdout)
    assert {job["custom_id"] for job in as_json} == {"=1+1", "talk"}
    table = call(place, "jobs", "list", "-o", "table").stdout
    assert "custom_id" in table
    assert "\x1b" not in table
    rows = list(csv.DictReader(io.StringIO(call(place, "jobs", "list", "-o", "csv").stdout)))
    assert {row["custom_id"] for row in rows} == {"'=1+1", "talk"}  # fault I8: no formula runs


def test_queries_select_and_a_bad_one_points(place: dict[str, str]) -> None:
    """One grammar; an error names the character."""
    assert [job["kind"] for job in jobs_of(place, "kind:image")] == ["image"]
    assert [job["kind"] for job in jobs_of(place, "status:succeeded -kind:image")] == ["transcription"]
    assert jobs_of(place, "status:failed") == []
    bad = call(place, "jobs", "list", "statsu:failed")
    assert bad.exit_code == 2
    assert "status" in bad.stderr


def test_one_job_is_shown_whole(place: dict[str, str]) -> None:
    """show, show --raw, events, why, watch."""
    (job,) = jobs_of(place, "kind:image")
    shown = json.loads(call(place, "jobs", "show", job["id"], "--raw").stdout)
    assert shown["outputs"][0]["sha256"]
    assert len(shown["submissions"]) == 1
    assert "Signature" not in json.dumps(shown)
    events = [json.loads(line) for line in call(place, "jobs", "events", job["id"]).stdout.splitlines()]
    assert [event["type"] for event in events] == ["accepted", "submission_started", "outputs_ready", "archived"]
    assert job["id"] in call(place, "jobs", "why", job["id"]).stdout
    assert call(place, "jobs", "watch", job["id"]).exit_code == 0


def test_what_is_not_there_is_exit_5(place: dict[str, str], tmp_path: Path) -> None:
    """Not found is 5, for jobs, outputs and whole places."""
    for arguments in (
        ("jobs", "show", "job_x"),
        ("jobs", "events", "job_x"),
        ("outputs", "list", "job_x"),
        ("outputs", "url", "out_x"),
        ("jobs", "list", "--data-dir", str(tmp_path / "nowhere")),
    ):
        assert call(place, *arguments).exit_code == 5, arguments
    assert not (tmp_path / "nowhere").exists()


def test_outputs_are_listed_and_downloaded_with_their_hash_checked(place: dict[str, str], tmp_path: Path) -> None:
    """A file that is no longer what was stored is refused, and nothing that looks whole is left."""
    (job,) = jobs_of(place, "kind:image")
    (output,) = [json.loads(line) for line in call(place, "outputs", "list", job["id"]).stdout.splitlines()]
    assert call(place, "outputs", "url", output["id"]).stdout.startswith("file:///")
    good = call(place, "outputs", "download", job["id"], "--dir", str(tmp_path / "good"))
    assert good.exit_code == 0, good.output
    assert Path(good.stdout.strip()).stat().st_size == output["bytes"]
    stored = Path(place["ORCHESTRATOR_DATA_DIR"]) / "archive" / output["key"]
    whole = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(whole[:-1] + b"?")
    try:
        bad = call(place, "outputs", "download", job["id"], "--dir", str(tmp_path / "bad"))
    finally:
        stored.write_bytes(whole)
    assert bad.exit_code == 6
    assert list((tmp_path / "bad").iterdir()) == []


def test_export_has_no_limit_and_two_forms(place: dict[str, str]) -> None:
    """Csv is safe for spreadsheets; jsonl is everything."""
    rows = list(csv.DictReader(io.StringIO(call(place, "jobs", "export", "-o", "csv").stdout)))
    assert {row["status"] for row in rows} == {"succeeded"}
    assert len(call(place, "jobs", "export", "kind:image").stdout.splitlines()) == 1


def test_one_job_is_submitted_once_per_key(place: dict[str, str]) -> None:
    """--dry-run stores nothing; the same idempotency key gives the same job; `jobs run` runs what was recorded."""
    asked = ("submit", "image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512", "-o", "json")
    before = len(jobs_of(place))
    assert json.loads(call(place, *asked, "--dry-run").stdout)["price"] == "0.01"
    assert len(jobs_of(place)) == before
    first = json.loads(call(place, *asked, "--idempotency-key", "k1").stdout)
    again = json.loads(call(place, *asked, "--idempotency-key", "k1").stdout)
    assert first["id"] == again["id"]
    assert first["status"] == "queued"
    ran = call(place, "jobs", "run", first["id"])
    assert ran.exit_code == 0, ran.output
    other = call(place, "submit", "image", "-p", "another", "--idempotency-key", "k1")
    assert other.exit_code == 2


def test_files_typed_on_the_command_line_are_sent(place: dict[str, str]) -> None:
    """--file and --image name local files anywhere: copied, hashed, sent, and --wait runs the job to its end."""
    examples = Path(__file__).parents[2] / "examples"
    picture = next(path for path in sorted((examples / "pictures").iterdir()) if path.suffix in {".png", ".jpg"})
    talk = call(place, "submit", "transcription", "--file", str(examples / "speech/recipe.mp3"), "--wait")
    assert talk.exit_code == 0, talk.output
    assert json.loads(talk.stdout)["status"] == "succeeded"
    film = call(place, "submit", "video", "-m", "cogvideox-3", "-p", "it climbs", "--image", str(picture), "-o", "json")
    assert film.exit_code == 0, film.output
    shown = json.loads(film.stdout)
    assert picture.read_bytes() not in film.stdout.encode()
    digests = {path.name for path in (Path(place["ORCHESTRATOR_DATA_DIR"]) / "archive/inputs").iterdir()}
    assert hashlib.sha256(picture.read_bytes()).hexdigest() in digests
    assert call(place, "jobs", "run", shown["id"]).exit_code == 0
    missing = call(place, "submit", "video", "-p", "x", "--image", "nowhere.png")
    assert missing.exit_code == 2
    assert "nowhere.png" in missing.stderr


def test_faults_of_one_request_name_the_field(place: dict[str, str]) -> None:
    """Exit 2, the field, the value, what is allowed; nothing stored."""
    before = len(jobs_of(place))
    ended = call(place, "submit", "video", "-m", "cogvideox-3", "-p", "x", "--param", "duration=7")
    assert ended.exit_code == 2
    assert "body.duration" in ended.stderr
    assert "5, 10" in ended.stderr
    assert call(place, "submit", "film", "-p", "x").exit_code == 2
    assert len(jobs_of(place)) == before


def test_a_budget_refuses_before_the_first_cent(place: dict[str, str], tmp_path: Path) -> None:
    """A20, of a whole file: --max-cost: exit 4, nothing stored."""
    path = tmp_path / "dear.jsonl"
    body = {"model": "viduq1-text", "prompt": "x"}
    path.write_text(json.dumps({"custom_id": "dear", "kind": "video", "body": body}) + "\n")
    ended = call(place, "run", str(path), "--max-cost", "0.39")
    assert ended.exit_code == 4, ended.output
    assert "0.40" in ended.stderr
    assert jobs_of(place, "custom_id:dear") == []


def test_stdin_is_a_job_file(place: dict[str, str]) -> None:
    """`-` reads stdin; the same text again pays nothing."""
    line = {"custom_id": "piped", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a pipe"}}
    first = call(place, "run", "-", text=json.dumps(line) + "\n")
    again = call(place, "run", "-", text=json.dumps(line) + "\n")
    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert len(jobs_of(place, "custom_id:piped")) == 1


def test_jobs_are_cancelled_and_retried(place: dict[str, str]) -> None:
    """Queued: cancelled for nothing. A retry that would be a charge needs --yes."""
    asked = ("submit", "image", "-p", "to cancel", "-o", "json")
    job = json.loads(call(place, *asked).stdout)
    assert call(place, "jobs", "cancel", job["id"]).exit_code == 0
    assert call(place, "jobs", "cancel", job["id"]).exit_code == 2
    refused = call(place, "jobs", "retry", job["id"])
    assert refused.exit_code == 2
    assert "charge" in refused.stderr
    assert call(place, "jobs", "retry", job["id"], "--yes").exit_code == 0
    assert call(place, "jobs", "cancel", job["id"]).exit_code == 0


def test_one_job_that_cannot_be_acted_on_does_not_stop_the_others(place: dict[str, str]) -> None:
    """Promise 9: the rest is cancelled and retried; the exit code is that of the first that was not."""
    ids = [json.loads(call(place, "submit", "image", "-p", f"n{n}", "-o", "json").stdout)["id"] for n in range(2)]
    ended = call(place, "jobs", "cancel", ids[0], "job_x", ids[1])
    assert ended.exit_code == 5
    assert "job_x" in ended.stderr
    assert [line.split(": ") for line in ended.stdout.splitlines()] == [[ids[0], "cancelled"], [ids[1], "cancelled"]]
    (done,) = jobs_of(place, "custom_id:talk")
    again = call(place, "jobs", "retry", done["id"], *ids, "--yes")
    assert again.exit_code == 2
    assert len(again.stdout.splitlines()) == 2
    assert call(place, "jobs", "cancel", *ids).exit_code == 0


def test_a_line_of_a_file_is_not_run_by_itself(place: dict[str, str], tmp_path: Path) -> None:
    """`jobs run` would pay for its whole file: refused, naming the way that says so."""
    lines = [{"custom_id": f"pair-{n}", "kind": "image", "body": {**LAMP, "prompt": f"pair {n}"}} for n in range(2)]
    path = tmp_path / "pair.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    taken = call({**place, "ORCHESTRATOR_ZAI_BASE_URL": "http://127.0.0.1:9/v4"}, "run", str(path), "--max-cost", "0")
    assert taken.exit_code == 4
    assert jobs_of(place, "custom_id:pair-0") == []
    assert call(place, "run", str(path)).exit_code == 0
    (job,) = jobs_of(place, "custom_id:pair-0")
    ended = call(place, "jobs", "run", job["id"])
    assert ended.exit_code == 2
    assert "2 jobs" in ended.stderr
    assert " run FILE" in ended.stderr


@pytest.mark.parametrize("query", ["status:nonsense", "created:>soon", '"open', "cost:>dear", "colour:red"])
def test_a_bad_query_is_refused_where_it_is_wrong(place: dict[str, str], query: str) -> None:
    """Exit 2; the error names the character at which it stands, for list and export alike."""
    for command in ("list", "export"):
        ended = call(place, "jobs", command, f"kind:image {query}")
        assert ended.exit_code == 2, ended.output
        assert re.search(r"character \d+|column \d+|\^", ended.stderr), ended.stderr
        assert ended.stdout == ""


def test_nothing_of_an_event_or_a_reason_reaches_the_terminal(place: dict[str, str]) -> None:
    """I13: a reason typed with escapes comes out inert, in every form."""
    job = json.loads(call(place, "submit", "image", "-p", "x", "-o", "json").stdout)
    nasty = "no\x1b[2J\x9b31m\r\u202e"
    assert call(place, "jobs", "cancel", job["id"], "--reason", nasty).exit_code == 0
    for form in ("table", "json", "jsonl", "csv"):
        out = (
            call(place, "jobs", "events", job["id"], "-o", form).stdout
            + call(place, "jobs", "watch", job["id"], "-o", form).stdout
        )
        for bad in ("\x1b", "\x9b", "\u202e"):
            assert bad not in out, (form, bad)


def test_the_schema_commands(place: dict[str, str], tmp_path: Path) -> None:
    """Upgrade twice is safe; check is exit 3 where something is missing."""
    fresh = ("--data-dir", str(tmp_path / "fresh"))
    assert call(place, "db", "upgrade", *fresh).exit_code == 0
    assert "already at" in call(place, "db", "upgrade", *fresh).stdout
    assert call(place, "db", "check", *fresh).exit_code == 0
    assert json.loads(call(place, "db", "current", *fresh).stdout)["revision"] == newest()
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    ended = CliRunner().invoke(main, ["db", "check"], env={**place, "ORCHESTRATOR_DATABASE_URL": empty})
    assert ended.exit_code == 3
    assert "db upgrade" in ended.stderr


def test_the_key_appears_nowhere(place: dict[str, str]) -> None:
    """Fault I3, promise 13: not in the database, the journal or the archive."""
    for path in Path(place["ORCHESTRATOR_DATA_DIR"]).rglob("*"):
        if path.is_file():
            assert b"id.canary" not in path.read_bytes(), path


def test_every_command_teaches(place: dict[str, str]) -> None:
    """--help of every command says what it does."""
    assert "paid once" in call(place, "--help").stdout
    for name in main.commands:
        ended = call(place, name, "--help")
        assert ended.exit_code == 0
        assert len(ended.stdout.splitlines()) > 5
    assert json.loads(call(place, "version").stdout)["version"]

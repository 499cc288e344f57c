"""`jobs review|attach|resubmit|write-off|adopt`: what a person types, what is asked, what is said, with which exit code."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.asking import ask
from orchestrator.cli.main import main
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start

LINES = (
    {"custom_id": "first", "kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}},
    {"custom_id": "second", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite"}},
)


@pytest.fixture
def provider() -> Iterator[RunningSandbox]:
    """Give a provider that takes each request and loses the answer."""
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        rules = [{"fault": "lost_answer", "phase": "submit"}]
        httpx.put(f"{sandbox.control_url}/faults", json=rules, trust_env=False).raise_for_status()
        yield sandbox


@pytest.fixture
def place(tmp_path: Path, provider: RunningSandbox) -> dict[str, str]:
    """Give the settings of a data directory with a video and a picture that nobody can explain."""
    settings = {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"),
        "ORCHESTRATOR_ZAI_BASE_URL": provider.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
        "ORCHESTRATOR_EGRESS_ALLOW": provider.host_port,
        "ORCHESTRATOR_TICK_SECONDS": "0.1",
        "ORCHESTRATOR_POLL_INTERVALS": "video=0.1..0.5",
        "ORCHESTRATOR_CALL_DEADLINES": "video=2s,image=2s,transcription=2s",
        "ORCHESTRATOR_LEASES": "submit=10s",
    }
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    ended = call(settings, "run", str(tmp_path / "jobs.jsonl"))
    assert (ended.exit_code, "jobs review" in ended.stderr) == (3, True)
    return settings


def call(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, input=text)


def jobs(settings: dict[str, str], *arguments: str, text: str | None = None) -> Result:
    return call(settings, "jobs", *arguments, text=text)


def the_job(settings: dict[str, str], custom_id: str = "first") -> dict[str, Any]:
    (line,) = jobs(settings, "list", f"custom_id:{custom_id}", "-o", "jsonl").stdout.splitlines()
    job: dict[str, Any] = json.loads(line)
    return job


def tasks(provider: RunningSandbox) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = httpx.get(f"{provider.control_url}/ledger", trust_env=False).json()["data"]
    return rows


def charges(provider: RunningSandbox) -> list[tuple[object, object]]:
    return [(row["id"], row["price"] if row["charged"] else None) for row in tasks(provider)]


def submit_elsewhere(provider: RunningSandbox, model: str, count: int) -> None:
    """Submit films as a script would that knows nothing of this project; each is done before the next."""
    httpx.put(f"{provider.control_url}/faults", json=[], trust_env=False).raise_for_status()
    quick = {"*": {"mean_seconds": 0, "jitter": 0}}
    httpx.put(f"{provider.control_url}/latency", json=quick, trust_env=False).raise_for_status()
    key = {"Authorization": "Bearer id.secret"}
    for number in range(count):
        body = {"model": model, "prompt": f"a lamp, {number}"}
        url = f"{provider.base_url}/videos/generations"
        httpx.post(url, json=body, headers=key, trust_env=False).raise_for_status()


def last_event(settings: dict[str, str], job_id: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(jobs(settings, "events", job_id, "-o", "jsonl").stdout.splitlines()[-1])
    return event


LATER = {"ORCHESTRATOR_CALL_DEADLINES": "video=1h,image=1h"}
"""Settings under which an earlier call may still be under way."""


def test_a_review_has_the_evidence_and_commands_to_paste(place: dict[str, str]) -> None:
    """Jsonl for programs, words for people; the commands meet the same data directory."""
    found = [json.loads(line) for line in jobs(place, "review", "-o", "jsonl").stdout.splitlines()]
    assert {each["custom_id"] for each in found} == {"first", "second"}
    video = next(each for each in found if each["custom_id"] == "first")
    assert video["at_stake"]["amount"] == "0.40"
    assert video["evidence"][-1]["moment"] == "sent"  # a slow machine may not have come to sending in a first try
    text = jobs(place, "review", "-o", "table").stdout
    data_dir = place["ORCHESTRATOR_DATA_DIR"]
    assert f"orchestrator --data-dir {data_dir} jobs attach {video['id']} --task-id TASK_ID" in text
    assert "submission 1 of" in text
    limited = jobs(place, "review", "--limit", "1", "-o", "csv")
    assert len(limited.stdout.splitlines()) == 2
    assert "--after" in limited.stderr


def test_no_job_to_review_is_said(tmp_path: Path) -> None:
    """An empty list is an answer."""
    settings = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"), "ORCHESTRATOR_ZAI_API_KEY": "id.canary"}
    call(settings, "db", "upgrade")
    assert "no job waits" in jobs(settings, "review").stderr


def test_attach_leads_to_the_end_without_a_new_charge(place: dict[str, str], provider: RunningSandbox) -> None:
    """A4 on the command line: pasted, then `jobs run` would finish it; pasted again: nothing; another's: conflict."""
    job = the_job(place)
    task = next(row for row in tasks(provider) if row["kind"] == "video")
    attached = jobs(place, "attach", job["id"], "--task-id", task["id"], "--reason", "found in the console")
    assert (attached.exit_code, "processing" in attached.stdout) == (0, True)
    assert f"batches run {job['batch_id']}" in attached.stderr
    event = last_event(place, job["id"])
    assert (event["type"], event["actor"], event["reason"]) == ("late_task_id", "local", "found in the console")
    assert jobs(place, "attach", job["id"], "--task-id", task["id"]).exit_code == 0
    other = jobs(place, "attach", job["id"], "--task-id", "another")
    assert (other.exit_code, "adopt" in other.stderr) == (2, True)
    assert len(tasks(provider)) == 2


def test_attach_refuses_a_task_that_the_provider_does_not_know(place: dict[str, str]) -> None:
    """A slip of the pen is told before it is kept; where nobody can ask, that is said, and --unchecked asks nobody."""
    job = the_job(place)
    refused = jobs(place, "attach", job["id"], "--task-id", "tsak")
    assert (refused.exit_code, "the provider knows no task tsak" in refused.stderr) == (2, True)
    assert the_job(place)["status"] == "needs_review"
    offline = jobs(place | {"ORCHESTRATOR_ZAI_API_KEY": ""}, "attach", job["id"], "--task-id", "tsak")
    assert (offline.exit_code, "nobody asked the provider" in offline.stderr) == (0, True)


def test_attach_unchecked_asks_nobody(place: dict[str, str]) -> None:
    """For whoever knows better."""
    job = the_job(place)
    attached = jobs(place, "attach", job["id"], "--task-id", "tsak", "--unchecked")
    assert (attached.exit_code, "warning" in attached.stderr) == (0, False)
    assert the_job(place)["provider_task_id"] == "tsak"


def test_attach_on_an_immediate_kind_is_a_conflict(place: dict[str, str]) -> None:
    """Exit 2, and what to do instead."""
    refused = jobs(place, "attach", the_job(place, "second")["id"], "--task-id", "task")
    assert refused.exit_code == 2
    assert "answered at once" in refused.stderr
    assert "write it off" in refused.stderr
    assert jobs(place, "attach", "job_x", "--task-id", "task").exit_code == 5


def test_resubmit_says_the_price_and_asks(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A no leaves everything as it is (exit 4); a yes pays again; the second press is told (exit 2)."""
    monkeypatch.setattr("orchestrator.cli.asking.is_terminal", lambda: True)
    ids = [the_job(place, name)["id"] for name in ("first", "second")]
    early = jobs(place | LATER, "resubmit", *ids, "--yes")
    assert (early.exit_code, "under way" in early.stderr) == (2, True)
    wait_over = place | {
        "ORCHESTRATOR_CALL_DEADLINES": "video=0.001s,image=0.001s",
        "ORCHESTRATOR_LEASES": "submit=0.001s",
    }
    no = jobs(wait_over, "resubmit", *ids, text="n\n")
    assert (no.exit_code, "0.41 USD" in no.stderr) == (4, True)
    assert "may have been taken: then it is charged as well" in no.stderr
    with monkeypatch.context() as piped:
        piped.setattr("orchestrator.cli.asking.is_terminal", lambda: False)
        nobody = jobs(wait_over, "resubmit", *ids, text="y\n")
    assert (nobody.exit_code, "--yes agrees" in nobody.stderr) == (4, True)
    assert the_job(place)["status"] == "needs_review"
    yes = jobs(wait_over, "resubmit", *ids, "--reason", "not in the console", text="y\n")
    assert yes.exit_code == 0, yes.output
    batch_id = the_job(place)["batch_id"]
    (step,) = [line for line in yes.stderr.splitlines() if line.startswith("run it")]  # one for both: one batch
    assert step.endswith(f"--data-dir {place['ORCHESTRATOR_DATA_DIR']} batches run {batch_id}")
    assert (the_job(place)["status"], the_job(place, "second")["status"]) == ("queued", "queued")
    event = last_event(place, ids[0])
    assert (event["type"], event["actor"], event["reason"]) == ("resubmit", "local", "not in the console")
    again = jobs(wait_over, "resubmit", *ids, "job_x", "--yes")
    assert again.exit_code == 2
    assert again.stderr.count("only held jobs") == 2
    assert "there is no job job_x" in again.stderr
    assert jobs(wait_over, "resubmit", "job_x").exit_code == 5


def test_nothing_is_resubmitted_that_nobody_was_asked_about(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose waiting time ends while the person reads the question was not in it."""
    first, second = the_job(place)["id"], the_job(place, "second")["id"]
    settings = place | {
        "ORCHESTRATOR_CALL_DEADLINES": "video=0.001s,image=1h",
        "ORCHESTRATOR_LEASES": "submit=0.001s",
    }

    def confirm(question: str, **_: object) -> bool:
        assert "1 job again" in question
        with closing(sqlite3.connect(Path(place["ORCHESTRATOR_DATA_DIR"]) / "orchestrator.db")) as connection:
            connection.execute("UPDATE submissions SET intent_at = '2020-01-01T00:00:00.000000Z'")
            connection.commit()
        return True

    monkeypatch.setattr("orchestrator.cli.asking.is_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", confirm)
    ended = jobs(settings, "resubmit", first, second)
    assert (ended.exit_code, "under way" in ended.stderr) == (2, True)
    assert (the_job(place)["status"], the_job(place, "second")["status"]) == ("queued", "needs_review")


def test_write_off_keeps_the_cost_unknown(place: dict[str, str]) -> None:
    """failed(written_off), with the reason in the message and in the history; pressed twice: conflict."""
    ids = [the_job(place, name)["id"] for name in ("first", "second")]
    assert jobs(place, "write-off", *ids, "--reason", "not needed any more").exit_code == 0
    job = the_job(place)
    assert (job["status"], job["failure"]["code"]) == ("failed", "written_off")
    assert "not needed any more" in job["failure"]["message"]
    assert (job["cost"]["final"], job["cost"]["charge"]) == (None, "unknown")
    assert last_event(place, ids[0])["actor"] == "local"
    assert jobs(place, "write-off", *ids).exit_code == 2
    too_early = jobs(place | LATER, "retry", ids[0], "--yes")
    assert (too_early.exit_code, "under way" in too_early.stderr) == (2, True)


def test_retry_of_a_held_job_names_resubmit(place: dict[str, str]) -> None:
    """It never pays by itself."""
    refused = jobs(place, "retry", the_job(place)["id"], "--yes")
    assert (refused.exit_code, "jobs resubmit" in refused.stderr) == (2, True)


def test_what_a_person_decides_is_in_the_audit_log(place: dict[str, str]) -> None:
    """Each with the job, who asked and why, also what was refused; of one that is not there nothing."""
    job_id = the_job(place)["id"]
    jobs(place, "write-off", job_id, "--reason", "too late")
    jobs(place, "retry", job_id, "--reason", "not so late")
    jobs(place, "cancel", job_id, "--reason", "enough")
    jobs(place, "cancel", "job_none")
    jobs(place, "adopt", "--task-id", "elsewhere", "--kind", "video", "--reason", "found")
    with closing(sqlite3.connect(Path(place["ORCHESTRATOR_DATA_DIR"]) / "orchestrator.db")) as table:
        rows = table.execute("SELECT action, subject, actor, owner, reason FROM audit_log ORDER BY id").fetchall()
    assert sorted(row for row in rows if row[0] != "batch.create") == [
        ("job.adopt", "elsewhere", "local", "local", "found"),
        ("job.cancel", job_id, "local", "local", "enough"),
        ("job.retry", job_id, "local", "local", "not so late"),
        ("job.write_off", job_id, "local", "local", "too late"),
    ]
    assert [row[0] for row in rows].count("batch.create") == 1


def test_adopt_then_run(place: dict[str, str], provider: RunningSandbox) -> None:
    """A task from elsewhere: recorded, run, archived; adopted again: the same job, exit 0, and it says so."""
    task = next(row for row in tasks(provider) if row["kind"] == "video")
    arguments = ("adopt", "--task-id", task["id"], "--kind", "video", "--custom-id", "mine", "--tag", "from=console")
    adopted = jobs(place, *arguments, "--reason", "made by hand")
    assert adopted.exit_code == 0, adopted.output
    job = json.loads(adopted.stdout)
    assert (job["status"], job["provider_task_id"], job["cost"]["estimate"]) == ("processing", task["id"], None)
    assert f" jobs run {job['id']}" in adopted.stderr
    assert (last_event(place, job["id"])["type"], last_event(place, job["id"])["actor"]) == ("adopted", "local")
    again = jobs(place, *arguments)
    assert (again.exit_code, json.loads(again.stdout)["id"]) == (0, job["id"])
    assert "known already" in again.stderr
    ended = jobs(place, "run", job["id"])
    assert ended.exit_code == 0, ended.output
    assert the_job(place, "mine")["status"] == "succeeded"
    assert len(tasks(provider)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "transcription"), "answered at once"),
        (("--kind", "image", "-m", "cogview-4"), "answered at once"),
        (("--kind", "film"), "there is no kind"),
        (("--kind", "video", "-m", "cogvideo-3"), "cogvideox-3"),
        (("--kind", "video", "--tag", "x"), "NAME=VALUE"),
    ],
)
def test_what_adopt_refuses(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, with a word on what is wrong."""
    settings = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"), "ORCHESTRATOR_ZAI_API_KEY": "id.canary"}
    refused = jobs(settings, "adopt", "--task-id", "task-1", *arguments)
    assert refused.exit_code == 2, refused.output
    assert words in refused.stderr


def test_a_file_of_tasks_is_adopted(place: dict[str, str], provider: RunningSandbox, tmp_path: Path) -> None:
    """Bare ids and objects; each task once, known ones said; the file again adopts nothing new, and nothing is paid."""
    submit_elsewhere(provider, "cogvideox-3", 2)
    one, two, three = (row["id"] for row in tasks(provider) if row["kind"] == "video")
    path = tmp_path / "ids.jsonl"
    path.write_text(f"# from the old script\n{one}\n\n{json.dumps({'task_id': two, 'model': 'cogvideox-3'})}\r\n")
    adopted = jobs(place, "adopt", "--file", str(path), "--kind", "video", "--tag", "from=script", "-o", "jsonl")
    assert adopted.exit_code == 0, adopted.output
    rows = [json.loads(line) for line in adopted.stdout.splitlines()]
    assert [(row["line"], row["task_id"], row["adopted"]) for row in rows] == [(2, one, True), (4, two, True)]
    assert ("2 tasks: 2 adopted, 0 known already" in adopted.stderr, "archive sweep" in adopted.stderr) == (True, True)
    again = jobs(place, "adopt", "--file", "-", "--kind", "video", text=f"{one}\n{three}\n")
    assert "2 tasks: 1 adopted, 1 known already" in again.stderr
    shown = json.loads(jobs(place, "show", rows[1]["id"]).stdout)
    assert (shown["model"], shown["tags"], shown["status"]) == ("cogvideox-3", {"from": "script"}, "processing")
    assert shown["cost"]["estimate"] is None
    assert len(tasks(provider)) == 4  # two of the place's, two of the script's


def test_twenty_adopted_tasks_are_archived_by_one_sweep(
    place: dict[str, str], provider: RunningSandbox, tmp_path: Path
) -> None:
    """The command that adopting names does it all: polled, archived, succeeded, and not a request more is paid."""
    submit_elsewhere(provider, "viduq1-text", 20)
    theirs = [row["id"] for row in tasks(provider) if row["kind"] == "video"][-20:]
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(theirs))
    charged = charges(provider)
    adopted = jobs(place, "adopt", "--file", str(path), "--kind", "video", "--tag", "from=script")
    assert adopted.exit_code == 0, adopted.output
    swept = call(place, "archive", "sweep", "--wait", "-o", "json")
    assert swept.exit_code == 0, swept.output
    counts = json.loads(swept.stdout)
    assert (counts["unarchived"], counts["running"], counts["archived"] >= 20) == (0, 0, True)
    found = [json.loads(line) for line in jobs(place, "list", "tag:from=script", "-o", "jsonl").stdout.splitlines()]
    assert sorted(job["provider_task_id"] for job in found) == sorted(theirs)
    assert {job["status"] for job in found} == {"succeeded"}
    assert charges(provider) == charged


def test_a_wrong_file_of_tasks_adopts_nothing(place: dict[str, str]) -> None:
    """Every fault with its line, none of the file's tasks taken; the kind of a bare id must be said."""
    lines = (
        "good-1",
        '{"task_id": 5}',
        '{"taskid": "x", "kind": "video"}',
        "two words",
        "good-1",
        '{"task_id": "a"',
        "",
    )
    refused = jobs(place, "adopt", "--file", "-", "--kind", "video", text="\n".join(lines))
    assert refused.exit_code == 2, refused.output
    assert all(f"line {number}" in refused.stderr for number in (2, 3, 4, 5, 6)), refused.stderr
    assert ("did you mean task_id?" in refused.stderr, "stands on line 1 already" in refused.stderr) == (True, True)
    assert "good-1" not in jobs(place, "list", "-o", "jsonl").stdout
    bare = jobs(place, "adopt", "--file", "-", text="good-1\n")
    assert (bare.exit_code, "--kind" in bare.stderr) == (2, True)
    empty = jobs(place, "adopt", "--file", "-", "--kind", "video", text="# nothing\n")
    assert (empty.exit_code, "names no task" in empty.stderr) == (2, True)
    both = jobs(place, "adopt", "--file", "-", "--task-id", "x", "--kind", "video", text="y\n")
    assert (both.exit_code, "--file" in both.stderr) == (2, True)


def test_a_policy_without_a_cap_is_refused(place: dict[str, str]) -> None:
    """ON_UNKNOWN=resubmit alone would do nothing, silently."""
    adopted = jobs(place, "adopt", "--task-id", "task-1", "--kind", "video", "-o", "json")
    ended = jobs(place | {"ORCHESTRATOR_ON_UNKNOWN": "resubmit"}, "run", json.loads(adopted.stdout)["id"])
    assert (ended.exit_code, "RESUBMIT_MAX" in ended.stderr) == (2, True)


def test_a_retry_says_who_goes_on(tmp_path: Path) -> None:
    """A job by itself is run by its id; what was not moved leaves nothing to run."""
    settings = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"), "ORCHESTRATOR_ZAI_API_KEY": "id.canary"}
    recorded = call(settings, "submit", "image", "-p", "a lamp", "-m", "cogview-4-250304", "--param", "size=512x512")
    job_id = json.loads(recorded.stdout)["id"]
    jobs(settings, "cancel", job_id)
    refused = jobs(settings, "retry", job_id)
    assert (refused.exit_code, "run it" in refused.stderr) == (2, False)
    retried = jobs(settings, "retry", job_id, "--yes")
    assert retried.stderr == f"run it with: orchestrator --data-dir {tmp_path / 'data'} jobs run {job_id}\n"


def test_an_interrupt_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a question stays 130: it is not the silence of a closed stdin."""

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.asking.is_terminal", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", interrupt)
    with pytest.raises(click.Abort):
        ask("go on?", is_sure=False)

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
from orchestrator.cli.running import HowToRun
from orchestrator.config import load_settings
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from orchestrator.services.batch_actions import cancel_batch
from orchestrator.wiring import open_app

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
    assert all(Path(url.removeprefix("file://")).is_file() for url in shown["files"].values())
    assert sorted(shown["files"]) == ["errors.jsonl", "input.jsonl", "results.jsonl", "summary.json"]
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


def test_what_is_asked_of_a_batch_is_in_the_audit_log(settings: dict[str, str], provider: RunningSandbox) -> None:
    """The file that came in, budget, retry and cancel: with how many jobs, and why."""
    set_faults(provider)
    (batch,) = (json.loads(line) for line in batches(settings, "list", "-o", "jsonl").stdout.splitlines())
    batches(settings, "budget", batch["id"], "5")
    child = json.loads(batches(settings, "retry", batch["id"], "--yes", "--reason", "once more", "-o", "json").stdout)
    batches(settings, "cancel", child["child"], "--yes", "--reason", "enough")
    with open_app(load_settings({"data_dir": Path(settings["ORCHESTRATOR_DATA_DIR"])})) as app:
        entries = app.audit_log.list_entries(limit=10)
    found = {entry.action: (entry.subject, entry.reason, entry.count, entry.owner) for entry in entries}
    assert found["batch.create"][1:] == ("", 2, "local")
    assert found["batch.budget"] == (batch["id"], "to 5.00", 1, "local")
    assert found["batch.retry"] == (batch["id"], "once more", 1, "local")
    assert found["batch.cancel"] == (child["child"], "enough", 1, "local")


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
    assert (kept.exit_code, "stop 1 queued job, " in kept.stderr) == (4, True)
    stopped = batches(settings, "cancel", child, "--yes", "-o", "json")
    assert json.loads(stopped.stdout) == {"id": child, "stopped": 1, "runs_on": 0}
    shown = json.loads(batches(settings, "show", child, "-o", "json").stdout)
    assert (shown["status"], shown["job_counts"]["cancelled"]) == ("finished", 1)
    assert Path(shown["files"]["errors.jsonl"].removeprefix("file://")).read_text().count("cancelled")
    assert posts(provider) == paid


def test_a_finished_batch_has_nothing_left_to_cancel(settings: dict[str, str]) -> None:
    """Nothing is asked, nothing marked; a retry that still runs is named with what would cancel it."""
    batch_id = newest(settings)
    refused = batches(settings, "cancel", batch_id)
    assert (refused.exit_code, "has finished: there is nothing left to cancel" in refused.stderr) == (2, True)
    assert "cancel it?" not in refused.stderr
    assert json.loads(batches(settings, "show", batch_id, "-o", "json").stdout)["cancel_requested_at"] is None
    child = json.loads(batches(settings, "retry", batch_id, "--yes", "-o", "json").stdout)["child"]
    refused = batches(settings, "cancel", batch_id, "--yes")
    assert refused.exit_code == 2
    assert f"{child} tries it again and is not cancelled with it" in refused.stderr
    assert f"batches cancel {child}" in refused.stderr
    assert batches(settings, "cancel", child, "--yes").exit_code == 0
    assert child not in batches(settings, "cancel", batch_id).stderr


def test_a_cancel_that_died_before_its_files_is_ended_by_the_next(settings: dict[str, str]) -> None:
    """There is nothing left to cancel, and no sweep where nobody runs anything: the files come all the same."""
    child = json.loads(batches(settings, "retry", newest(settings), "--yes", "-o", "json").stdout)["child"]
    with open_app(load_settings({"data_dir": settings["ORCHESTRATOR_DATA_DIR"]})) as app:
        cancel_batch(app.cancels, child, actor="local", reason="")
        assert app.batches.finish_done() == [child]
    assert json.loads(batches(settings, "show", child, "-o", "json").stdout)["files"] is None
    again = batches(settings, "cancel", child, "--yes")
    assert (again.exit_code, "nothing left to cancel" in again.stderr) == (2, True)
    files = json.loads(batches(settings, "show", child, "-o", "json").stdout)["files"]
    assert Path(files["errors.jsonl"].removeprefix("file://")).read_text().count("cancelled")


def test_a_cancelled_batch_that_has_ended_is_not_said_to_be_under_way(settings: dict[str, str], tmp_path: Path) -> None:
    """The same file again: what it was, and what brings its lines back."""
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({**LINES[0], "custom_id": "third"}) + "\n")
    batch_id = json.loads(batches(settings, "submit", str(path), "-o", "json").stdout)["id"]
    assert batches(settings, "cancel", batch_id, "--yes").exit_code == 0
    again = batches(settings, "submit", str(path))
    assert "was cancelled and has finished" in again.stderr
    assert "is being cancelled" not in again.stderr
    assert "known already: it has finished; nothing is paid for twice" in again.stderr
    assert (
        f"nothing of it is left to run. Look with: orchestrator --data-dir {tmp_path / 'data'} batches show"
        in again.stderr
    )
    assert "run it with" not in again.stderr
    assert "going on" not in again.stderr


def test_what_a_retry_lacks_is_named_given_and_spent(
    settings: dict[str, str], provider: RunningSandbox, tmp_path: Path
) -> None:
    """A20: its own amount stops it (4); the hint names the command that raises it, with the budgets above, and then what
    goes on is `batches run`, not the file.
    """
    place, path = settings["ORCHESTRATOR_DATA_DIR"], tmp_path / "more.jsonl"
    path.write_text(
        json.dumps({"custom_id": "x", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}) + "\n"
    )
    set_faults(provider, {"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"})
    assert call(settings, "run", str(path)).exit_code == 3
    set_faults(provider, {"fault": "fail"})
    retried = batches(settings, "retry", newest(settings), "--max-cost", "0.2", "--yes", "-o", "json")
    child = json.loads(retried.stdout)["child"]
    failed = batches(settings, "run", child, "-o", "jsonl")
    (job,) = rows(failed)
    assert (failed.exit_code, job["error"]["code"]) == (3, "provider_failed")
    set_faults(provider)
    assert call(settings, "jobs", "retry", job["id"], "--yes").exit_code == 0
    stopped = batches(settings, "run", child)
    assert (stopped.exit_code, f"of 0.20 for {child}" in stopped.stderr) == (4, True)
    assert f"go on with: orchestrator --data-dir {place} batches run {child}\n" in stopped.stderr
    assert "the same file" not in stopped.stderr
    assert f"hint: Give it more with `orchestrator --data-dir {place} batches budget ID AMOUNT`" in stopped.stderr
    assert batches(settings, "budget", child, "0.39").exit_code == 4
    given = batches(settings, "budget", child, "0.4", "-o", "json")
    assert json.loads(given.stdout) == {"id": child, "max_cost": "0.40", "former": "0.20", "raised": []}
    assert "budget: 0.40 from now on; it was 0.20" in given.stderr
    assert f"run it with: orchestrator --data-dir {place} batches run {child}\n" in given.stderr
    assert batches(settings, "run", child).exit_code == 0


def test_a_single_job_goes_on_by_its_own_command(settings: dict[str, str]) -> None:
    """There is no file to run again: `jobs run` names itself, and so does `submit --wait`."""
    place = settings["ORCHESTRATOR_DATA_DIR"]
    assert call(settings, "models", "pause", "viduq1-text").exit_code == 0
    body = ("video", "--model", "viduq1-text", "--prompt", "a kite")
    job_id = json.loads(call(settings, "submit", *body, "-o", "json").stdout)["id"]
    ended = call(settings, "jobs", "run", job_id)
    assert (ended.exit_code, "the same file" in ended.stderr) == (6, False)
    assert f"go on with: orchestrator --data-dir {place} jobs run {job_id}\n" in ended.stderr
    waited = call(settings, "submit", *body, "--wait")
    assert f"go on with: orchestrator --data-dir {place} jobs run job_" in waited.stderr


def test_what_workers_have_goes_on_without_a_command() -> None:
    """Held jobs that are settled go on by themselves there; here somebody has to run what waits for them."""
    watched = HowToRun(is_watching=True).next_steps("batch_1")
    assert watched == HowToRun(broker_url="redis://localhost").next_steps("batch_1")
    assert watched.now == "the workers go on; look on with: orchestrator batches watch batch_1"
    assert watched.when_stuck == "settle them, and the workers go on"
    ours = HowToRun().next_steps("batch_1")
    assert ours.when_stuck == "settle them, then go on with: orchestrator batches run batch_1"


def test_budgets_above_a_retry_are_raised_and_named(settings: dict[str, str]) -> None:
    """Else the amount for the retry would not be there."""
    batch_id = newest(settings)
    assert batches(settings, "budget", batch_id, "0.41").exit_code == 0
    child = json.loads(batches(settings, "retry", batch_id, "--yes", "-o", "json").stdout)["child"]
    assert json.loads(batches(settings, "show", child, "-o", "json").stdout)["cost"]["max"] is None
    given = batches(settings, "budget", child, "0.05", "-o", "json")
    assert json.loads(given.stdout)["raised"] == [batch_id]
    assert f"budget of {batch_id}, which it tries again: 0.45 from now on" in given.stderr
    assert json.loads(batches(settings, "show", batch_id, "-o", "json").stdout)["cost"]["max"] == "0.45"
    assert batches(settings, "budget", "batch_none", "1").exit_code == 5


def test_an_amount_for_a_retry_without_new_charges_is_said_to_change_nothing(settings: dict[str, str]) -> None:
    """Neither the batch's budget nor that of the retry under way, which is named with what would change it."""
    batch_id, place = newest(settings), settings["ORCHESTRATOR_DATA_DIR"]
    child = json.loads(batches(settings, "retry", batch_id, "--yes", "-o", "json").stdout)["child"]
    again = batches(settings, "retry", batch_id, "--max-cost", "5", "--yes")
    assert "--max-cost 5.00 has changed nothing" in again.stderr
    assert (
        f"{child} tries it again; its budget: orchestrator --data-dir {place} batches budget {child} 5.00"
        in again.stderr
    )
    shown = [json.loads(batches(settings, "show", each, "-o", "json").stdout) for each in (batch_id, child)]
    assert [each["cost"]["max"] for each in shown] == [None, None]
    assert "has changed nothing" not in batches(settings, "retry", batch_id, "--yes").stderr


def test_the_next_page_has_as_many_rows(settings: dict[str, str]) -> None:
    """The command that is named goes on as this one was told to; what nobody said is left out."""
    batch_id, place = newest(settings), settings["ORCHESTRATOR_DATA_DIR"]
    child = json.loads(batches(settings, "retry", batch_id, "--yes", "-o", "json").stdout)["child"]
    more = batches(settings, "list", "--limit", "1").stderr
    assert more == f"more: orchestrator --data-dir {place} batches list --limit 1 --after {child}\n"
    (following,) = rows(batches(settings, *more.split(" batches ")[1].split(), "-o", "jsonl"))
    assert following["id"] == batch_id
    jobs = call(settings, "jobs", "list", "kind:image model:cogview-4-250304", "--limit", "1").stderr
    assert "jobs list 'kind:image model:cogview-4-250304' --limit 1 --after job_" in jobs


def test_what_only_takes_is_named_once_and_without_what_a_job_is_held_for(settings: dict[str, str]) -> None:
    """Held jobs are for `jobs review`: the hint does not send anybody into an empty retry."""
    hint = batches(settings, "retry", newest(settings), "--only", "foo").stderr.partition("hint: ")[2]
    names = hint.strip().split(", ")
    assert names[:2] == ["failed", "cancelled"]
    assert len(names) == len(set(names))
    assert "needs_review" not in names
    assert batches(settings, "retry", newest(settings), "--only", "needs_review").exit_code == 2


def test_the_sandboxs_batches_are_found_by_its_option(tmp_path: Path) -> None:
    """As `run --sandbox` made them; without it a newcomer is shown the way."""
    home = {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(LINES[1]) + "\n")
    submitted = batches(home, "submit", str(tmp_path / "jobs.jsonl"), "--sandbox", "-o", "json")
    batch_id = json.loads(submitted.stdout)["id"]
    lost = batches(home, "list")
    assert (lost.exit_code, f"--data-dir {tmp_path / 'data' / 'sandbox'}" in lost.stderr) == (5, True)
    assert [row["id"] for row in rows(batches(home, "list", "--sandbox", "-o", "jsonl"))] == [batch_id]
    for verb in ("show", "results", "errors"):
        assert batches(home, verb, batch_id, "--sandbox").exit_code == 0
    assert batches(home, "cancel", batch_id, "--sandbox", "--yes").exit_code == 0
    assert batches(home, "watch", batch_id, "--sandbox").exit_code == 3
    page = tmp_path / "gallery.html"
    assert batches(home, "gallery", batch_id, "--sandbox", "-o", str(page)).exit_code == 0
    retried = batches(home, "retry", batch_id, "--only", "cancelled", "--sandbox", "--yes", "-o", "json")
    child = json.loads(retried.stdout)["child"]
    assert f"--data-dir {tmp_path / 'data'} batches run {child} --sandbox" in retried.stderr

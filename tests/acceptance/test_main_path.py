"""The whole main path, run as a user runs it: a job file in, archived media out, paid once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import AFTER_A_KILL, COMMAND, ROOT, Desk, Ended, check_archive, check_health

pytestmark = pytest.mark.acceptance
CLOSELY = ("-o", "jsonl", "--verify", "100%", "--all")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=7, speed=4.0)) as sandbox:
        yield Desk(tmp_path, sandbox)


def image_line(number: int, **extra: object) -> dict[str, object]:
    body = {"model": "cogview-4-250304", "prompt": f"picture {number}", "size": "512x512"}
    return {"custom_id": f"image-{number:03}", "kind": "image", "body": body, **extra}


def video_line(number: int) -> dict[str, object]:
    body = {"model": "viduq1-text", "prompt": f"film {number}"}
    return {"custom_id": f"video-{number:03}", "kind": "video", "body": body}


def test_quickstart_runs_without_key_server_or_docker(tmp_path: Path) -> None:
    """README's first promise: the example file, the simulator, verified files in an archive."""
    quickstart = ROOT / "examples/quickstart.jsonl"
    ended = subprocess.run(
        [*COMMAND, "run", str(quickstart), "--sandbox", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {line["status"] for line in lines} == {"succeeded"}
    wanted = [line for line in quickstart.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) == len(wanted)
    assert check_archive(tmp_path / "sandbox", lines) > len(lines)
    assert str(tmp_path / "sandbox" / "archive") in ended.stderr
    command = [*COMMAND, "--data-dir", str(tmp_path / "sandbox"), "doctor", *CLOSELY]
    looked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    check_health(Ended(looked.returncode, looked.stdout, looked.stderr))


def test_the_chain_of_the_examples_runs(tmp_path: Path) -> None:
    """A picture becomes a video: the second request is made of what the first one brought, and both are paid once."""
    chain = ROOT / "examples/chain.jsonl"
    command = [*COMMAND, "run", str(chain), "--sandbox", "--data-dir", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["custom_id"] for line in lines] == ["harbour", "harbour-film", "credits"]
    assert {line["status"] for line in lines} == {"succeeded"}
    looked = [*COMMAND, "--data-dir", str(tmp_path / "sandbox"), "doctor", *CLOSELY]
    found = subprocess.run(looked, capture_output=True, text=True, timeout=60, check=False)
    check_health(Ended(found.returncode, found.stdout, found.stderr))


def test_the_main_path_on_either_database(desk: Desk, database_url: str) -> None:
    """One process on SQLite or PostgreSQL: the same lanes, the same end."""
    lines = [image_line(1), video_line(1)]
    ended = desk.run_apart("run", str(desk.write_jobs(lines)), ORCHESTRATOR_DATABASE_URL=database_url)
    assert ended.code == 0, ended.err
    assert check_archive(desk.data_dir, ended.lines) == 3
    check_health(desk.run("doctor", *CLOSELY, ORCHESTRATOR_DATABASE_URL=database_url))


def test_running_a_file_again_pays_nothing(desk: Desk) -> None:
    """The same file is the same batch (H20); a renamed copy too."""
    lines = [image_line(1), image_line(2), video_line(1)]
    first = desk.run("run", str(desk.write_jobs(lines)))
    assert first.code == 0, first.err
    charged = len(desk.ledger())
    again = desk.run("run", str(desk.write_jobs(lines)))
    renamed = desk.run("run", str(desk.write_jobs(lines, "renamed.jsonl")))
    assert (again.code, renamed.code) == (0, 0), again.err + renamed.err
    assert len(desk.ledger()) == charged == 3


def test_a_changed_file_pays_only_for_what_is_new(desk: Desk) -> None:
    """Lines that equal earlier jobs are reused, and the run says so."""
    desk.run("run", str(desk.write_jobs([image_line(1), image_line(2)])))
    changed = desk.run("run", str(desk.write_jobs([image_line(1), image_line(2), image_line(3)])))
    assert changed.code == 0, changed.err
    assert len(desk.ledger()) == 3
    assert "2" in changed.err
    assert "reused" in changed.err.lower()


def test_force_new_pays_again(desk: Desk) -> None:
    """--force-new is the only way to pay for the same file twice."""
    path = str(desk.write_jobs([image_line(1)]))
    assert desk.run("run", path).code == 0
    assert desk.run("run", path, "--force-new", "--yes").code == 0
    assert len(desk.ledger()) == 2


@pytest.mark.parametrize("tasks", [1, 9])
def test_kill_9_and_run_again(desk: Desk, tasks: int) -> None:
    """Promises 1 and 2: whatever the instant, nothing is lost, nothing is charged twice, and what nobody can know is
    said (calls that were in flight are held).
    """
    lines = [image_line(n) for n in range(8)] + [video_line(n) for n in range(6)]
    path = str(desk.write_jobs(lines))
    with desk.started("run", path) as process:
        desk.wait_until(lambda: len(desk.ledger()) >= tasks, process)
        process.kill()
    ended = desk.run("run", path)
    status = {line["custom_id"]: line["status"] for line in ended.lines}
    assert set(status.values()) <= {"succeeded", "needs_review"}, ended.err
    assert ended.code == (3 if "needs_review" in status.values() else 0)
    assert max(desk.charges_per_job().values()) == 1
    known = desk.run("jobs", "list", "--limit", "100", "-o", "jsonl").lines
    assert len(known) == len(lines)
    assert {job["status"] for job in known} <= {"succeeded", "needs_review"}
    done = [{"id": job["id"], "response": {"body": job}} for job in known if job["status"] == "succeeded"]
    check_archive(desk.data_dir, done)
    is_held = "needs_review" in status.values()
    check_health(desk.run("doctor", *CLOSELY), allow=AFTER_A_KILL if is_held else ())


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(desk: Desk) -> None:
    """Exit 130; paid calls in flight finish, so nothing is held afterwards."""
    path = str(desk.write_jobs([video_line(n) for n in range(12)]))
    with desk.started("run", path) as process:
        desk.wait_until(lambda: len(desk.ledger()) >= 2, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    ended = desk.run("run", path)
    assert ended.code == 0, ended.err
    assert len(desk.ledger()) == 12


def test_a_bad_file_submits_nothing_and_names_every_fault(desk: Desk) -> None:
    """Every fault with its line and field; exit 2; no job, no charge."""
    lines = [image_line(1), image_line(2), video_line(1)]
    lines[1]["body"] = {"model": "cogview-4-250304", "prompt": "x", "size": "513x512"}
    lines[2]["body"] = {"model": "cogvideox-9", "prompt": "x"}
    ended = desk.run("run", str(desk.write_jobs(lines)))
    assert ended.code == 2
    assert "line 2" in ended.err
    assert "body.size" in ended.err
    assert "line 3" in ended.err
    assert "body.model" in ended.err
    assert "cogvideox-3" in ended.err
    assert desk.ledger() == []


def test_without_a_key_the_error_says_what_to_do(tmp_path: Path) -> None:
    """A missing key is a clear error, exit 2, before anything is stored."""
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(image_line(1)) + "\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    ended = subprocess.run(
        [*COMMAND, "run", str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "ORCHESTRATOR_ZAI_API_KEY" in ended.stderr
    assert "--sandbox" in ended.stderr


def test_an_empty_purse_ends_the_run_with_a_sentence(desk: Desk) -> None:
    """Account trouble (1113): the account pauses, jobs stay queued, one call is made, exit 6 (A17)."""
    desk.control("PUT", "faults", [{"fault": "arrears", "phase": "submit"}])
    ended = desk.run("run", str(desk.write_jobs([image_line(n) for n in range(5)])))
    assert ended.code == 6, ended.err
    assert "1113" in ended.err
    assert desk.ledger() == []


def test_a_lost_answer_is_held_and_never_paid_again(desk: Desk) -> None:
    """Promise 3: task created, charged, connection cut: needs_review with the evidence; running again pays nothing."""
    desk.control("PUT", "faults", [{"fault": "lost_answer", "phase": "submit", "times": 1}])
    path = str(desk.write_jobs([video_line(1), video_line(2)]))
    ended = desk.run("run", path)
    assert ended.code == 3, ended.err
    assert sorted(line["status"] for line in ended.lines) == ["needs_review", "succeeded"]
    again = desk.run("run", path)
    assert again.code == 3
    assert len(desk.ledger()) == 2

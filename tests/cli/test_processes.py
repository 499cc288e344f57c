"""The command line as a process: signals, terminals, pipes; what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import SandboxOptions, start
from tests.acceptance.runs import COMMAND, SECONDS, Desk
from tests.fixtures.s3 import S3Server

VIDEO = {"kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}}
IMAGE = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite", "size": "512x512"}}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with start(SandboxOptions(seed=11, speed=20.0)) as sandbox:
        yield Desk(tmp_path, sandbox)


class Terminal:
    """A command whose stdin and stderr, and stdout when asked for, are one pseudo-terminal."""

    def __init__(self, desk: Desk, *arguments: str, is_stdout_too: bool) -> None:
        self._own, theirs = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=desk.environment(TERM="xterm-256color", COLUMNS="120"),
            cwd=desk.folder,
            stdin=theirs,
            stdout=theirs if is_stdout_too else subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, is_there: Callable[[str], bool]) -> None:
        """Read until what was seen satisfies; a command that ends before fails the test."""
        give_up_at = time.monotonic() + SECONDS
        while not is_there(self.seen):
            assert time.monotonic() < give_up_at, self.seen
            assert self._read(), self.seen

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._own)

    def _read(self) -> bool:
        if not select.select([self._own], [], [], SECONDS)[0]:
            return False
        try:
            data = os.read(self._own, 65536)
        except OSError:  # the other side has been closed
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def terminal(desk: Desk) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*arguments: str, is_stdout_too: bool = False) -> Terminal:
        opened.append(Terminal(desk, *arguments, is_stdout_too=is_stdout_too))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


# -- progress ----------------------------------------------------------------------------------------------------


def test_the_live_block_is_on_stderr_and_stdout_holds_whole_lines(
    desk: Desk, terminal: Callable[..., Terminal]
) -> None:
    """Counts per state, throughput, cost, redrawn on the terminal; stdout in a pipe is jsonl and nothing else."""
    desk.control("PUT", "latency", {"*": {"mean_seconds": 20, "jitter": 0}})
    path = desk.write_jobs([{**VIDEO, "custom_id": f"v{n}"} for n in range(2)])
    run = terminal("run", str(path))
    run.wait_for(lambda seen: bool(re.search(r"processing \S*[12]|processing", seen)))
    assert "0/2" in run.seen
    code = run.end()
    assert run.process.stdout is not None
    out = run.process.stdout.read().decode()
    assert code == 0, run.seen
    assert "\x1b[" in run.seen
    assert "USD" in run.seen
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["succeeded"] * 2
    assert "\x1b" not in out


def test_result_lines_on_a_terminal_are_whole_and_inert(desk: Desk, terminal: Callable[..., Terminal]) -> None:
    """I13: one line a job above the block; what a prompt holds does nothing to the terminal."""
    nasty = "kite\r\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
    job = {"kind": "image", "body": {**IMAGE["body"], "prompt": nasty}, "custom_id": "nasty"}  # type: ignore[dict-item]
    run = terminal("run", str(desk.write_jobs([job])), is_stdout_too=True)
    assert run.end() == 0, run.seen
    assert re.search(r"succeeded\s*\S*\s+nasty", run.seen)
    (shown,) = desk.run("jobs", "list", "-o", "jsonl").lines
    for arguments in (("jobs", "list"), ("jobs", "show", shown["id"]), ("jobs", "show", shown["id"], "-o", "json")):
        page = terminal(*arguments, is_stdout_too=True)
        assert page.end() == 0
        run.seen += page.seen
    for bad in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e"):
        assert bad not in run.seen


# -- signals -----------------------------------------------------------------------------------------------------


def test_a_second_ctrl_c_gives_up_what_is_in_flight_and_says_so(desk: Desk) -> None:
    """130; the jobs whose calls were under way are held with the reason, nothing is sent again by the next run."""
    desk.control("PUT", "faults", [{"fault": "hang", "phase": "submit", "seconds": 2000}])
    path = str(desk.write_jobs([{**VIDEO, "custom_id": "v"}]))
    with desk.started("run", path) as process:
        desk.wait_until(lambda: len(desk.ledger()) >= 1, process)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        first = process.stderr.readline()
        while "stopping" not in first:
            first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=150)
    assert process.returncode == 130, err
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["needs_review"]
    assert "held" in err
    desk.control("PUT", "faults", [])
    again = desk.run("run", path)
    assert again.code == 3
    assert len(desk.ledger()) == 1
    assert desk.control("GET", "stats")["max_posts_per_request_id"] == 1
    (job,) = desk.run("jobs", "list", "-o", "jsonl").lines
    assert "aborted" in desk.run("jobs", "show", job["id"], "--raw").out


def test_a_run_that_waits_for_unknowns_to_age_says_so_through_a_pipe(desk: Desk) -> None:
    """Nothing moves and nothing is paused: without a word on it nobody could tell it from a run that hangs."""
    desk.control("PUT", "faults", [{"fault": "lost_answer", "phase": "submit"}])
    path = str(desk.write_jobs([{**VIDEO, "custom_id": f"v{n}"} for n in range(2)]))
    with desk.started("run", path, ORCHESTRATOR_LIMITS="*=1", ORCHESTRATOR_MAX_UNKNOWN_PER_HOUR="1") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        while told and "nothing moves" not in told:
            told = process.stderr.readline()
        assert "1 paid call ended unknown within an hour" in told
        assert re.search(r"submissions go on at \d{4}-\d\d-\d\d \d\d:\d\d UTC", told)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=150)
    assert (process.returncode, "nothing moves" in err) == (130, False)
    assert len(desk.ledger()) == 1


def test_a_run_whose_cap_is_taken_by_unknowns_says_so(desk: Desk) -> None:
    """`--concurrency` is filled by calls that nobody can explain, whatever is free of the model: the run names it."""
    desk.control("PUT", "faults", [{"fault": "lost_answer", "phase": "submit"}])
    path = str(desk.write_jobs([{**VIDEO, "custom_id": f"v{n}"} for n in range(2)]))
    with desk.started("run", path, "--concurrency", "1", ORCHESTRATOR_LIMITS="*=5") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        while told and "nothing moves" not in told:
            told = process.stderr.readline()
        assert "a place under --concurrency 1; 1 of 1 is held by unexplained calls" in told
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(desk.ledger()) == 1


def test_ctrl_c_outside_a_run_is_130(desk: Desk) -> None:
    """Watching ends with the code of an interrupt, not of a bug."""
    recorded = json.loads(desk.run("submit", "image", "-p", "x", "-o", "json").out)
    with desk.started("jobs", "watch", recorded["id"], "-o", "jsonl") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "accepted"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=150)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(("options", "host"), [((), "127.0.0.1"), (("--host", "0.0.0.0"), "0.0.0.0")])  # noqa: S104
def test_the_sandbox_says_where_it_listens_and_stops_when_told(desk: Desk, options: tuple[str, ...], host: str) -> None:
    """One line on stdout; SIGTERM ends it cleanly."""
    with desk.started("sandbox", "--speed", "10", *options) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(rf"listening on http://{re.escape(host)}:\d+/api/paas/v4\n", line)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=150)
    assert (process.returncode, out, err) == (0, "", "")


# -- asking and pipes --------------------------------------------------------------------------------------------


def test_paying_again_is_asked_for_and_no_is_no(desk: Desk, terminal: Callable[..., Terminal]) -> None:
    """--force-new on a terminal shows count and cost; a no is exit 4 and charges nothing."""
    path = str(desk.write_jobs([{**IMAGE, "custom_id": "i"}]))
    assert desk.run("run", path).code == 0
    run = terminal("run", path, "--force-new")
    run.wait_for(lambda seen: "[y/N]" in seen)
    assert "0.01" in run.seen
    run.type("n\n")
    assert run.end() == 4, run.seen
    assert len(desk.ledger()) == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_reader_that_has_seen_enough_is_no_error(desk: Desk, form: str) -> None:
    """`... | head -1`: exit 0 and not a word on stderr."""
    desk.run("db", "upgrade")
    lines = [{**IMAGE, "custom_id": f"i{n}"} for n in range(400)]
    desk.control("PUT", "faults", [{"fault": "arrears", "phase": "submit"}])
    assert desk.run("run", str(desk.write_jobs(lines))).code == 6
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*COMMAND, "jobs", "export", "-o", form],
        env=desk.environment(PYTHONUNBUFFERED=""),
        cwd=desk.folder,
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        assert os.read(reader, 1)
        os.close(reader)
        _, err = process.communicate(timeout=150)
    assert (process.returncode, err) == (0, b"")


# -- secrets -----------------------------------------------------------------------------------------------------


def test_canaries_appear_nowhere(desk: Desk, database_url: str, s3_server: S3Server, s3_bucket: str) -> None:
    """I3, promise 13: key, S3 secret and database password: not in output, debug log, database, journal or archive."""
    canaries = {"key": "id.canaryZAI", "s3": "canaryS3secret", "password": "canaryDBpass"}
    url = database_url.replace("orchestrator@/", f"orchestrator:{canaries['password']}@/")
    settings = {
        "ORCHESTRATOR_ZAI_API_KEY": canaries["key"],
        "AWS_SECRET_ACCESS_KEY": canaries["s3"],
        "AWS_ACCESS_KEY_ID": "someone",
        "ORCHESTRATOR_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "ORCHESTRATOR_S3_REGION": s3_server.region,
        "ORCHESTRATOR_DATABASE_URL": url,
        "ORCHESTRATOR_LOG_LEVEL": "debug",
    }
    rules = [
        {"fault": "lost_answer", "phase": "submit", "times": 1},
        {"fault": "dead_link", "phase": "link", "times": 1},
    ]
    desk.control("PUT", "faults", rules)
    path = str(desk.write_jobs([{**VIDEO, "custom_id": f"v{n}"} for n in range(2)] + [{**IMAGE, "custom_id": "i"}]))
    said = ""
    for arguments in (
        ("run", path),
        ("run", path, "--archive", f"s3://{s3_bucket}/x", "--force-new"),
        ("jobs", "export"),
        ("jobs", "list", "-o", "csv"),
    ):
        ended = desk.run(*arguments, **settings)
        assert "Traceback" not in ended.err
        said += ended.out + ended.err
    for job in desk.run("jobs", "list", "-o", "jsonl", **settings).lines:
        said += desk.run("jobs", "show", job["id"], "--raw", **settings).out
    bad = desk.run("jobs", "list", **{**settings, "ORCHESTRATOR_DATABASE_URL": f"{url}_missing/nowhere"})
    said += bad.out + bad.err
    assert "event=" in said
    kept = b"".join(path.read_bytes() for path in desk.folder.rglob("*") if path.is_file())
    dump = "".join(
        desk.run("jobs", "events", job["id"], **settings).out for job in desk.run("jobs", "list", **settings).lines
    )
    for canary in canaries.values():
        assert canary not in said
        assert canary not in dump
        assert canary.encode() not in kept
    assert "Signature=" not in said
    assert "X-Amz-Signature" not in dump

"""`keys`, `serve` and `up`: what a person types, what is said, and what then answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.cli.serving import is_loopback
from tests.fixtures.processes import die_with_parent, stop

HTTP = httpx.Client(trust_env=False, timeout=60)
PICTURE = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite"}}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data")}


def call(place: Mapping[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=dict(place))


def make_key(place: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    made = call(place, "keys", "create", *arguments, "-o", "json")
    assert made.exit_code == 0, made.output
    key: dict[str, Any] = json.loads(made.stdout)
    return key


class Running:
    """A command under way, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def read_until(self, words: str) -> str:
        """Return the line of stderr that holds the words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line.decode():
                return line.decode()
        raise AssertionError(f"it ended with {self.process.wait()} and never said {words!r}")

    def read_json(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        value: dict[str, Any] = json.loads(self.process.stdout.readline())
        return value

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(place: Mapping[str, str], *arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no thread runs yet
    )
    try:
        yield Running(process)
    finally:
        stop(process)
        process.communicate()


def test_a_key_is_shown_once(place: dict[str, str]) -> None:
    """On stdout, whole; afterwards only its id is known, and the database holds no part of its secret."""
    key = make_key(place, "anna", "--role", "viewer", "--owner", "studio", "--expires", "30d")
    assert key["key"].startswith(f"ok_{key['id']}_")
    assert (key["role"], key["owner"], key["expires_at"] is not None) == ("viewer", "studio", True)
    listed = call(place, "keys", "list", "-o", "jsonl")
    assert json.loads(listed.stdout)["id"] == key["id"]
    secret = key["key"].split("_", 2)[2]
    assert secret not in listed.output
    data = Path(place["ORCHESTRATOR_DATA_DIR"])
    assert all(secret.encode() not in path.read_bytes() for path in data.iterdir() if path.is_file())
    assert (data / "secret.key").stat().st_mode & 0o077 == 0


def test_what_keys_refuses(place: dict[str, str]) -> None:
    """2 for what cannot be, 5 for what is not there."""
    make_key(place, "anna", "--role", "viewer")
    for arguments, code in [
        (("create", "an na", "--role", "viewer"), 2),
        (("create", "all", "--role", "submit", "--owner", "*"), 2),
        (("create", "x", "--role", "root"), 2),
        (("create", "x", "--role", "viewer", "--expires", "soon"), 2),
        (("revoke", "0" * 16), 5),
    ]:
        assert call(place, "keys", *arguments).exit_code == code, arguments


def test_revoking_is_for_good_and_logged(place: dict[str, str]) -> None:
    """The time stays, however often it is said."""
    key = make_key(place, "anna", "--role", "viewer")
    first, second = (call(place, "keys", "revoke", key["id"], "--reason", "left", "-o", "json") for _ in range(2))
    assert json.loads(first.stdout)["revoked_at"] == json.loads(second.stdout)["revoked_at"]


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, is_safe: bool) -> None:
    assert is_loopback(host) is is_safe


def test_without_a_key_it_listens_on_loopback_and_says_so(place: dict[str, str]) -> None:
    """I1: there is no default key; Ctrl-C ends it with 0. With a key it listens where it was told."""
    with running(place, "serve", "--host", "0.0.0.0", "--port", "0") as server:  # noqa: S104
        assert "no API key" in server.read_until("warning")
        url = server.read_until("listening on").split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert HTTP.get(f"{url}/v1/jobs").status_code == 401
        assert server.end() == 0
    key = make_key(place, "studio", "--role", "submit")
    with running(place, "serve", "--host", "0.0.0.0", "--port", "0") as server:  # noqa: S104
        url = server.read_until("listening on").split()[-1]
        assert url.startswith("http://0.0.0.0:")
        url = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        headers = {"Authorization": f"Bearer {key['key']}"}
        job = HTTP.post(f"{url}/v1/jobs", headers=headers, json=PICTURE).json()
        assert job["status"] == "queued"
        assert server.end(signal.SIGTERM) == 0
    shown = call(place, "jobs", "show", job["id"], "-o", "json")
    assert json.loads(shown.stdout)["id"] == job["id"]


def test_an_address_that_is_taken(place: dict[str, str]) -> None:
    """2, naming it."""
    with running(place, "serve", "--port", "0") as server:
        port = server.read_until("listening on").rpartition(":")[2].strip()
        ended = call(place, "serve", "--port", port)
        assert (ended.exit_code, port in ended.stderr) == (2, True)


def test_up_does_everything_in_one_process(place: dict[str, str]) -> None:
    """With the key that it prints a job goes to its end; the key dies with the process; the work is kept."""
    with running(place, "up", "--sandbox", "--port", "0", "-o", "jsonl") as process:
        told = process.read_json()
        headers = {"Authorization": f"Bearer {told['key']}", "Prefer": "wait=60"}
        assert HTTP.get(f"{told['url']}/readyz").status_code == 200
        job = HTTP.post(f"{told['url']}/v1/jobs", headers=headers, json=PICTURE).json()
        assert job["status"] == "succeeded"
        content = HTTP.get(f"{told['url']}{job['outputs'][0]['url']}", headers=headers)
        assert len(content.content) == job["outputs"][0]["bytes"]
        assert process.end() == 0
    sandbox = {"ORCHESTRATOR_DATA_DIR": f"{place['ORCHESTRATOR_DATA_DIR']}/sandbox"}
    keys = [json.loads(line) for line in call(sandbox, "keys", "list", "-o", "jsonl").stdout.splitlines()]
    assert [(key["name"], key["revoked_at"] is not None) for key in keys] == [("up", True)]


def test_up_needs_a_key_of_the_provider(place: dict[str, str]) -> None:
    """2, as `run`."""
    ended = call(place, "up", "--port", "0")
    assert (ended.exit_code, "ZAI_API_KEY" in ended.stderr) == (2, True)

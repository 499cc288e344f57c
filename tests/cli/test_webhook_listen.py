"""`orchestrator webhooks listen`: what the real sender sends is verified and printed; what is not is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.config import load_settings
from orchestrator.domain.ports import Sending, Sent
from orchestrator.webhooks import encode_secret
from orchestrator.webhooks.receiver import Received, receiving
from orchestrator.wiring import make_secret_box, make_sender
from tests.fixtures.processes import stop

SECRET = encode_secret(bytes(range(32)))
OTHER = encode_secret(bytes(range(1, 33)))
BODY = b'{"type":"webhook.test","data":{}}'
ODD = json.dumps({"type": "\x1b[31m\n", "data": {"note": "\u0085\x1b]0;x\x07"}}).encode()


def send(host_port: str, *sendings: tuple[str, str, bytes]) -> list[Sent]:
    """Send (message id, secret, body) through the sender that wiring makes."""

    async def work() -> list[Sent]:
        sender = make_sender(load_settings({"egress_allow": host_port}))
        try:
            return [
                await sender.send(Sending(f"http://{host_port}/hook", name, datetime.now(UTC), body, (secret,)))
                for name, secret, body in sendings
            ]
        finally:
            await sender.close()

    return asyncio.run(work())


@contextmanager
def listening(*options: str, data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; give it and where it listens."""
    command = [sys.executable, "-m", "orchestrator", "webhooks", "listen", "--data-dir", str(data_dir), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline().strip()
        assert line.startswith("listening on http://127.0.0.1:"), line
        yield process, line.removeprefix("listening on http://").rstrip("/")
    finally:
        stop(process)  # type: ignore[arg-type]  # text or bytes, it only ends it
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_events_are_verified_and_printed(tmp_path: Path) -> None:
    """With the project's default secret when none is given; the same id again is told; a wrong secret is refused."""
    default = make_secret_box(load_settings({"data_dir": tmp_path})).default_secret
    with listening(data_dir=tmp_path) as (process, host_port):
        sents = send(host_port, ("evt_1", default, BODY), ("evt_1", default, BODY), ("evt_2", OTHER, BODY))
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in sents]
    assert [sent.status for sent in sents] == [200, 200, 401]
    assert [(row["id"], row["verified"], row["is_again"]) for row in rows] == [
        ("evt_1", True, False),
        ("evt_1", True, True),
        ("evt_2", False, False),
    ]
    assert rows[0]["type"] == "webhook.test"
    assert rows[2]["problem"] == "no signature fits this secret"


def test_the_sandbox_has_a_default_secret_of_its_own(tmp_path: Path) -> None:
    """`run --sandbox` keeps its data apart, its key too: with --sandbox its events fit."""
    secret = make_secret_box(load_settings({"data_dir": tmp_path / "sandbox"})).default_secret
    with listening("--sandbox", data_dir=tmp_path) as (_, host_port):
        sents = send(host_port, ("evt_1", secret, BODY), ("evt_2", OTHER, BODY))
    assert [sent.status for sent in sents] == [200, 401]


def test_failures_are_played_and_lines_are_inert(tmp_path: Path) -> None:
    """I13: what an event holds cannot act on a terminal."""
    with listening("--secret", SECRET, "--answer", "503", "-o", "table", data_dir=tmp_path) as (process, host_port):
        (sent,) = send(host_port, ("evt_1", SECRET, ODD))
        assert process.stdout is not None
        line = process.stdout.readline()
    assert sent.status == 503
    assert "\\x1b[31m" in line
    assert line.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("options", "words"), [(["--secret", "c4n4ry"], "no webhook secret"), (["--answer", "99"], "--answer")]
)
def test_what_cannot_be_is_told(options: Sequence[str], words: str, tmp_path: Path) -> None:
    result: Result = CliRunner().invoke(main, ["webhooks", "listen", "--data-dir", str(tmp_path), *options])
    assert result.exit_code == 2
    assert words in result.output
    assert "c4n4ry" not in result.output


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    def tell(received: Received) -> None:
        raise AssertionError(received)

    with receiving(port=0, secret=SECRET, answer=200, now=lambda: datetime.now(UTC), tell=tell) as receiver:
        port = receiver.host_port.rpartition(":")[2]
        words = ["webhooks", "listen", "--secret", SECRET, "--port", port, "--data-dir", str(tmp_path)]
        result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "--port" in result.output


@pytest.mark.parametrize("length", ["Content-Length: 99999999999\r\n", "Content-Length: -1\r\n", ""])
def test_a_body_without_bounds_is_refused(length: str) -> None:
    """It is a toy, and still reads no more than it has to."""
    import socket

    told: list[Received] = []
    with receiving(port=0, secret=SECRET, answer=200, now=lambda: datetime.now(UTC), tell=told.append) as receiver:
        serving = threading.Thread(target=receiver.serve_forever)
        serving.start()
        host, _, port = receiver.host_port.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
            answer = connection.recv(1000)
        receiver.shutdown()
        serving.join()
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 411"))
    assert told == []

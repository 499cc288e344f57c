"""The resources of the tests are what they claim to be."""

from __future__ import annotations

import os
import select
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.isolation import NetworkForbiddenError
from tests.fixtures.postgres import PostgresServer, choose_binaries, find_wheel_binaries, running_server
from tests.fixtures.s3 import S3Server
from tests.fixtures.toxic import toxic_door

ROOT = Path(__file__).resolve().parents[2]


def test_postgres_runs_without_privileges(postgres_server: PostgresServer) -> None:
    """The server's processes belong to an ordinary account, whoever runs the tests."""
    assert Path(f"/proc/{postgres_server.pid}").stat().st_uid != 0


def test_postgres_is_the_one_that_was_asked_for(postgres_server: PostgresServer) -> None:
    """A forced source is used, and every server is a version that we support."""
    assert postgres_server.source == choose_binaries()[0]
    assert postgres_server.source == os.environ.get("ORCHESTRATOR_TEST_POSTGRES", postgres_server.source)
    assert int(postgres_server.version.split(".")[0]) >= 15


def test_an_unknown_source_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt choice of server fails; it does not run on another one."""
    monkeypatch.setenv("ORCHESTRATOR_TEST_POSTGRES", "whell")
    with pytest.raises(pytest.UsageError, match="whell"):
        choose_binaries()


def test_the_wheel_alone_gives_a_server() -> None:
    """A machine without PostgreSQL runs the database tests all the same, and nothing is left behind."""
    binaries = find_wheel_binaries()
    assert binaries is not None
    with running_server("wheel", binaries) as server:
        assert server.execute("SELECT 1") == [(1,)]
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert not Path(f"/proc/{server.pid}").exists()
    assert not server.home.exists()


def test_a_server_dies_with_a_killed_test_run() -> None:
    """After kill -9 of the test run no server stays behind."""
    script = (
        "import sys; from tests.fixtures.postgres import *\n"
        "with running_server(*choose_binaries()) as server:\n"
        "    print(server.pid, server.home, flush=True); sys.stdin.read()\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.stdout is not None
    with run:
        pid, home = run.stdout.readline().split()
        postmaster_pid_file = Path(home.decode()) / "data" / "postmaster.pid"
        assert postmaster_pid_file.exists()
        run.send_signal(signal.SIGKILL)
    subprocess.run(["tail", f"--pid={pid.decode()}", "-f", "/dev/null"], check=True, timeout=30)  # waits for its end
    assert not postmaster_pid_file.exists()
    subprocess.run(["rm", "-r", home.decode()], check=True)


def test_each_postgres_database_is_fresh(postgres_url_factory: Callable[..., str]) -> None:
    """Two databases of one test share nothing."""
    first, second = postgres_url_factory(migrated=False), postgres_url_factory(migrated=False)
    assert first != second
    with psycopg.connect(first.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE mark (id int)")
    with psycopg.connect(second.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'mark'").fetchone()
    assert found == (0,)


def test_each_database_has_the_newest_schema(database_url: str) -> None:
    """`database_url` is ready for work on both databases."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as lite:
            row = lite.execute("SELECT version_num FROM alembic_version").fetchone()
    else:
        with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    versions = ROOT / "migrations" / "versions"
    assert (versions / f"{row[0]}.py").is_file()


def test_s3_buckets_are_fresh(s3_server: S3Server, s3_bucket: str) -> None:
    """A test's bucket exists and is empty, and what is put there can be read back."""
    client = s3_server.client()
    assert client.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 0
    client.put_object(Bucket=s3_bucket, Key="a", Body=b"bytes")
    assert client.get_object(Bucket=s3_bucket, Key="a")["Body"].read() == b"bytes"


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "169.254.169.254", "2001:db8::1"])
def test_no_test_reaches_another_machine(host: str) -> None:
    """A connection beyond loopback fails before a packet leaves."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client, pytest.raises(NetworkForbiddenError, match="tried to reach"):
        client.connect((host, 80))


def test_no_test_asks_a_name_server() -> None:
    """A name that is not this machine's is not looked up."""
    with pytest.raises(NetworkForbiddenError, match=r"media\.example"):
        urllib.request.urlopen("http://media.example/")


def test_loopback_stays_open() -> None:
    """Servers of the tests themselves can be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_settings_of_the_shell_are_hidden() -> None:
    """No key or endpoint of the developer's shell reaches the code under test."""
    assert not [name for name in os.environ if name.startswith(("ZAI_", "ORCHESTRATOR_ZAI"))]
    assert os.environ["AWS_CONFIG_FILE"] == os.devnull


@contextmanager
def echoing() -> Iterator[tuple[str, int]]:
    """Give the address of a server that says again what it hears."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield ("127.0.0.1", int(server.server_address[1]))
        finally:
            server.shutdown()


def test_the_toxic_door_does_what_it_is_told() -> None:
    """It passes, delays, holds back, cuts after so many bytes, withholds the answer to a word, and resets."""
    with echoing() as server, toxic_door(server) as (toxics, place), ExitStack() as stack:
        assert isinstance(place, tuple)

        def call() -> socket.socket:
            return stack.enter_context(socket.create_connection(place, timeout=30))

        open_line = call()
        open_line.sendall(b"one")
        assert open_line.recv(10) == b"one"
        toxics.latency_seconds = 0.05
        begun = time.monotonic()
        open_line.sendall(b"two")
        assert open_line.recv(10) == b"two"
        assert time.monotonic() - begun >= 0.1, "there and back"
        toxics.latency_seconds = 0
        toxics.freeze()
        open_line.sendall(b"three")
        assert select.select([open_line], [], [], 0.2)[0] == []
        toxics.thaw()
        assert open_line.recv(10) == b"three"
        toxics.cut_after_bytes = 2
        open_line.sendall(b"four")
        assert open_line.recv(10) == b"fo"
        assert open_line.recv(10) == b""
        toxics.cut_answer_to, toxics.is_reset = b"five", True
        line = call()
        line.sendall(b"five")
        with pytest.raises(ConnectionResetError):
            line.recv(10)
        assert toxics.cut_count == 2

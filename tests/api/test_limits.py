"""What the API does when it is given too much, or when the database is away: it says so, soon, and goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

from orchestrator.api import Desk, create_app
from orchestrator.api.app import DATABASE_THREADS
from orchestrator.api.routes import operations
from orchestrator.cli.serving import Serving, listen
from tests.api.conftest import SERVER_KEY, VIDEO, House

READ_SECONDS = 30
HOOK = "https://hooks.example.com/media"


@pytest.fixture
def address(house: House) -> Iterator[tuple[str, int]]:
    """Give the address of a real server that waits a moment, and no longer, for the next part of a body."""
    desk = Desk(app=house.app, server_key=SERVER_KEY, wakeup=house.woken, environment="test")
    serving = Serving(create_app(desk, version="0", patience_seconds=0.3))
    taken = listen("127.0.0.1", 0)
    thread = threading.Thread(target=serving.run, args=(taken,))
    thread.start()
    yield taken.getsockname()
    serving.request_stop()
    thread.join()
    taken.close()


def ask(address: tuple[str, int], *parts: bytes) -> bytes:
    """Send the parts as long as they are taken; return the beginning of the answer."""
    with socket.create_connection(address, timeout=READ_SECONDS) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered and closed: what it said is still to be read
        return read_whole(connection)


def read_whole(connection: socket.socket) -> bytes:
    """Return an answer with the body that its length announces."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    headers, _, body = answer.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in headers.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return headers + body


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def is_alive(address: tuple[str, int]) -> bool:
    return status(ask(address, head("/healthz", method="GET"))) == 200


class TestTooMuch:
    """I11: by raw sockets, against a real server."""

    def test_a_body_that_says_how_large_it_is(self, address: tuple[str, int]) -> None:
        """I11: 100 MB are refused by their length, before any of them is read."""
        answer = ask(address, head("/v1/jobs", "Content-Length: 104857600", "Content-Type: application/json"))
        assert (status(answer), b"too_large" in answer) == (413, True)
        assert is_alive(address)

    def test_a_body_that_does_not(self, house: House, address: tuple[str, int]) -> None:
        """I11: chunk by chunk, it is cut at the cap."""
        key = f"Authorization: Bearer {house.key()}"
        chunk = b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))
        lines = ("Transfer-Encoding: chunked", "Content-Type: application/json", key)
        assert status(ask(address, head("/v1/jobs", *lines), *[chunk] * 12)) == 413
        assert is_alive(address)

    def test_ten_thousand_headers(self, address: tuple[str, int]) -> None:
        """I11: 431."""
        answer = ask(address, head("/v1/jobs", *(f"X-{n}: y" for n in range(10_000)), method="GET"))
        assert status(answer) == 431
        assert is_alive(address)

    def test_a_body_that_does_not_come(self, house: House, address: tuple[str, int]) -> None:
        """I11: 408, and meanwhile others are answered: no thread waits for it."""
        lines = ("Content-Length: 100", "Content-Type: application/json", f"Authorization: Bearer {house.key()}")
        assert status(ask(address, head("/v1/jobs", *lines) + b"{")) == 408
        assert is_alive(address)

    def test_an_upload_that_breaks_off(self, house: House, address: tuple[str, int]) -> None:
        """Nothing is left in the spool."""
        lines = ("Content-Length: 100000", "Content-Type: text/csv", f"Authorization: Bearer {house.key()}")
        with socket.create_connection(address, timeout=READ_SECONDS) as connection:
            connection.sendall(head("/v1/batches", *lines) + b"custom_id")
        assert is_alive(address)
        answer = ask(address, head("/v1/batches", *lines) + b"custom_id")
        assert status(answer) == 408
        assert list(house.app.settings.spool_dir.glob("upload-*")) == []

    def test_an_unknown_caller_cannot_fill_the_disk(self, house: House, address: tuple[str, int]) -> None:
        """A key is asked for before the first byte of a file is read."""
        lines = ("Content-Length: 200000000", "Content-Type: multipart/form-data; boundary=x")
        assert status(ask(address, head("/v1/files", *lines) + b"--x\r\n")) == 401
        assert not house.app.settings.spool_dir.exists()


@contextmanager
def full(engine: Engine) -> Iterator[None]:
    """Give a SQLite file no page more than it has: what a full disk is to it."""

    def hold(connection: object, *_: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        (count,) = cursor.execute("PRAGMA page_count").fetchone()
        cursor.execute(f"PRAGMA max_page_count={count}")

    def let_go(connection: object, *_: object) -> None:
        connection.cursor().execute("PRAGMA max_page_count=1000000")  # type: ignore[attr-defined]

    event.listen(engine, "checkout", hold)
    event.listen(engine, "checkin", let_go)
    try:
        yield
    finally:
        event.remove(engine, "checkout", hold)
        event.remove(engine, "checkin", let_go)


def test_a_full_disk(house: House) -> None:
    """C11: 503 with Retry-After, nothing half there; the same request succeeds once there is room."""
    headers = house.headers()
    with full(house.app.database.engine):
        statuses = [house.client.post("/v1/jobs", headers=headers, json=large(n)).status_code for n in range(20)]
        answer = house.client.post("/v1/jobs", headers=headers | {"Idempotency-Key": "k"}, json=large(99))
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert set(statuses) <= {202, 503}
    listed = house.client.get("/v1/jobs?limit=100", headers=headers).json()["data"]
    assert len(listed) == statuses.count(202)
    events = [house.client.get(f"/v1/jobs/{row['id']}/events", headers=headers).json()["data"] for row in listed]
    assert all(len(rows) == 1 for rows in events)
    assert house.client.post("/v1/jobs", headers=headers | {"Idempotency-Key": "k"}, json=large(99)).status_code == 202


def large(number: int) -> dict[str, object]:
    return {**VIDEO, "body": {"model": "cogvideox-3", "prompt": "a kite "[:6] * 60 + str(number)}}


def test_a_frozen_server_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """C17: /readyz answers 503 while its look, and those before it, are still without an answer."""
    thawed = threading.Event()

    def look(_desk: Desk) -> dict[str, str]:
        assert thawed.wait(READ_SECONDS)
        return {"database": "ok", "archive": "ok"}

    with monkeypatch.context() as frozen:
        frozen.setattr(operations, "_look", look)
        frozen.setattr(operations, "READY_SECONDS", 0.1)
        answers = [house.client.get("/readyz") for _ in range(4)]
        thawed.set()
    assert {answer.status_code for answer in answers} == {503}
    assert answers[-1].json()["checks"] == {"database": "does not answer", "archive": "does not answer"}
    assert house.client.get("/readyz").status_code == 200


def test_no_route_waits_for_a_frozen_server(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """C17: more requests than there are threads get their 503 while the database answers nobody; all is
    well again once it thaws.
    """
    desk = Desk(app=house.app, server_key=SERVER_KEY, wakeup=house.woken, environment="test")
    thawed, find = threading.Event(), house.app.keys.find_all

    def wait(key_ids: Collection[str]) -> object:
        assert thawed.wait(READ_SECONDS)
        return find(key_ids)

    headers = house.headers()
    with TestClient(create_app(desk, version="0", answer_seconds=0.1)) as client, monkeypatch.context() as frozen:
        frozen.setattr(house.app.keys, "find_all", wait)
        for _ in range(DATABASE_THREADS + 2):
            answer = client.get("/v1/jobs", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
            assert "Idempotency-Key" in answer.json()["error"]["message"]
        assert client.get("/healthz").status_code == 200
        thawed.set()
        frozen.undo()
        assert house.client.get("/v1/jobs", headers=headers).status_code == 200


def test_no_free_connection(each_house: House) -> None:
    """C17: with every connection in the hands of slow queries the answer is 503 after a bounded wait; the process is well
    and says so; it goes on as soon as one is free.
    """
    headers = each_house.headers()
    engine = each_house.app.database.engine
    pool: object = engine.pool
    with ExitStack() as slow:
        for _ in range(pool.size() + pool._max_overflow):  # type: ignore[attr-defined]
            slow.enter_context(engine.connect())
        pool._timeout = 0.1  # type: ignore[attr-defined]
        for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs")):
            answer = each_house.client.request(method, path, headers=headers, json=VIDEO)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
        assert each_house.client.get("/healthz").status_code == 200
        ready = each_house.client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "away")
    assert each_house.client.post("/v1/jobs", headers=headers, json=VIDEO).status_code == 202
    assert each_house.client.get("/readyz").status_code == 200


def test_nothing_secret_is_ever_answered(
    open_house: Callable[..., House], sqlite_url_factory: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """I3: neither the provider's key, nor the server's, nor anybody's, nor an endpoint's secret, in any answer, the metrics or
    the document, nor in the log or the database.
    """
    caplog.set_level("DEBUG")
    house = open_house(sqlite_url_factory(), zai_api_key="canary-id.canary-secret")
    keys = [house.key("admin"), house.key("viewer", "*")]
    headers = {"Authorization": f"Bearer {keys[0]}"}
    job = house.make_job(headers)
    hook = house.client.post("/v1/webhook_endpoints", headers=headers, json={"url": HOOK}).json()
    turned = house.client.post(f"/v1/webhook_endpoints/{hook['id']}/rotate", headers=headers).json()
    house.client.post(f"/v1/webhook_endpoints/{hook['id']}/test", headers=headers)
    secrets = ["canary", SERVER_KEY.decode(), *(key.split("_", 2)[2] for key in keys), hook["secret"], turned["secret"]]
    paths = [
        *(
            "/v1/jobs",
            f"/v1/jobs/{job['id']}",
            f"/v1/jobs/{job['id']}/events",
            "/v1/batches",
            "/v1/keys",
            "/v1/audit_log",
            "/v1/webhook_endpoints",
            "/v1/webhook_deliveries",
            "/v1/usage",
        ),
        *("/v1/models", "/v1/errors", "/metrics", "/openapi.json", "/docs", "/healthz", "/readyz", "/v1/nothing"),
    ]
    for path in paths:
        text = house.client.get(path, headers=headers).text
        for secret in secrets:
            assert secret not in text, path
    with house.app.database.engine.connect() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    assert "webhook_endpoints" in dump
    for secret in secrets:
        assert secret not in caplog.text
        assert secret.removeprefix("whsec_") not in dump

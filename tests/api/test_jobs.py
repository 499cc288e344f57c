"""Jobs over HTTP: taken in once, shown as they are, listed without gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from orchestrator.domain.ports import LaneName
from orchestrator.services.lifecycle import cancel_job
from tests.api.conftest import VIDEO, House

OpenHouse = Callable[..., House]
UrlFactory = Callable[..., str]


def test_a_job_is_taken_in(each_house: House) -> None:
    """202 with its place, the lanes are told, the history and the audit log name the key."""
    house, headers = each_house, each_house.headers("submit")
    answer = house.client.post("/v1/jobs", headers=headers, json={**VIDEO, "custom_id": "scene", "tags": {"a": "b"}})
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["status"], job["custom_id"], job["tags"], job["cost"]["estimate"]) == (
        "queued",
        "scene",
        {"a": "b"},
        "0.20",
    )
    assert LaneName.SUBMIT in house.woken.lanes
    events = house.client.get(f"/v1/jobs/{job['id']}/events", headers=headers).json()["data"]
    action, subject, actor = house.audit()[0]
    assert (action, subject) == ("job.create", job["id"])
    assert [row["actor"] for row in events] == [actor]
    assert house.client.get(answer.headers["location"], headers=headers).json()["id"] == job["id"]


def test_a_dry_run_stores_nothing(house: House) -> None:
    """The price, and no job, no line of the log."""
    answer = house.client.post("/v1/jobs?dry_run=true", headers=house.headers("submit"), json=VIDEO)
    assert (answer.status_code, answer.json()["price"], answer.json()["valid"]) == (200, "0.20", True)
    assert house.client.get("/v1/jobs", headers=house.headers()).json()["data"] == []
    assert {action for action, *_ in house.audit()} == {"key.create"}


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"kind": "vidoe"}, 422, "unknown_kind", "kind"),
        ({"body": {"model": "cogvideox-3", "prompt": "a", "size": "7"}}, 422, "invalid_size", "body.size"),
        ({"body": {"model": "cogvideox-9", "prompt": "a"}}, 422, "unknown_model", "body.model"),
        ({"body": {"image_url": "/etc/passwd"}}, 422, "path_refused", "body.image_url"),
        ({"body": {"image_url": "pictures/kite.png"}}, 422, "path_refused", "body.image_url"),
        ({"body": {"image_url": "file:///etc/passwd"}}, 422, "path_refused", "body.image_url"),
        ({"body": {"image_url": f"file_{'0' * 32}"}}, 422, "input_missing", "body.image_url"),
        ({"colour": "red"}, 422, "invalid_params", "colour"),
        ({"priority": 11}, 422, "invalid_params", "priority"),
        ({"not_before": "2026-11-24T09:00:00"}, 422, "invalid_time", "not_before"),
        ({"max_cost": "0.01"}, 402, "budget", None),
    ],
)
def test_what_is_refused(house: House, change: dict[str, Any], status: int, code: str, param: str | None) -> None:
    """With a code, the field and a request id; nothing is stored. Paths are never read, whatever they look like."""
    answer = house.client.post("/v1/jobs", headers=house.headers(), json={**VIDEO, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    assert error["request_id"] == answer.headers["x-request-id"]
    assert house.client.get("/v1/jobs", headers=house.headers()).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("PUT", "/v1/jobs", 405, "method_not_allowed")],
)
def test_errors_of_the_framework_have_the_same_body(
    house: House, method: str, path: str, status: int, code: str
) -> None:
    """404 and 405 too."""
    answer = house.client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "param", "type", "request_id", "hint"}


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        ('{"kind"', "application/json", "the body is not JSON: Expecting ':' delimiter at character 8"),
        ("kind=video", "application/x-www-form-urlencoded", "the body is not an object in JSON"),
        ("[]", "application/json", "the body is not an object in JSON"),
        ("", "application/json", "the body is missing"),
    ],
)
def test_a_body_that_cannot_be_read(house: House, content: str, content_type: str, message: str) -> None:
    """What is wrong with it and where, not the number of a character as if it were a field."""
    headers = house.headers() | {"Content-Type": content_type}
    answer = house.client.post("/v1/jobs", headers=headers, content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["message"]) == (422, None, message)
    assert "Content-Type: application/json" in error["hint"]


def test_a_bug_tells_nothing(house: House) -> None:
    """500 with a request id; what broke stays in the log."""

    @house.api.get("/v1/broken", include_in_schema=False)
    def broken() -> None:
        raise ValueError("canary")

    answer = house.client.get("/v1/broken")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "canary" not in answer.text
    assert answer.json()["error"]["request_id"].startswith("req_")


class TestIdempotency:
    """One key, one job, for seven days."""

    def test_the_same_request_gives_the_same_job(self, each_house: House) -> None:
        """A19: 202 and Idempotent-Replayed."""
        headers = each_house.headers() | {"Idempotency-Key": "k"}
        first, second = (each_house.client.post("/v1/jobs", headers=headers, json=VIDEO) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"

    def test_the_order_of_fields_makes_no_other_request(self, house: House) -> None:
        """A19: a writer that gives its fields in another order says the same."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        first = house.make_job(headers, tags={"a": "1", "b": "2"})
        turned = {"prompt": "a kite", "model": "cogvideox-3"}
        assert house.make_job(headers, tags={"b": "2", "a": "1"}, body=turned)["id"] == first["id"]

    def test_another_request_is_refused(self, house: House) -> None:
        """A19: 422."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        house.make_job(headers)
        answer = house.client.post("/v1/jobs", headers=headers, json={**VIDEO, "priority": 6})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")

    def test_what_was_refused_may_be_sent_again(self, house: House) -> None:
        """It made nothing, so its key is not used up."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        refused = house.client.post("/v1/jobs", headers=headers, json={**VIDEO, "max_cost": "0.01"})
        assert refused.status_code == 402
        house.make_job(headers)

    def test_a_known_key_is_answered_whatever_the_settings_say_by_now(
        self, open_house: OpenHouse, database_url: str
    ) -> None:
        """A19: what was taken once is answered so again; it is not checked by rules that came later."""
        named = {"webhook": "http://127.0.0.1:9/hook", "max_cost": "1"}
        before = open_house(database_url, egress_allow="127.0.0.1:9")
        headers = before.headers()
        job = before.make_job(headers | {"Idempotency-Key": "k"}, **named)
        after = open_house(database_url)
        repeated = after.client.post("/v1/jobs", headers=headers | {"Idempotency-Key": "k"}, json={**VIDEO, **named})
        assert (repeated.status_code, repeated.headers.get("idempotent-replayed")) == (202, "true"), repeated.text
        assert repeated.json()["id"] == job["id"]
        fresh = after.client.post("/v1/jobs", headers=headers | {"Idempotency-Key": "new"}, json={**VIDEO, **named})
        assert fresh.status_code == 422
        other = after.client.post(
            "/v1/jobs", headers=headers | {"Idempotency-Key": "k"}, json={**VIDEO, **named, "priority": 1}
        )
        assert other.json()["error"]["code"] == "idempotency_key_reused"

    def test_fifty_at_once_make_one_job(self, each_house: House) -> None:
        """A19: of fifty equal requests one makes the job; the others are given it or are told that it is being made."""
        headers = each_house.headers() | {"Idempotency-Key": "k"}
        barrier = Barrier(50)

        def post(_: int) -> tuple[int, str | None]:
            barrier.wait()
            answer = each_house.client.post("/v1/jobs", headers=headers, json=VIDEO)
            return answer.status_code, answer.json().get("id")

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(post, range(50)))
        assert {status for status, _ in answers} <= {202, 409}
        assert len({job_id for status, job_id in answers if status == 202}) == 1
        assert len(each_house.client.get("/v1/jobs", headers=headers).json()["data"]) == 1

    def test_409_while_the_first_is_carried_out(self, open_house: OpenHouse, postgres_url_factory: UrlFactory) -> None:
        """A19: the second of two at once waits for the first one's commit, and not for ever."""
        house = open_house(postgres_url_factory())
        headers = house.headers() | {"Idempotency-Key": "k"}
        with house.app.database.engine.begin() as first, house.app.database.engine.connect() as other:
            first.exec_driver_sql(
                "INSERT INTO idempotency VALUES ('idem_1', 'studio', 'k', 'x', 'job_1', clock_timestamp())"
            )
            assert other.exec_driver_sql("SELECT count(*) FROM idempotency").scalar_one() == 0
            answer = house.client.post("/v1/jobs", headers=headers, json=VIDEO)
            first.rollback()
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        house.make_job(headers)

    @pytest.mark.parametrize("table", ["batches", "jobs", "batch_members", "job_events", "audit_log", "idempotency"])
    def test_all_of_it_or_nothing(self, house: House, table: str) -> None:
        """A19, C11: wherever it breaks, nothing is there, and the same request succeeds afterwards."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        with failing(house.app.database.engine, f"INSERT INTO {table} "):
            assert house.client.post("/v1/jobs", headers=headers, json=VIDEO).status_code == 503
        with house.app.database.begin_read() as connection:
            for name in ("batches", "jobs", "batch_members", "job_events", "idempotency"):
                assert connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() == 0, name  # noqa: S608
        job = house.make_job(headers)
        assert house.make_job(headers)["id"] == job["id"]

    def test_a_key_is_forgotten_after_seven_days(self, house: House) -> None:
        """Then it is a new request."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        first = house.make_job(headers)
        with house.app.database.begin_write() as connection:
            connection.exec_driver_sql("UPDATE idempotency SET begun_at = '2026-01-01T00:00:00.000000Z'")
        assert house.make_job(headers)["id"] != first["id"]


@contextmanager
def failing(engine: Engine, words: str) -> Iterator[None]:
    """Let the database be away for statements that begin with `words`."""
    import sqlite3

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(words):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    event.listen(engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", refuse)


class TestWaiting:
    """Answered as soon as nothing moves by itself."""

    @pytest.mark.parametrize("way", ["prefer", "wait"])
    def test_a_job_at_rest_is_not_waited_for(self, house: House, way: str) -> None:
        """A cancelled job is told at once, whatever was asked."""
        headers = house.headers() | {"Idempotency-Key": "k"}
        job = house.make_job(headers)
        cancel_job(house.app.jobs, job["id"], actor="local", reason="")
        if way == "prefer":
            answer = house.client.post("/v1/jobs", headers=headers | {"Prefer": "wait=60"}, json=VIDEO)
            assert answer.headers["preference-applied"] == "wait=60"
        else:
            answer = house.client.get(f"/v1/jobs/{job['id']}?wait=60", headers=headers)
        assert answer.json()["status"] == "cancelled"

    def test_a_job_that_comes_to_rest_meanwhile(self, house: House) -> None:
        """The answer comes with its end, not with the end of the time."""
        headers = house.headers()
        job = house.make_job(headers)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(house.client.get, f"/v1/jobs/{job['id']}?wait=60", headers=headers)
            cancel_job(house.app.jobs, job["id"], actor="local", reason="")
            assert waiting.result().json()["status"] == "cancelled"

    def test_a_database_that_goes_away_meanwhile_takes_no_id_away(self, house: House) -> None:
        """C11: the job is made and its id is told, so that nobody asks, and pays, for it again."""
        headers = house.headers() | {"Prefer": "wait=1"}
        with failing(house.app.database.engine, "SELECT jobs."):
            answer = house.client.post("/v1/jobs", headers=headers, json=VIDEO)
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        assert house.client.get(answer.headers["location"], headers=headers).json()["id"] == answer.json()["id"]

    def test_the_time_ends(self, house: House) -> None:
        """It is shown as it is then."""
        headers = house.headers()
        answer = house.client.get(f"/v1/jobs/{house.make_job(headers)['id']}?wait=1", headers=headers)
        assert answer.json()["status"] == "queued"


def test_an_etag_stands_for_a_version(house: House) -> None:
    """304 while nothing but the clock has moved; 200 with another one when the job has."""
    headers = house.headers()
    job = house.make_job(headers)
    seen = house.client.get(f"/v1/jobs/{job['id']}", headers=headers)
    known = headers | {"If-None-Match": seen.headers["etag"]}
    assert house.client.get(f"/v1/jobs/{job['id']}", headers=known).status_code == 304
    for spelling in ("*", seen.headers["etag"].removeprefix("W/"), f'"x", {seen.headers["etag"]}'):
        same = headers | {"If-None-Match": spelling}
        assert house.client.get(f"/v1/jobs/{job['id']}", headers=same).status_code == 304, spelling
    house.client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers)
    assert house.client.get(f"/v1/jobs/{job['id']}", headers=known).status_code == 200


STEPS = st.lists(st.sampled_from(["page", "insert", "cancel"]), min_size=4, max_size=14)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 3))
def test_paging_shows_each_job_once(house: House, steps: list[str], limit: int) -> None:
    """I5: whatever comes and changes between two pages, each job that was there is shown exactly once."""
    headers = house.headers("operator", f"owner{len(house.audit())}")
    there = [house.make_job(headers)["id"] for _ in range(4)]
    seen: list[str] = []
    after, is_done = "", False
    for step in [*steps, *["page"] * 8]:
        if step == "insert":
            house.make_job(headers)
        elif step == "cancel":
            house.client.post(f"/v1/jobs/{there[len(seen) % 4]}/cancel", headers=headers)
        elif not is_done:
            page = house.client.get(f"/v1/jobs?limit={limit}{after}", headers=headers).json()
            seen += [row["id"] for row in page["data"]]
            after, is_done = f"&after={page['last_id']}", not page["has_more"]
    assert [job_id for job_id in seen if job_id in there] == there[::-1]


INJECTIONS = [
    *(
        "' OR 1=1 --",
        "'; DROP TABLE jobs; --",
        '" OR ""="',
        "1) OR (1=1",
        "job_x' UNION SELECT secret_hmac FROM api_keys --",
    ),
    *(
        "%27%20OR%201=1",
        "\\",
        "')) --",
        "x' AND (SELECT 1)=1 --",
        "*/",
        "/*",
        "`",
        "${jndi}",
        "{{7*7}}",
        "%",
        "_",
        "\u2019",
    ),
]


@pytest.mark.parametrize("payload", INJECTIONS)
def test_nothing_written_reaches_sql_as_sql(house: House, payload: str) -> None:
    """I4: cursors that are none are 400; a query is data, in whatever place it stands; nothing else is ever shown."""
    headers = house.headers(owner="a")
    house.make_job(house.headers(owner="b"))
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(house.app.database.engine, "before_cursor_execute", note)
    get = house.client.get
    assert get("/v1/jobs", params={"after": payload}, headers=headers).status_code == 400
    assert get("/v1/jobs", params={"order": payload}, headers=headers).status_code == 422
    for query in (payload, f'"{payload}"', f"custom_id:{payload}", f'model:"{payload}"', f"tag:{payload}={payload}"):
        answer = get("/v1/jobs", params={"q": query}, headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 400 or answer.json()["data"] == []
    assert get(f"/v1/jobs/{payload}", headers=headers).status_code in (404, 405)
    assert [one for one in statements if len(payload) > 1 and payload in one] == []


CORES = ["1=1", "1=1 --", "SELECT secret_hmac FROM api_keys", "pg_sleep(9)", "DROP TABLE jobs", "UNION ALL SELECT NULL"]
OPENINGS = ["'", '"', "')", "'))", "\\'", "%27", "';", "$$", "' OR ", "1 AND ", "(", "x'||("]
ENDINGS = ["", " --", "/*", "') --", ";", " #"]
PAYLOADS = [f"{opening}{core}{ending}" for core in CORES for opening in OPENINGS for ending in ENDINGS][::2]
CURSORS = (
    *("/v1/jobs", "/v1/batches", "/v1/webhook_endpoints", "/v1/webhook_deliveries", "/v1/keys", "/v1/audit_log"),
    "/v1/jobs?q=status:failed",
    "/v1/jobs?order=asc",
)


def test_two_hundred_payloads(each_house: House) -> None:
    """I4: as a cursor of each list, an order, a query and an id: refused or data, on both databases; what stands in a
    statement is the same with and without them.
    """
    house, headers = each_house, each_house.headers("admin", "a")
    house.make_job(house.headers(owner="b"))
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(house.app.database.engine, "before_cursor_execute", note)
    for number, payload in enumerate(PAYLOADS):
        cursors = CURSORS[number % len(CORES) :: len(CORES)]
        answers = [house.client.get(path, params={"after": payload}, headers=headers) for path in cursors]
        assert {answer.status_code for answer in answers} == {400}, payload
        queries = [f'"{payload.replace(chr(34), "")}"', f"custom_id:{payload}"]
        found = [house.client.get("/v1/jobs", params={"q": query}, headers=headers) for query in queries]
        assert all(answer.status_code == 400 or answer.json()["data"] == [] for answer in found), payload
        assert {answer.status_code for answer in found} <= {200, 400}, payload
        assert house.client.get("/v1/jobs", params={"order": payload}, headers=headers).status_code == 422
    assert len(PAYLOADS) >= 200
    assert [one for one in statements if any(core in one for core in CORES[1:])] == []


def test_a_query_that_cannot_be_read_points_at_the_place(house: House) -> None:
    """400 with the character."""
    error = house.client.get("/v1/jobs?q=status:lost", headers=house.headers()).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_query", "q")
    assert "character 8" in error["message"]

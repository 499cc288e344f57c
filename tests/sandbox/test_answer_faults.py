"""Faults of submits and polls do exactly what they say, on the wire and in the ledger (surfaces.md section 6)."""

import socket
from typing import Any

import httpx
import pytest

from orchestrator.sandbox import SandboxOptions
from orchestrator.sandbox.faults import MALFORMED_WAYS
from tests.sandbox.conftest import KEY, Caller, StartSandbox

REFUSALS = [
    ("rate_limit", 429, "1302"),
    ("overload", 429, "1305"),
    ("arrears", 429, "1113"),
    ("auth", 401, "1002"),
    ("content_policy", 400, "1301"),
    ("duplicate_request", 400, "1231"),
    ("server_error", 500, "500"),
]
VIDEO = b'{"model": "cogvideox-3", "prompt": "x", "request_id": "my-req-000001"}'
PICTURE = VIDEO.replace(b"cogvideox-3", b"cogview-4")


def raw_exchange(api: Caller, body: bytes = VIDEO, *, path: str = "/videos/generations") -> bytes:
    """What comes back over a socket until the other side closes it; ConnectionResetError for an RST."""
    with opened(api, body, path) as wire:
        received = b""
        while piece := wire.recv(65536):
            received += piece
        return received


def opened(api: Caller, body: bytes, path: str) -> socket.socket:
    """A connection over which a request has been sent."""
    head = (
        f"POST /api/paas/v4{path} HTTP/1.1\r\nHost: {api.sandbox.host_port}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = api.sandbox.host_port.split(":")
    wire = socket.create_connection((host, int(port)), timeout=60)
    wire.sendall(head.encode() + body)
    return wire


def leave_unanswered(api: Caller, body: bytes = VIDEO, *, path: str = "/videos/generations") -> None:
    """Sends a request, waits until the sandbox has taken it, and leaves before any answer."""
    with opened(api, body, path) as wire:
        while f"POST {path}" not in api.stats()["requests"]:
            pass
        wire.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.recv(1)


@pytest.mark.parametrize(("fault", "status", "code"), REFUSALS)
def test_refusals_answer_their_code_and_charge_nothing(api: Caller, fault: str, status: int, code: str) -> None:
    api.put("faults", [{"fault": fault, "times": 1}])
    answer = api.video()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert isinstance(answer.json()["error"]["message"], str)
    assert ("contentFilter" in answer.json()) is (fault == "content_policy")
    assert api.ledger() == []
    assert api.video().status_code == 200


@pytest.mark.parametrize(("fault", "status", "code"), REFUSALS)
def test_refusals_strike_synchronous_calls_and_polls_too(api: Caller, fault: str, status: int, code: str) -> None:
    task = api.video().json()
    api.put("faults", [{"fault": fault, "phase": "poll", "times": 1}, {"fault": fault, "path": "/images/generations"}])
    for answer in (api.poll(task["id"]), api.image()):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert api.poll(task["id"]).status_code == 200


def test_any_code_can_be_had_with_its_own_words_and_waiting_time(api: Caller) -> None:
    rule = {"fault": "overload", "code": "1308", "reason": "Come back at 12:00", "retry_after": 30, "status": 429}
    api.put("faults", [rule])
    answer = api.video()
    assert answer.json() == {"error": {"code": "1308", "message": "Come back at 12:00"}}
    assert answer.headers["retry-after"] == "30"


def test_a_bad_gateway_is_a_page_and_not_json(api: Caller) -> None:
    api.put("faults", [{"fault": "bad_gateway"}])
    answer = api.video()
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert b"<html>" in answer.content
    assert api.ledger() == []


@pytest.mark.parametrize("fault", ["server_error", "bad_gateway", "reset"])
def test_an_error_may_come_after_the_work(api: Caller, fault: str) -> None:
    """The same error can hide a charge: `charged` decides, and the ledger knows (A11)."""
    api.put("faults", [{"fault": fault, "charged": True}])
    if fault == "reset":
        with pytest.raises(ConnectionResetError):
            raw_exchange(api)
    else:
        assert api.video(request_id="my-req-000001").status_code in (500, 502)
    assert [(row["request_id"], row["charged"], row["answered"]) for row in api.ledger()] == [
        ("my-req-000001", True, False)
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/videos/generations", VIDEO),
        ("/async/images/generations", VIDEO.replace(b"cogvideox-3", b"glm-image")),
        ("/images/generations", PICTURE),
    ],
)
def test_a_lost_answer_is_charged_and_not_one_byte_comes_back(api: Caller, path: str, body: bytes) -> None:
    api.put("faults", [{"fault": "lost_answer", "times": 1}])
    assert raw_exchange(api, body, path=path) == b""
    rows = api.ledger()
    assert [(row["request_id"], row["charged"], row["answered"]) for row in rows] == [("my-req-000001", True, False)]
    assert api.stats()["max_posts_per_request_id"] == 1


def test_a_reset_comes_before_any_work(api: Caller) -> None:
    """RST, nothing charged; the POST was received all the same and is counted."""
    api.put("faults", [{"fault": "reset", "times": 1}])
    with pytest.raises(ConnectionResetError):
        raw_exchange(api)
    assert api.ledger() == []
    assert api.stats()["max_posts_per_request_id"] == 1


def test_a_hang_charges_and_never_answers(api: Caller) -> None:
    api.put("faults", [{"fault": "hang"}])
    leave_unanswered(api)
    assert [(row["charged"], row["answered"]) for row in api.ledger()] == [(True, False)]


def test_a_hang_before_the_work_charges_nothing(api: Caller) -> None:
    api.put("faults", [{"fault": "hang", "charged": False}])
    leave_unanswered(api, PICTURE, path="/images/generations")
    assert api.ledger() == []


@pytest.mark.parametrize("charged", [True, False])
def test_a_hang_with_an_end_answers_then(api: Caller, *, charged: bool) -> None:
    api.put("faults", [{"fault": "hang", "seconds": 0.01, "charged": charged, "times": 1}])
    assert api.video().status_code == 200
    assert [row["answered"] for row in api.ledger()] == [True]


@pytest.mark.parametrize("way", [None, *MALFORMED_WAYS])
def test_malformed_answers_hide_a_charged_task(api: Caller, way: str | None) -> None:
    """No way of spoiling leaves a JSON object with the task's own id as one string (A12)."""
    api.put("faults", [{"fault": "malformed_answer", "reason": way, "times": 1}])
    answer = api.video()
    assert answer.status_code == 200
    row = api.ledger()[0]
    assert (row["charged"], row["answered"]) == (True, False)
    try:
        body: Any = answer.json()
    except (ValueError, RecursionError):
        return
    assert way in ("two_ids", "bom", "not_utf8") or not isinstance(body, dict) or body.get("id") != row["id"]


def test_fail_strikes_the_task_and_stays(api: Caller) -> None:
    """A task marked to fail runs its time first; later polls and the ledger agree."""
    api.put("latency", {"*": {"mean_seconds": 1000, "jitter": 0}})
    api.put("faults", [{"fault": "fail", "times": 1}])
    task = api.video().json()
    assert api.poll(task["id"]).json()["task_status"] == "PROCESSING"
    api.advance(60)
    assert [api.poll(task["id"]).json()["task_status"] for _ in range(2)] == ["FAIL", "FAIL"]
    assert api.ledger()[0]["status"] == "FAIL"


def test_fail_at_a_poll_ends_a_running_task_for_good(api: Caller) -> None:
    api.put("latency", {"*": {"mean_seconds": 1000, "jitter": 0}})
    task = api.video().json()
    api.put("faults", [{"fault": "fail", "phase": "poll", "reason": "too dark", "times": 1}])
    answers = [api.poll(task["id"]).json() for _ in range(2)]
    assert [answer["task_status"] for answer in answers] == ["FAIL", "FAIL"]
    assert answers[1]["error"] == {"code": "1230", "message": "too dark"}


def test_fail_may_come_with_the_submit_answer(api: Caller) -> None:
    api.put("faults", [{"fault": "fail", "seconds": 0}])
    assert api.video().json()["task_status"] == "FAIL"


def test_a_synchronous_call_that_fails_answers_an_error(api: Caller) -> None:
    api.put("faults", [{"fault": "fail"}])
    answer = api.image()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "1230")
    assert api.ledger()[0]["status"] == "FAIL"


def test_unknown_status_words(api: Caller) -> None:
    task = api.finished()
    api.put("faults", [{"fault": "unknown_status", "times": 1}, {"fault": "unknown_status", "reason": "success"}])
    words = [api.poll(api.ledger()[0]["id"]).json()["task_status"] for _ in range(2)]
    assert words == ["SUBMITTED", "success"]
    assert task["task_status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("way", "result"),
    [
        (None, []),
        ("missing", "absent"),
        ("null", None),
        ("no_url", [{"cover_image_url"}]),
        ("javascript:alert(1)", [{"url", "cover_image_url"}]),
    ],
)
def test_success_that_holds_nothing(api: Caller, way: str | None, result: object) -> None:
    """Only a finished task uses the rule up; then SUCCESS comes without anything that can be fetched (D6)."""
    api.put("options", {"result_variant": "documented"})
    api.put("latency", {"*": {"mean_seconds": 1000, "jitter": 0}})
    task = api.video().json()
    api.put("faults", [{"fault": "empty_result", "reason": way, "times": 1}])
    assert api.poll(task["id"]).json()["task_status"] == "PROCESSING"
    api.advance(2000)
    body = api.poll(task["id"]).json()
    found = body.get("video_result", "absent")
    assert body["task_status"] == "SUCCESS"
    assert ([set(item) for item in found] if isinstance(found, list) else found) == result
    assert api.poll(task["id"]).json()["video_result"][0]["url"].startswith("http://127.0.0.1")


def test_an_empty_picture_answer(api: Caller) -> None:
    api.put("faults", [{"fault": "empty_result"}])
    assert api.image().json()["data"] == []


def test_slow_tasks(api: Caller) -> None:
    api.put("faults", [{"fault": "slow_task", "seconds": 5000}])
    task = api.video().json()
    api.advance(4990)
    assert api.poll(task["id"]).json()["task_status"] == "PROCESSING"
    api.advance(20)
    assert api.poll(task["id"]).json()["task_status"] == "SUCCESS"


@pytest.mark.parametrize("fault", ["lost_answer", "reset", "malformed_answer", "hang"])
def test_polls_can_be_struck_without_harm_to_the_task(api: Caller, fault: str) -> None:
    task = api.video().json()
    api.put("faults", [{"fault": fault, "path": "/async-result", "times": 1, "seconds": 0.01}])
    try:
        answer = api.poll(task["id"])
        assert answer.status_code == 200
    except (httpx.RemoteProtocolError, httpx.ReadError):
        assert fault in ("lost_answer", "reset")
    api.advance(60)
    assert api.poll(task["id"]).json()["task_status"] == "SUCCESS"


def test_a_caller_who_leaves_a_picture_half_way_pays_all_the_same(started: StartSandbox) -> None:
    api = started(SandboxOptions())
    api.put("latency", {"*": {"mean_seconds": 1000, "jitter": 0}})
    leave_unanswered(api, PICTURE, path="/images/generations")
    assert [(row["status"], row["charged"], row["answered"]) for row in api.ledger()] == [("PROCESSING", True, False)]

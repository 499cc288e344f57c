"""Answers have the provider's form, in every variant seen (zai-api.md sections 2.3, 3.4, 4, 9)."""

import re
from typing import Any

import pytest

from tests.sandbox.conftest import Caller

GLM_IMAGE = {"model": "glm-image", "path": "/async/images/generations"}


def test_submit_answers_four_strings_and_nothing_else(api: Caller) -> None:
    answer = api.video(request_id="my-req-000001")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    body = answer.json()
    assert re.fullmatch(r"20\d{12}[0-9a-f]{16}", body.pop("id"))
    assert body == {"request_id": "my-req-000001", "model": "cogvideox-3", "task_status": "PROCESSING"}


def test_without_a_request_id_the_task_id_stands_in(api: Caller) -> None:
    body = api.video().json()
    assert body["request_id"] == body["id"]


def test_null_means_absent_and_unknown_fields_are_ignored(api: Caller) -> None:
    """The official SDK sends null for every field that is not set."""
    names = ("image_url", "quality", "with_audio", "size", "fps", "duration", "request_id", "user_id", "off_peak")
    assert api.video(**dict.fromkeys(names), never_heard_of=1).status_code == 200


@pytest.mark.parametrize("prefix", ["/", "//"])
def test_a_base_with_a_slash_at_its_end_works(api: Caller, prefix: str) -> None:
    assert api.post(f"{prefix}videos/generations", {"model": "cogvideox-3", "prompt": "x"}).status_code == 200


def test_a_running_task_has_no_result(api: Caller) -> None:
    """The result of a running task is absent, null or empty, never more."""
    api.put("latency", {"*": {"mean_seconds": 100, "jitter": 0}})
    seen = set()
    for variant in ("documented", "with_id", "usage", "model_case", "choices"):
        api.put("options", {"result_variant": variant})
        body = api.poll(api.video().json()["id"]).json()
        assert body["task_status"] == "PROCESSING"
        assert not body.get("video_result")
        seen.add(repr(body.get("video_result", "absent")))
    assert seen == {"'absent'", "None", "[]"}


@pytest.mark.parametrize(
    ("variant", "more"),
    [
        ("documented", set()),
        ("with_id", {"id"}),
        ("usage", {"id", "usage"}),
        ("model_case", set()),
        ("choices", {"choices", "created"}),
    ],
)
def test_result_variants_of_a_video(api: Caller, variant: str, more: set[str]) -> None:
    api.put("options", {"result_variant": variant})
    body = api.finished()
    assert set(body) == {"model", "request_id", "task_status", "video_result"} | more
    assert body["model"] == ("CogVideoX-3" if variant == "model_case" else "cogvideox-3")
    assert [set(item) for item in body["video_result"]] == [{"url", "cover_image_url"}]


@pytest.mark.parametrize(("variant", "form"), [("documented", list), ("object", dict)])
def test_image_result_is_a_list_or_an_object(api: Caller, variant: str, form: type) -> None:
    api.put("options", {"result_variant": variant})
    assert isinstance(api.finished(**GLM_IMAGE)["image_result"], form)


def test_mixed_variants_all_come_up_and_stay_with_their_task(api: Caller) -> None:
    """By default tasks differ among themselves, and a task answers alike at each poll."""
    seen = set()
    for _ in range(40):
        body = api.finished()
        seen.add((tuple(sorted(body)), body["model"]))
    assert len(seen) >= 4


def test_a_failed_task_is_bare_by_default(api: Caller) -> None:
    api.put("faults", [{"fault": "fail"}])
    task = api.video().json()
    api.advance(60)
    answer = api.poll(task["id"])
    assert answer.status_code == 200
    assert answer.json() == {**task, "task_status": "FAIL"}


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ("error", {"error": {"code": "1301", "message": "The input or the output may contain unsafe content."}}),
        ("message", {"message": "The input or the output may contain unsafe content."}),
        ("empty_result", {"video_result": []}),
    ],
)
def test_a_failed_task_may_carry_a_reason(api: Caller, shape: str, more: dict[str, Any]) -> None:
    api.put("options", {"fail_shape": shape})
    api.put("faults", [{"fault": "fail", "reason": "1301"}])
    task = api.video().json()
    api.advance(60)
    assert api.poll(task["id"]).json() == {**task, "task_status": "FAIL", **more}


@pytest.mark.parametrize(("way", "status", "code"), [("1214", 400, "1214"), ("404", 404, "1222"), ("fail", 200, None)])
def test_unknown_ids(api: Caller, way: str, status: int, code: str | None) -> None:
    api.put("options", {"unknown_id": way})
    answer = api.poll("20260228232932000000000000000000")
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code
    assert code or answer.json()["task_status"] == "FAIL"


def test_a_picture_comes_in_the_call_with_one_link(api: Caller) -> None:
    body = api.image().json()
    assert isinstance(body["created"], int)
    assert [set(item) for item in body["data"]] == [{"url"}]
    assert body["content_filter"][0]["level"] == 3


def test_a_synchronous_task_cannot_be_polled(api: Caller) -> None:
    api.image()
    assert api.poll(api.ledger()[0]["id"]).status_code == 400


@pytest.mark.parametrize("path", ["/models", "/videos", "/chat/completions", "/async-result"])
def test_what_does_not_exist_is_404(api: Caller, path: str) -> None:
    answer = api.client.get(api.sandbox.base_url + path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "1222"


def test_ledger_rows_hold_the_providers_own_truth(api: Caller) -> None:
    api.video(request_id="my-req-000001")
    api.image(request_id="my-req-000002")
    api.advance(60)
    rows = api.ledger()
    names = ("request_id", "kind", "model", "charged", "price", "status", "answered")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("my-req-000001", "video", "cogvideox-3", True, "0.20", "SUCCESS", True),
        ("my-req-000002", "image", "cogview-4", True, "0.01", "SUCCESS", True),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["created_at"]) for row in rows)


def test_whether_a_fail_is_charged_is_a_switch(api: Caller) -> None:
    api.put("faults", [{"fault": "fail"}])
    api.video()
    api.advance(60)
    assert [row["charged"] for row in api.ledger()] == [True]
    api.put("options", {"charge_failed": False})
    assert [row["charged"] for row in api.ledger()] == [False]

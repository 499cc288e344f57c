"""Bad requests are refused as the provider refuses them, before anything is charged (zai-api.md 1.3, 1.5, 2, 3.2, 9)."""

import base64
import io
from time import time
from typing import Any

import jwt
import pytest
from PIL import Image

from tests.sandbox.conftest import GOOD_KEY, Caller

LINK = "https://example.org/a.png"
VIDEO, IMAGE, ASYNC_IMAGE = "/videos/generations", "/images/generations", "/async/images/generations"


def picture(width: int, height: int, form: str = "png", *, data_url: bool = True) -> str:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, form)
    data = base64.b64encode(out.getvalue()).decode()
    return f"data:image/{form};base64,{data}" if data_url else data


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (VIDEO, {"model": None}, "1213"),
    (VIDEO, {"model": 5}, "1214"),
    (VIDEO, {"model": "cogvideox-9"}, "1211"),
    (VIDEO, {"model": "glm-image"}, "1212"),
    (VIDEO, {"prompt": None}, "1213"),
    (VIDEO, {"prompt": "x" * 513}, "1261"),
    (VIDEO, {"prompt": ["x"]}, "1214"),
    (VIDEO, {"size": "1x1"}, "1214"),
    (VIDEO, {"fps": 24}, "1214"),
    (VIDEO, {"fps": "30"}, "1214"),
    (VIDEO, {"duration": 7}, "1214"),
    (VIDEO, {"duration": True}, "1214"),
    (VIDEO, {"quality": "best"}, "1214"),
    (VIDEO, {"with_audio": "yes"}, "1214"),
    (VIDEO, {"request_id": "short"}, "1214"),
    (VIDEO, {"request_id": "x" * 65}, "1214"),
    (VIDEO, {"user_id": "x" * 129}, "1214"),
    (VIDEO, {"image_url": "file:///etc/passwd"}, "1214"),
    (VIDEO, {"image_url": "data:image/svg+xml;base64,"}, "1210"),
    (VIDEO, {"image_url": [LINK, LINK, LINK]}, "1214"),
    (VIDEO, {"image_url": [LINK, 5]}, "1214"),
    (VIDEO, {"image_url": picture(8, 8, "webp")}, "1210"),
    (VIDEO, {"model": "cogvideox-2", "image_url": [LINK, LINK]}, "1214"),
    (VIDEO, {"model": "viduq1-text", "prompt": None}, "1213"),
    (VIDEO, {"model": "viduq1-text", "duration": 10}, "1214"),
    (VIDEO, {"model": "viduq1-text", "aspect_ratio": "4:3"}, "1214"),
    (VIDEO, {"model": "viduq1-text", "style": "noir"}, "1214"),
    (VIDEO, {"model": "vidu2-image"}, "1213"),
    (VIDEO, {"model": "vidu2-image", "image_url": picture(64, 64, data_url=False)}, "1214"),
    (VIDEO, {"model": "vidu2-image", "image_url": picture(100, 20)}, "1214"),
    (VIDEO, {"model": "vidu2-start-end", "image_url": LINK}, "1214"),
    (VIDEO, {"model": "vidu2-start-end", "image_url": [picture(64, 64), picture(128, 64)]}, "1214"),
    (VIDEO, {"model": "vidu2-reference", "image_url": [picture(100, 200)]}, "1214"),
    (VIDEO, {"model": "vidu2-reference", "image_url": [LINK] * 4}, "1214"),
    (IMAGE, {"model": "cogvideox-3"}, "1212"),
    (IMAGE, {"prompt": None}, "1213"),
    (IMAGE, {"model": "glm-image", "prompt": "x" * 1001}, "1261"),
    (IMAGE, {"model": "glm-image", "quality": "standard"}, "1214"),
    (IMAGE, {"model": "glm-image", "size": "1000x1024"}, "1214"),
    (IMAGE, {"size": "512x520"}, "1214"),
    (IMAGE, {"size": "2048x2048"}, "1214"),
    (IMAGE, {"size": "1024\u00d71024"}, "1214"),
    (IMAGE, {"size": 1024}, "1214"),
    (ASYNC_IMAGE, {"model": "cogview-4"}, "1212"),
]


@pytest.mark.parametrize(("path", "fields", "code"), REFUSED)
def test_bad_requests_are_refused_and_not_charged(api: Caller, path: str, fields: dict[str, Any], code: str) -> None:
    model = {VIDEO: "cogvideox-3", IMAGE: "cogview-4", ASYNC_IMAGE: "glm-image"}[path]
    answer = api.post(path, {"model": model, "prompt": "a red kite", **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert api.ledger() == []


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (VIDEO, {"prompt": "x" * 512}),
    (VIDEO, {"prompt": None, "image_url": LINK}),
    (VIDEO, {"image_url": [LINK, LINK], "quality": "quality"}),
    (VIDEO, {"image_url": picture(8, 8, "jpeg", data_url=False)}),
    (VIDEO, {"image_url": picture(900, 900)}),
    (VIDEO, {"model": "CogVideoX-3", "fps": 60, "duration": 10, "with_audio": True}),
    (VIDEO, {"model": "cogvideox-2", "image_url": [LINK]}),
    (VIDEO, {"model": "viduq1-text", "style": "anime", "aspect_ratio": "1:1", "movement_amplitude": "small"}),
    (VIDEO, {"model": "vidu2-image", "image_url": picture(64, 64, "webp")}),
    (VIDEO, {"model": "vidu2-start-end", "image_url": [picture(64, 64), picture(64, 64)], "size": "480x360"}),
    (VIDEO, {"model": "vidu2-reference", "image_url": [LINK, picture(128, 128)], "size": "720x480"}),
    (IMAGE, {"model": "glm-image", "prompt": "x" * 1000, "size": "2048x2048"}),
    (IMAGE, {"size": "1440x720", "quality": "hd", "n": 1, "response_format": "url"}),
    (ASYNC_IMAGE, {"quality": "hd", "watermark_enabled": False}),
]


@pytest.mark.parametrize(("path", "fields"), ACCEPTED)
def test_what_the_documents_allow_is_accepted(api: Caller, path: str, fields: dict[str, Any]) -> None:
    model = {VIDEO: "cogvideox-3", IMAGE: "cogview-4", ASYNC_IMAGE: "glm-image"}[path]
    answer = api.post(path, {"model": model, "prompt": "a red kite", **fields})
    assert answer.status_code == 200, answer.text
    assert len(api.ledger()) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"model": NaN'])
def test_a_body_that_is_no_object_is_1210(api: Caller, body: bytes) -> None:
    answer = api.client.post(api.sandbox.base_url + VIDEO, content=body, headers=GOOD_KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "1210")


def signed(*, seconds_left: float, milliseconds: int = 1000, **claims: object) -> str:
    """A token as the SDKs make it."""
    now = time()
    payload = {"api_key": "id", "exp": int((now + seconds_left) * milliseconds), "timestamp": int(now * milliseconds)}
    return jwt.encode({**payload, **claims}, "s" * 32, algorithm="HS256", headers={"sign_type": "SIGN"})


KEYS = [
    (None, "1001"),
    ("", "1001"),
    ("Bearer", "1001"),
    ("Bearer invalid", "1002"),
    ("Bearer nodot", "1002"),
    ("Bearer a.b.c", "1002"),
    ("Bearer a..c", "1002"),
    (f"Bearer {signed(seconds_left=-1)}", "1003"),
    (f"Bearer {signed(seconds_left=86_400, milliseconds=1)}", "1003"),
    (f"Bearer {signed(seconds_left=86_400, api_key='')}", "1004"),
    ("Bearer some-id.some-secret", None),
    (f"Bearer {signed(seconds_left=86_400)}", None),
]


@pytest.mark.parametrize(("header", "code"), KEYS)
def test_keys_and_tokens(api: Caller, header: str | None, code: str | None) -> None:
    """Any raw key of two parts and any token that has not expired is good, on submits and on polls."""
    headers = {} if header is None else {"Authorization": header}
    answers = (
        api.post(VIDEO, {"model": "cogvideox-3", "prompt": "x"}, headers=headers),
        api.client.get(f"{api.sandbox.base_url}/async-result/1", headers=headers),
    )
    for answer, good in zip(answers, (None, "1214"), strict=True):
        assert answer.json().get("error", {}).get("code") == (code or good)
        assert (answer.status_code == 401) is (code is not None)


def test_every_post_is_counted_by_its_request_id(api: Caller) -> None:
    """Also those refused for their key, their fields or a fault: a client that repeats itself is found out."""
    for headers in ({}, {"Authorization": "Bearer invalid"}, GOOD_KEY):
        api.post(VIDEO, {"model": "no-such", "request_id": "my-req-000001"}, headers=headers)
    assert api.stats()["max_posts_per_request_id"] == 3


def test_a_repeated_request_id_is_1231_until_switched_off(api: Caller) -> None:
    """A request_id is used up by an accepted task, on whatever endpoint; a refused request does not use it."""
    api.put("faults", [{"fault": "rate_limit", "times": 1}])
    assert api.video(request_id="my-req-000001").status_code == 429
    assert api.video(request_id="my-req-000001").status_code == 200
    for again in (api.video(request_id="my-req-000001"), api.image(request_id="my-req-000001")):
        assert (again.status_code, again.json()["error"]["code"]) == (400, "1231")
    assert len(api.ledger()) == 1
    api.put("options", {"refuse_repeated_request_id": False})
    assert api.video(request_id="my-req-000001").status_code == 200
    assert api.stats()["max_posts_per_request_id"] == 5

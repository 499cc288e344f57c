"""The yardstick is straight: the bare provider keeps the wire format, its limits and its books."""

from __future__ import annotations

import io
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from bench.provider import Stub, running_stub
from bench.task_stub import StubOptions, draw_seconds
from orchestrator.domain.media.inspect import inspect

BODY = {"model": "cogvideox-3", "request_id": "sub-000001", "prompt": "a kite"}


def call(stub: Stub, path: str, body: object = None) -> Any:  # noqa: ANN401 - whatever JSON it answers
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{stub.base_url}{path}", data=data, timeout=10) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def test_a_task_is_done_after_its_polls_and_noticed_once() -> None:
    """`polls` questions make it ready; the counters and times say so."""
    with running_stub(StubOptions(polls=3)) as stub:
        taken = call(stub, "/videos/generations", BODY)
        assert len(taken["id"]) == 30
        assert taken == {**taken, "request_id": "sub-000001", "model": "cogvideox-3", "task_status": "PROCESSING"}
        words = [call(stub, f"/async-result/{taken['id']}") for _ in range(4)]
        assert [word["task_status"] for word in words] == ["PROCESSING", "PROCESSING", "SUCCESS", "SUCCESS"]
        with urllib.request.urlopen(words[2]["video_result"][0]["url"], timeout=10) as picture:  # noqa: S310 - loopback
            data = picture.read()
        assert inspect(io.BytesIO(data), len(data)).content_type == "image/png"
        assert (stub.count("polls"), stub.count("noticed"), stub.most_in_flight()) == (4, 1, 1)
        (times,) = stub.tasks()
        assert times.taken_at <= times.done_at <= times.noticed_at
        assert len(stub.gaps()) == 3


def test_a_full_model_refuses_and_others_go_on() -> None:
    """The limit is each model's own; the refusal is 1302 under 429."""
    with running_stub(StubOptions(polls=1, limits={"cogvideox-3": 1})) as stub:
        call(stub, "/videos/generations", BODY)
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(stub, "/videos/generations", BODY)
        with refused.value:
            assert refused.value.code == 429
            assert json.load(refused.value)["error"]["code"] == "1302"
        call(stub, "/async/images/generations", {"model": "glm-image", "prompt": "a kite"})
        assert (stub.count("taken"), stub.count("refused")) == (2, 1)


def test_a_slot_is_free_once_its_task_is_done() -> None:
    """A finished task does not count, noticed or not counts the same."""
    with running_stub(StubOptions(polls=1, limits={"*": 1})) as stub:
        for _ in range(3):
            taken = call(stub, "/videos/generations", BODY)
            assert call(stub, f"/async-result/{taken['id']}")["task_status"] == "SUCCESS"
        assert (stub.count("taken"), stub.count("refused"), stub.most_in_flight()) == (3, 0, 1)


def test_requests_may_come_in_pieces_and_several_at_once() -> None:
    """A client may write two requests in one packet, or one in two."""
    body = json.dumps(BODY).encode()
    head = b"POST /api/paas/v4/videos/generations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    sent = (head + body) * 2
    with running_stub(StubOptions(polls=1)) as stub, socket.create_connection(("127.0.0.1", stub.port), 10) as client:
        client.sendall(sent[:-7])
        answers = client.recv(65_536)
        client.sendall(sent[-7:])
        while answers.count(b'"task_status":"PROCESSING"}') < 2:
            more = client.recv(65_536)
            assert more
            answers += more
        assert stub.count("taken") == 2


def test_tasks_last_as_long_for_every_contestant() -> None:
    """The n-th task taken lasts the same in every run of a seed, within the jitter."""
    options = StubOptions(seconds=2.0, jitter=0.2, seed=7)
    drawn = draw_seconds(options, 50)
    assert drawn == draw_seconds(options, 60)[:50]
    assert 1.6 <= min(drawn) < max(drawn) <= 2.4

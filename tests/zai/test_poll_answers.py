"""Polls: every variant of zai-api.md 4 over a real connection, and nothing that harms the job (faults D2-D8)."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import Account, Gone, StepError, Throttled, Transient
from orchestrator.domain.job import OutputDraft, Role
from orchestrator.domain.outcomes import NothingUsable, OutputsReady, ProviderFailed, StillRunning
from orchestrator.domain.ports import PollAnswer, PollQuestion
from tests.zai.loopback import KEY, NOW, Act, Peer, answer, hang, make_provider, peer, raw

VIDEO = "https://aigc-files.example.test/api/cogvideo/1_0.mp4"
COVER = "https://other.example.test/1_cover_0.png?UCloudPublicKey=k&Signature=s&Expires=1795440000"
VIDU = "https://s3.example.test/v.mp4?X-Amz-Date=20261122T110000Z&X-Amz-Expires=86400&X-Amz-Signature=s"
A_DAY = NOW + timedelta(days=1)
VIDEO_DRAFT = OutputDraft(0, Role.VIDEO, VIDEO, expires_at=A_DAY, is_expiry_assumed=True)
COVER_DRAFT = OutputDraft(1, Role.COVER, COVER, expires_at=datetime.fromtimestamp(1795440000, UTC))
SUCCESS = {"model": "cogvideox-3", "request_id": "r", "task_status": "SUCCESS"}


async def ask(act: Act, *, kind: str = "video", task_id: str = "t1") -> tuple[PollAnswer, Peer]:
    """Ask a peer about a task."""
    async with peer(act) as one:
        provider = make_provider(one.url, deadline=timedelta(seconds=2))
        try:
            return await provider.poll(PollQuestion(kind, "m", task_id)), one
        finally:
            await provider.close()


def poll(body: object, *, kind: str = "video", http_status: int = 200) -> PollAnswer:
    """Read one answer to a poll."""
    text = body if isinstance(body, str) else json.dumps(body)
    return asyncio.run(ask(answer(text.encode(), status=http_status), kind=kind))[0]


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ({**SUCCESS, "video_result": [{"url": VIDEO, "cover_image_url": COVER}]}, (VIDEO_DRAFT, COVER_DRAFT)),
        ({**SUCCESS, "video_result": [{"url": VIDEO}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "video_result": {"url": VIDEO}}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "video_result": [{"url": VIDEO, "cover_image_url": None}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "video_result": [{"url": VIDEO, "cover_image_url": "data:image/png,"}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "id": "t1", "usage": {"total_tokens": 0}, "video_result": [{"url": VIDEO}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "model": "CogVideoX-3", "video_result": [{"url": VIDEO}]}, (VIDEO_DRAFT,)),
        (
            {**SUCCESS, "choices": [{"finish_reason": "stop"}], "created": 1, "video_result": [{"url": VIDEO}]},
            (VIDEO_DRAFT,),
        ),
        ({"task_status": "SUCCESS", "video_result": [{"url": VIDEO}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "error": None, "video_result": [{"url": VIDEO}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "video_result": [{"url": VIDEO}, {"url": VIDEO}]}, (VIDEO_DRAFT,)),
        ({**SUCCESS, "video_result": [None, 5, {"url": VIDEO}]}, (VIDEO_DRAFT,)),
        (
            {**SUCCESS, "video_result": [{"url": VIDU}]},
            (OutputDraft(0, Role.VIDEO, VIDU, expires_at=datetime(2026, 11, 23, 11, tzinfo=UTC)),),
        ),
        ("\ufeff" + json.dumps({**SUCCESS, "video_result": [{"url": VIDEO}]}), (VIDEO_DRAFT,)),
        (
            '{"task_status":"PROCESSING","task_status":"SUCCESS","video_result":[{"url":"' + VIDEO + '"}]}',
            (VIDEO_DRAFT,),
        ),
    ],
)
def test_every_variant_of_a_finished_video(body: object, outputs: tuple[OutputDraft, ...]) -> None:
    """4.2: with and without id, cover, usage, choices; other spellings of the model; one object for a list."""
    assert poll(body) == OutputsReady(outputs)


@pytest.mark.parametrize("result", [[{"url": COVER}], {"url": COVER}])
def test_a_finished_picture(result: object) -> None:
    """4.3: a list, or one object."""
    draft = OutputDraft(0, Role.IMAGE, COVER, expires_at=datetime.fromtimestamp(1795440000, UTC))
    assert poll({**SUCCESS, "image_result": result}, kind="image") == OutputsReady((draft,))


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {},
        "x",
        [{}],
        [{"url": None}],
        [{"url": ""}],
        [{"url": 5}],
        [{"url": "data:video/mp4;base64,AAAA"}],
        [{"url": "javascript:alert(1)"}],
        [{"url": "file:///etc/passwd"}],
        [{"url": "ftp://h/x.mp4"}],
        [{"url": "//h/x.mp4"}],
        [{"url": "https://"}],
        [{"url": "https://h:99999/x"}],
        [{"url": "https://h/x y"}],
        [{"url": "https://h/\r\nx"}],
        [{"url": "https://h/" + "x" * 9000}],
        [{"cover_image_url": COVER}],
    ],
)
def test_success_without_a_usable_link(result: object) -> None:
    """D6."""
    assert isinstance(poll({**SUCCESS, "video_result": result}), NothingUsable)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"task_status": "PROCESSING"}, "PROCESSING"),
        ({"task_status": "PROCESSING", "video_result": None}, "PROCESSING"),
        ({"task_status": "PROCESSING", "video_result": []}, "PROCESSING"),
        ({"task_status": "SUBMITTED"}, "SUBMITTED"),
        ({"task_status": "success", "video_result": [{"url": VIDEO}]}, "success"),
        ({"task_status": "fail"}, "fail"),
        ({"task_status": 2}, "2"),
        ({"task_status": True}, "True"),
        ({"task_status": ["SUCCESS"]}, "['SUCCESS']"),
        ({"task_status": None}, "(no status)"),
        ({"task_status": ""}, "(no status)"),
        ({}, "(no status)"),
        ({"video_result": [{"url": VIDEO}]}, "(no status)"),
    ],
)
def test_every_other_status_is_still_running(body: object, word: str) -> None:
    """D5: unknown words, numbers, lower case, none."""
    assert poll(body) == StillRunning(word)


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        ({}, None, "the provider gave no reason"),
        ({"error": {"code": "1301", "message": "sensitive"}}, "1301", "sensitive"),
        ({"error": {"code": 1234}}, "1234", "the provider gave no reason"),
        ({"error": "broken"}, None, "broken"),
        ({"message": "so\n it is"}, None, "so it is"),
        ({"code": 1301, "message": "m"}, "1301", "m"),
        ({"video_result": []}, None, "the provider gave no reason"),
        ({"error": []}, None, "the provider gave no reason"),
    ],
)
def test_fail_with_and_without_a_reason(extra: dict[str, object], code: str | None, message: str) -> None:
    """4.5, D8: the reason is kept in whatever shape it comes."""
    assert poll({**SUCCESS, "task_status": "FAIL", **extra}) == ProviderFailed(code, message)


@pytest.mark.parametrize(
    ("http_status", "body", "wanted"),
    [
        (400, {"error": {"code": "1214", "message": "unknown id"}}, Gone),
        (404, {"error": {"code": "1222", "message": "m"}}, Gone),
        (404, {}, Gone),
        (404, "<html>", Transient),
        (401, {"error": {"code": "1002", "message": "m"}}, Account),
        (429, {"error": {"code": "1113", "message": "m"}}, Account),
        (429, {"error": {"code": "1302", "message": "m"}}, Throttled),
        (429, "slow", Transient),
        (500, {"error": {"code": "1234", "message": "m"}}, Transient),
        (502, "<html>", Transient),
        (302, "", Transient),
        (200, "<html>", Transient),
        (200, "", Transient),
        (200, "[]", Transient),
        (200, "[" * 100_000, Transient),
        (200, {"error": {"code": "1302", "message": "m"}}, Throttled),
        (200, {"error": {"code": "1234", "message": "m"}}, Transient),
        (200, {"code": 1214, "message": "m"}, Gone),
        (500, {**SUCCESS, "video_result": [{"url": VIDEO}]}, Transient),
        (400, {"error": {"code": "1301", "message": "m"}}, Transient),
    ],
)
def test_a_question_that_fails(http_status: int, body: object, wanted: type[StepError]) -> None:
    """D2, D4: the job is unharmed by all of these."""
    with pytest.raises(StepError) as caught:
        poll(body, http_status=http_status)
    assert type(caught.value) is wanted


@pytest.mark.parametrize(
    "act", [raw(b""), raw(b"", then_reset=True), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")]
)
def test_a_broken_connection_is_transient(act: Act) -> None:
    """D4: no exception of the HTTP client comes out."""
    with pytest.raises(Transient):
        asyncio.run(ask(act))


def test_a_silent_provider_is_transient() -> None:
    """D4: a time-out."""

    async def run() -> None:
        async with peer(hang) as one:
            provider = make_provider(one.url, deadline=timedelta(seconds=0.2))
            try:
                await provider.poll(PollQuestion("video", "m", "t"))
            finally:
                await provider.close()

    with pytest.raises(Transient, match="answer_timeout"):
        asyncio.run(run())


def test_the_question_names_the_task_and_nothing_else() -> None:
    """Ids are opaque: whatever stands in one stays one segment of the path."""
    _, one = asyncio.run(ask(answer(b"{}"), task_id="a/../b?c#d e"))
    lines = one.requests[0].decode().lower().split("\r\n")
    assert lines[0] == "get /api/paas/v4/async-result/a%2f..%2fb%3fc%23d%20e http/1.1"
    assert f"authorization: bearer {KEY}" in lines

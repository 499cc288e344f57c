"""The official zai-sdk and openai clients work against the sandbox: the proof that it is faithful (zai-api.md 12)."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from orchestrator.sandbox import SandboxOptions
from tests.sandbox.conftest import FAST, KEY, Caller, StartSandbox
from tests.sandbox.recordings import recording

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import zai
    from zai.core import APIAuthenticationError, APIInternalError, APIReachLimitError, APIRequestFailedError

WORDS = "A red kite over the sea."


@pytest.fixture
def zai_client(api: Caller) -> Iterator[zai.ZaiClient]:
    with zai.ZaiClient(api_key=KEY, base_url=api.sandbox.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def openai_client(api: Caller) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=api.sandbox.base_url, max_retries=0) as client:
        yield client


def test_zai_video(api: Caller, zai_client: zai.ZaiClient) -> None:
    task = zai_client.videos.generations(
        model="cogvideox-3", prompt="a red kite", quality="speed", with_audio=True, size="1280x720", fps=30
    )
    assert task.task_status == "PROCESSING"
    api.advance(60)
    result = zai_client.videos.retrieve_videos_result(id=str(task.id))
    assert result.task_status == "SUCCESS"
    assert api.client.get(result.video_result[0].url).headers["content-type"] == "video/mp4"
    assert api.client.get(result.video_result[0].cover_image_url).status_code == 200


def test_zai_signs_tokens(api: Caller) -> None:
    """With its token cache on, the SDK sends a signed token in place of the key (section 1.3)."""
    url = api.sandbox.base_url
    with zai.ZaiClient(api_key=KEY, base_url=url, max_retries=0, disable_token_cache=False) as client:
        assert client.videos.generations(model="cogvideox-3", prompt="a red kite").id


def test_zai_images_by_both_routes(api: Caller, zai_client: zai.ZaiClient) -> None:
    now = zai_client.images.generations(model="cogview-4", prompt="a red kite", size="512x512")
    assert api.client.get(str(now.data[0].url)).headers["content-type"] == "image/png"
    api.put("options", {"result_variant": "documented"})
    task = zai_client.images.async_generations(model="glm-image", prompt="a red kite")
    api.advance(60)
    result = zai_client.images.retrieve_images_result(id=str(task.id))
    assert result.task_status == "SUCCESS"
    assert result.image_result is not None
    assert api.client.get(str(result.image_result[0].url)).status_code == 200


def test_zai_transcription(zai_client: zai.ZaiClient) -> None:
    sound = ("talk.wav", io.BytesIO(recording(text=WORDS)))
    answer: Any = zai_client.audio.transcriptions.create(model="glm-asr-2512", file=sound)
    assert answer.text == WORDS


def test_zai_transcription_as_a_stream(zai_client: zai.ZaiClient) -> None:
    sound = ("talk.wav", io.BytesIO(recording(text=WORDS)))
    pieces: Any = zai_client.audio.transcriptions.create(model="glm-asr-2512", file=sound, stream=True)
    assert "".join(piece.delta for piece in pieces) == WORDS


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("content_policy", APIRequestFailedError, "1301"),
        ("auth", APIAuthenticationError, "1002"),
        ("rate_limit", APIReachLimitError, "1302"),
        ("arrears", APIReachLimitError, "1113"),
        ("server_error", APIInternalError, "500"),
    ],
)
def test_zai_errors(api: Caller, zai_client: zai.ZaiClient, fault: str, error: type[Exception], code: str) -> None:
    api.put("faults", [{"fault": fault}])
    with pytest.raises(error, match=code):
        zai_client.videos.generations(model="cogvideox-3", prompt="a red kite")


def test_zai_retries_of_a_paid_post_are_seen_in_the_ledger(started: StartSandbox) -> None:
    """The SDK repeats a POST whose answer was lost: with the switch off that is charged twice (section 12.2)."""
    api = started(SandboxOptions(speed=FAST))
    api.put("options", {"refuse_repeated_request_id": False})
    api.put("limits", {"cogvideox-3": 9})
    api.put("faults", [{"fault": "lost_answer", "times": 1}])
    with zai.ZaiClient(api_key=KEY, base_url=api.sandbox.base_url, max_retries=1) as client:
        client.videos.generations(model="cogvideox-3", prompt="a red kite", request_id="my-req-000001")
    assert [row["answered"] for row in api.ledger()] == [False, True]
    assert api.stats()["max_posts_per_request_id"] == 2


def test_openai_images(api: Caller, openai_client: openai.OpenAI) -> None:
    answer = openai_client.images.generate(model="cogview-4", prompt="a red kite", size="1024x1024")
    assert answer.data is not None
    assert api.client.get(str(answer.data[0].url)).status_code == 200


def test_openai_transcription(openai_client: openai.OpenAI, tmp_path: Path) -> None:
    sound = tmp_path / "talk.wav"
    sound.write_bytes(recording(text=WORDS))
    answer = openai_client.audio.transcriptions.create(model="glm-asr-2512", file=sound)
    assert answer.text == WORDS
    stream = openai_client.audio.transcriptions.create(model="glm-asr-2512", file=sound, stream=True)
    assert [event.text for event in stream if event.type == "transcript.text.done"] == [WORDS]


def test_openai_raw_video(api: Caller, openai_client: openai.OpenAI) -> None:
    body = {"model": "viduq1-text", "prompt": "a red kite"}
    task: Any = openai_client.post("/videos/generations", body=body, cast_to=object)
    api.advance(60)
    result: Any = openai_client.get(f"/async-result/{task['id']}", cast_to=object)
    assert result["task_status"] == "SUCCESS"


def test_openai_reads_the_code_and_finds_no_models(api: Caller, openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        openai_client.models.list()
    api.put("faults", [{"fault": "arrears"}])
    with pytest.raises(openai.RateLimitError) as error:
        openai_client.images.generate(model="cogview-4", prompt="x")
    assert error.value.code == "1113"

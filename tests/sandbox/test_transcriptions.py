"""Speech to text: multipart in, JSON or events out, and the words when they can be known (zai-api.md section 5.1)."""

import base64
import json
from typing import Any

import httpx
import pytest

from orchestrator.sandbox import hearing
from tests.sandbox.conftest import GOOD_KEY, Caller
from tests.sandbox.recordings import recording

WORDS = "The quick brown fox jumps over the lazy dog."
MODEL = {"model": "glm-asr-2512"}


def transcribe(api: Caller, fields: dict[str, Any], audio: bytes | None) -> httpx.Response:
    files = {"file": ("talk.wav", audio, "audio/wav")} if audio is not None else {"ignored": ("x", b"")}
    url = f"{api.sandbox.base_url}/audio/transcriptions"
    return api.client.post(url, data=fields, files=files, headers=GOOD_KEY)


@pytest.mark.parametrize("form", ["wav", "mp3"])
def test_the_words_come_from_the_files_own_comment(api: Caller, form: str) -> None:
    answer = transcribe(api, {**MODEL, "request_id": "my-req-000001"}, recording(text=WORDS, form=form))
    body = answer.json()
    assert answer.status_code == 200, body
    assert set(body) == {"id", "created", "request_id", "model", "text"}
    assert (body["text"], body["request_id"], body["model"]) == (WORDS, "my-req-000001", "glm-asr-2512")
    row = api.ledger()[0]
    assert (row["id"], row["kind"], row["price"], row["answered"]) == (body["id"], "transcription", "0.000040", True)


def test_unknown_words_are_said_to_be_unknown(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a recogniser the sandbox invents nothing."""
    monkeypatch.setattr(hearing, "_recogniser", lambda: None)
    text = transcribe(api, MODEL, recording(2)).json()["text"]
    assert text == "[sandbox: the words of this recording of 2.0 seconds are not known]"


class Recogniser:
    """Stands in for the optional package and remembers what it was given."""

    hypstr = "go forward ten meters"

    def __init__(self) -> None:
        self.samples = b""

    def start_utt(self) -> None: ...

    def end_utt(self) -> None: ...

    def process_raw(self, samples: bytes, **_: object) -> None:
        self.samples = samples

    def hyp(self) -> "Recogniser":
        return self


def test_a_recogniser_hears_sixteen_thousand_samples_a_second(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked only when the file does not carry its text."""
    recogniser = Recogniser()
    monkeypatch.setattr(hearing, "_recogniser", lambda: recogniser)
    assert transcribe(api, MODEL, recording(text=WORDS)).json()["text"] == WORDS
    assert recogniser.samples == b""
    assert transcribe(api, MODEL, recording(2)).json()["text"] == Recogniser.hypstr
    assert len(recogniser.samples) == 2 * 16_000 * 2


def test_stream(api: Caller) -> None:
    """Deltas that add up, one done with the whole text, and [DONE]."""
    answer = transcribe(api, {**MODEL, "stream": "true"}, recording(text=WORDS))
    assert answer.headers["content-type"].startswith("text/event-stream")
    *lines, last, end = answer.text.split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["delta"] for event in events) == WORDS
    assert {event["type"] for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1]["type"] == "transcript.text.done"
    assert events[-1]["text"] == WORDS
    assert all({"id", "created", "model"} <= set(event) for event in events)
    assert api.ledger()[0]["answered"] is True


def test_base64_stands_in_for_a_file_and_a_file_wins(api: Caller) -> None:
    encoded = base64.b64encode(recording(text="from base64")).decode()
    assert transcribe(api, {**MODEL, "file_base64": encoded}, None).json()["text"] == "from base64"
    both = transcribe(api, {**MODEL, "file_base64": encoded}, recording(text="from the file"))
    assert both.json()["text"] == "from the file"


@pytest.mark.parametrize(
    "hot",
    [{"hotwords": ["red", "kite"]}, {"hotwords[]": ["red", "kite"]}, {"hotwords": '["red", "kite"]'}],
)
def test_hot_words_in_every_spelling(api: Caller, hot: dict[str, Any]) -> None:
    assert transcribe(api, {**MODEL, **hot}, recording(text=WORDS)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "audio", "code"),
    [
        (MODEL, recording(31), "1214"),
        (MODEL, b"ID3 but no more", "1214"),
        (MODEL, b"", "1214"),
        (MODEL, b"RIFF" + bytes(25 * 1024 * 1024), "1214"),
        (MODEL, None, "1213"),
        ({**MODEL, "file_base64": "%%%"}, None, "1214"),
        ({}, recording(), "1213"),
        ({"model": "glm-asr-9"}, recording(), "1211"),
        ({"model": "glm-image"}, recording(), "1212"),
        ({**MODEL, "stream": "maybe"}, recording(), "1214"),
        ({**MODEL, "hotwords": ["x"] * 101}, recording(), "1214"),
        ({**MODEL, "request_id": "short"}, recording(), "1214"),
    ],
)
def test_refused(api: Caller, fields: dict[str, Any], audio: bytes | None, code: str) -> None:
    answer = transcribe(api, fields, audio)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert api.ledger() == []


def test_too_long_names_the_limit(api: Caller) -> None:
    """The message of section 5.1; exactly thirty seconds still pass."""
    assert "0-30 seconds" in transcribe(api, MODEL, recording(30.5)).json()["error"]["message"]
    assert transcribe(api, MODEL, recording(30, text=WORDS)).status_code == 200


def test_json_is_not_multipart(api: Caller) -> None:
    assert api.post("/audio/transcriptions", MODEL).json()["error"]["code"] == "1210"


@pytest.mark.parametrize("fault", ["lost_answer", "server_error", "malformed_answer", "empty_result"])
@pytest.mark.parametrize("stream", ["true", "false"])
def test_faults_strike_here_too(api: Caller, fault: str, stream: str) -> None:
    api.put("faults", [{"fault": fault, "times": 1}])
    try:
        answer = transcribe(api, {**MODEL, "stream": stream}, recording(text=WORDS))
        assert answer.status_code == (500 if fault == "server_error" else 200)
        assert WORDS not in answer.text
    except httpx.RemoteProtocolError:
        assert fault == "lost_answer"
    answered = [row["answered"] for row in api.ledger()]
    assert answered == {"server_error": [], "empty_result": [True]}.get(fault, [False])
    assert transcribe(api, MODEL, recording(text=WORDS)).json()["text"] == WORDS

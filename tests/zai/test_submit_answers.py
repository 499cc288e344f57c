"""Answers to the paid call: what is believed, and the many that are not (zai-api.md 2.3, 3.4, 5.1; faults A12, A15)."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import StepError, Uncertain
from orchestrator.domain.job import OutputDraft, Role
from orchestrator.domain.outcomes import AnswerComplete, CallEvidence, FailedAtSubmit, Moment, TaskAccepted
from orchestrator.domain.ports import SubmitAnswer
from tests.zai.loopback import NOW, make_provider

PROVIDER = make_provider("http://127.0.0.1:9/")
ID = "2026022823293200aabbccddeeff0011"
ENVELOPE = {"id": ID, "request_id": "my-req-000001", "model": "cogvideox-3", "task_status": "PROCESSING"}


def interpret(body: object, *, kind: str = "video", http_status: int = 200) -> SubmitAnswer:
    """Read one answer."""
    text = body if isinstance(body, str) else json.dumps(body)
    return PROVIDER.interpret(kind, CallEvidence(Moment.ANSWERED, NOW, NOW, http_status, text))


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"task_status": "SUBMITTED"},
        {"task_status": "SUCCESS"},
        {"task_status": "processing"},
        {"model": "CogVideoX-3"},
        {"model": None},
        {"request_id": None},
        {"video_result": []},
        {"extra": {"deep": [1, 2]}},
        {"error": None},
    ],
)
def test_the_envelope_gives_the_task_id(kind: str, change: dict[str, object]) -> None:
    """3.4: all four fields are documented; the id is what counts, and it is `id`, not `request_id`."""
    assert interpret({**ENVELOPE, **change}, kind=kind) == TaskAccepted(ID)


def test_201_and_202_are_good_answers() -> None:
    """Any 2xx with the documented envelope."""
    assert interpret(ENVELOPE, http_status=202) == TaskAccepted(ID)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, FailedAtSubmit(None, "the provider gave no reason")),
        ({"error": {"code": "1301", "message": "sensitive"}}, FailedAtSubmit("1301", "sensitive")),
        ({"message": "no"}, FailedAtSubmit(None, "no")),
        ({"error": "no"}, FailedAtSubmit(None, "no")),
        ({"id": None}, FailedAtSubmit(None, "the provider gave no reason")),
    ],
)
def test_fail_in_the_envelope(change: dict[str, object], wanted: FailedAtSubmit) -> None:
    """3.4: documented, so it must be coped with; whether it was charged nobody knows."""
    assert interpret({**ENVELOPE, "task_status": "FAIL", **change}) == wanted


MALFORMED: list[object] = [
    "",
    " ",
    "null",
    "true",
    "17",
    '"text"',
    "[]",
    json.dumps([ENVELOPE]),
    "{}",
    "<html><body>OK</body></html>",
    "OK",
    json.dumps(ENVELOPE)[:-1],
    json.dumps(ENVELOPE)[: len(json.dumps(ENVELOPE)) // 2],
    "\ufeff" + json.dumps(ENVELOPE),
    json.dumps(ENVELOPE) + json.dumps(ENVELOPE),
    json.dumps(ENVELOPE).replace('"request_id"', '"id"'),
    '{"id": "a", "id": "b", "task_status": "PROCESSING"}',
    json.dumps(ENVELOPE).replace('"task_status"', '"n": NaN, "task_status"'),
    "{'id': 'single quotes'}",
    "[" * 100_000,
    '{"id": ' + "9" * 5000 + "}",
    {**ENVELOPE, "id": None},
    {**ENVELOPE, "id": ""},
    {**ENVELOPE, "id": " "},
    {**ENVELOPE, "id": 20260228},
    {**ENVELOPE, "id": True},
    {**ENVELOPE, "id": [ID]},
    {**ENVELOPE, "id": {"id": ID}},
    {**ENVELOPE, "id": "x" * 4096},
    {**ENVELOPE, "id": f"{ID}\n"},
    {**ENVELOPE, "id": "ид-42"},
    {**ENVELOPE, "id": "\u0000"},
    {**ENVELOPE, "id": "\ud800"},
    {**ENVELOPE, "id": ".."},
    {"request_id": "r", "model": "m", "task_status": "PROCESSING"},
    {"data": {"id": ID}},
    {**ENVELOPE, "error": {"code": "1302", "message": "both an id and an error"}},
    {**ENVELOPE, "code": 500, "msg": "both an id and an error"},
    {"code": 200, "msg": "ok"},
    {"error": {}},
    {"choices": [{"message": {"content": "hi"}}]},
]


@pytest.mark.parametrize("kind", ["video", "image", "transcription"])
@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_not_plainly_an_answer_is_uncertain(kind: str, body: object) -> None:
    """A12: never a success, never a refusal; the whole evidence comes along."""
    with pytest.raises(Uncertain) as caught:
        interpret(body, kind=kind)
    assert caught.value.evidence is not None
    assert caught.value.message


def test_a_repeated_request_id_is_evidence_of_an_earlier_try() -> None:
    """A15."""
    with pytest.raises(Uncertain) as caught:
        interpret({"error": {"code": "1231", "message": "already have a request"}}, http_status=400)
    assert caught.value.code == "1231"


# -- immediate answers ---------------------------------------------------------------------------------------------

IMAGE = "https://cdn.example.test/x_watermark.png?Signature=s&Expires=1795440000"


@pytest.mark.parametrize(
    "data", [[{"url": IMAGE}], {"url": IMAGE}, [{"url": IMAGE}, {"url": IMAGE}], [{"b64_json": None, "url": IMAGE}]]
)
def test_an_immediate_picture(data: object) -> None:
    """2.3: one link; real answers also carry an id, which is no task's."""
    answer = {"created": 1760335349, "id": ID, "request_id": ID, "data": data, "content_filter": [{"level": 3}]}
    draft = OutputDraft(0, Role.IMAGE, IMAGE, expires_at=datetime.fromtimestamp(1795440000, UTC))
    assert interpret(answer, kind="image") == AnswerComplete((draft,))


@pytest.mark.parametrize(
    "data",
    [None, [], {}, [{}], [{"url": None}], [{"url": ""}], [{"url": "data:image/png;base64,AA"}], [{"b64_json": "AA"}]],
)
def test_an_immediate_answer_without_a_usable_picture_is_uncertain(data: object) -> None:
    """It was probably charged; a person looks at the raw answer."""
    with pytest.raises(Uncertain):
        interpret({"created": 1, "id": ID, "data": data}, kind="image")


def test_a_transcript_and_its_whole_answer() -> None:
    """5.1: two texts come out, the second one exactly as it was answered."""
    raw = json.dumps({"id": ID, "created": 1, "model": "glm-asr-2512", "text": "good morning", "segments": []})
    assert interpret(raw, kind="transcription") == AnswerComplete(
        (OutputDraft(0, Role.TRANSCRIPT, text="good morning"), OutputDraft(1, Role.TRANSCRIPT_JSON, text=raw))
    )


def test_silence_is_an_empty_transcript() -> None:
    """An empty text is an answer."""
    answer = interpret({"text": ""}, kind="transcription")
    assert isinstance(answer, AnswerComplete)
    assert answer.outputs[0].text == ""


def test_a_transcript_can_always_be_stored() -> None:
    """Lone surrogates and NUL fit neither UTF-8 nor a database."""
    answer = interpret('{"text": "a\\u0000b\\ud800c"}', kind="transcription")
    assert isinstance(answer, AnswerComplete)
    assert answer.outputs[0].text == "a\ufffdb?c"


@pytest.mark.parametrize("text", [None, 5, [], {}, True])
def test_a_transcript_that_is_no_text_is_uncertain(text: object) -> None:
    """And an id does not make it a task."""
    with pytest.raises(Uncertain):
        interpret({"id": ID, "text": text}, kind="transcription")


def test_an_assumed_link_life_counts_from_the_answer() -> None:
    """A link that does not say lives as long as the kind assumes."""
    answer = interpret({"data": [{"url": "https://cdn.example.test/x.png"}]}, kind="image")
    assert isinstance(answer, AnswerComplete)
    assert (answer.outputs[0].expires_at, answer.outputs[0].is_expiry_assumed) == (NOW + timedelta(days=1), True)


TEXT = st.text(st.sampled_from(list('aZ0 -:/.{"\\\n\0\ud800\u6f22\U0001f3ac')), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "error", "code", "message", "task_status", "data", "text", "url", "image_result"])


@given(
    st.dictionaries(FIELDS, JSON),
    st.sampled_from([200, 400, 429, 500]),
    st.sampled_from(["video", "image", "transcription"]),
)
def test_no_answer_crashes_the_reader(body: dict[str, object], http_status: int, kind: str) -> None:
    """Whatever comes is an answer or a StepError."""
    with suppress(StepError):
        assert interpret(body, kind=kind, http_status=http_status) is not None

"""Speech to text: zai-api.md 5.1 as tables (fault H17)."""

from __future__ import annotations

import pytest

from orchestrator.domain.kind import InputFacts, InputSlot, Medium
from orchestrator.zai.kinds.transcription import KIND

BODY: dict[str, object] = {"model": "glm-asr-2512", "file": "audio/talk.wav"}
MIB = 1024 * 1024


def found(body: dict[str, object]) -> list[tuple[str, str | None]]:
    """(code, param) of each fault that refuses."""
    return [(fault.code, fault.param) for fault in KIND.check(body) if not fault.is_warning]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prompt": "so far"},
        {"hotwords": []},
        {"hotwords": ["kite"] * 100},
        {"user_id": "user-000001"},
        {"stream": False},
        {"stream": None, "file_base64": None},
        {"model": "glm-asr"},
    ],
)
def test_good_bodies_pass_without_a_word(more: dict[str, object]) -> None:
    """5.1."""
    assert KIND.check({**BODY, **more}) == []
    assert KIND.check({"model": "glm-asr-2512", "file_base64": "UklGRg=="}) == []


@pytest.mark.parametrize(
    ("more", "faults"),
    [
        ({"file": None}, [("missing_file", "file")]),
        ({"file": " "}, [("missing_file", "file")]),
        ({"file": 5}, [("invalid_type", "file")]),
        ({"file": ["a.wav"]}, [("invalid_type", "file")]),
        ({"file": None, "file_base64": True}, [("invalid_type", "file_base64")]),
        ({"file_base64": "UklGRg=="}, [("conflicting_parameters", "file_base64")]),
        ({"stream": True}, [("unsupported_parameter", "stream")]),
        ({"stream": "true"}, [("invalid_type", "stream")]),
        ({"hotwords": ["kite"] * 101}, [("invalid_hotwords", "hotwords")]),
        ({"hotwords": "kite"}, [("invalid_type", "hotwords")]),
        ({"hotwords": ["kite", 5]}, [("invalid_type", "hotwords.1")]),
        ({"hotwords": ["kite", " "]}, [("invalid_type", "hotwords.1")]),
        ({"prompt": 5}, [("invalid_type", "prompt")]),
    ],
)
def test_bad_bodies(more: dict[str, object], faults: list[tuple[str, str]]) -> None:
    """Types, lists, the file, and streaming, which brings nothing here."""
    assert found({**BODY, **more}) == faults


def test_a_long_prompt_is_warned_about() -> None:
    """Fewer than 8000 characters are recommended, not demanded."""
    assert KIND.check({**BODY, "prompt": "x" * 7999}) == []
    [fault] = KIND.check({**BODY, "prompt": "x" * 8000})
    assert (fault.code, fault.is_warning) == ("prompt_long", True)


def test_the_slot_is_the_file_or_its_base64_and_never_a_link() -> None:
    """The provider takes bytes only."""
    assert KIND.input_slots(BODY) == (InputSlot(("file",), "audio/talk.wav", Medium.AUDIO, may_be_link=False),)
    assert KIND.input_slots({"file_base64": "UklGRg=="})[0].path == ("file_base64",)
    assert KIND.input_slots({}) == ()


@pytest.mark.parametrize(
    ("measured", "codes"),
    [
        (InputFacts(1000, "audio/wav", duration_seconds=30.0), []),
        (InputFacts(1000, "audio/mpeg", duration_seconds=0.1), []),
        (InputFacts(1000, "audio/wav"), []),
        (InputFacts(25 * MIB, "audio/wav"), []),
        (InputFacts(25 * MIB + 1, "audio/wav"), ["input_too_large"]),
        (InputFacts(1000, "audio/wav", duration_seconds=30.01), ["input_too_long"]),
        (InputFacts(1000, "audio/mp4"), ["unsupported_format"]),
        (InputFacts(1000, "video/mp4"), ["unsupported_format"]),
        (InputFacts(1000, None), ["unsupported_format"]),
        (InputFacts(0, None), ["invalid_input"]),
        (
            InputFacts(26 * MIB, "audio/flac", duration_seconds=60),
            ["unsupported_format", "input_too_large", "input_too_long"],
        ),
    ],
)
def test_what_a_recording_must_be(measured: InputFacts, codes: list[str]) -> None:
    """5.1, H17: wav or mp3, 25 MB, 30 s; refused before any charge, with what to do."""
    slot = KIND.input_slots(BODY)[0]
    faults = KIND.check_input(BODY, slot, measured)
    assert [fault.code for fault in faults] == codes
    assert all(fault.param == "file" for fault in faults)


def test_a_recording_is_priced_as_the_longest_that_is_taken() -> None:
    """10.2: about 0.0024 USD a minute; 30 s make 0.0012 USD. The older model has no known price."""
    price = KIND.price(BODY)
    assert price is not None
    assert price.micros == 1200
    assert KIND.price({"model": "glm-asr"}) is None

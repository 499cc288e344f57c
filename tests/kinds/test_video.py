"""Videos: the model x parameter matrix of zai-api.md 3.1 and 3.2 as tables (faults A14, H12, H13)."""

from __future__ import annotations

import pytest

from orchestrator.domain.kind import InputFacts, InputSlot, Medium
from orchestrator.zai.kinds.video import KIND

LINK = "https://pictures.example.test/x.png"
PROMPT = "a red kite over a white beach"
COG = ["cogvideox-3", "cogvideox-2", "cogvideox-flash"]
SINGLE = ["viduq1-image", "vidu2-image"]
FRAMES = ["viduq1-start-end", "vidu2-start-end"]
REFERENCE = ["vidu2-reference"]
TEXT_ONLY = ["viduq1-text"]
VIDU = TEXT_ONLY + SINGLE + FRAMES + REFERENCE
Q1 = ["viduq1-text", "viduq1-image", "viduq1-start-end"]
V2 = ["vidu2-image", "vidu2-start-end", "vidu2-reference"]
ALL = COG + VIDU
MIB = 1024 * 1024


def least(model: str) -> dict[str, object]:
    """The smallest good body of a model."""
    if model in SINGLE:
        return {"model": model, "image_url": LINK}
    if model in FRAMES:
        return {"model": model, "image_url": [LINK, LINK]}
    if model in REFERENCE:
        return {"model": model, "image_url": [LINK]}
    return {"model": model, "prompt": PROMPT}


def found(body: dict[str, object]) -> list[tuple[str, str | None]]:
    """(code, param) of each fault that refuses."""
    return [(fault.code, fault.param) for fault in KIND.check(body) if not fault.is_warning]


def warned(body: dict[str, object]) -> list[tuple[str, str | None]]:
    """(code, param) of each warning."""
    return [(fault.code, fault.param) for fault in KIND.check(body) if fault.is_warning]


def test_the_table_has_every_model() -> None:
    """3.1."""
    assert sorted(KIND.models) == sorted(ALL)


@pytest.mark.parametrize("model", ALL)
def test_the_least_body_passes_without_a_word(model: str) -> None:
    """And so does a prompt beside the pictures."""
    assert KIND.check(least(model)) == []
    assert KIND.check({**least(model), "prompt": "x" * 512}) == []


ACCEPTED: list[tuple[list[str], str, list[object]]] = [
    (COG, "quality", ["speed", "quality"]),
    (COG, "fps", [30, 60]),
    (COG + SINGLE + FRAMES + REFERENCE, "with_audio", [True, False]),
    (["cogvideox-3"], "duration", [5, 10]),
    (Q1, "duration", [5]),
    (V2, "duration", [4]),
    (
        ["cogvideox-3"],
        "size",
        ["1280x720", "720x1280", "1024x1024", "1920x1080", "1080x1920", "2048x1080", "3840x2160"],
    ),
    (["cogvideox-2", "cogvideox-flash"], "size", ["720x480", "1024x1024", "1280x960", "960x1280", "1920x1080"]),
    (["cogvideox-2", "cogvideox-flash"], "size", ["1080x1920", "2048x1080", "3840x2160"]),
    (Q1, "size", ["1920x1080"]),
    (V2, "size", ["1280x720"]),
    (["viduq1-text", "vidu2-reference"], "aspect_ratio", ["16:9", "9:16", "1:1"]),
    (["viduq1-text"], "style", ["general", "anime"]),
    (VIDU, "movement_amplitude", ["auto", "small", "medium", "large"]),
    (ALL, "watermark_enabled", [True, False]),
    (ALL, "user_id", ["user-000001"]),
    (ALL, "sensitive_word_check", [{"type": "ALL", "status": "ENABLE"}, {}]),
]
TAKEN_BY = {
    name: {model for models, field, _ in ACCEPTED if field == name for model in models} for _, name, _ in ACCEPTED
}


@pytest.mark.parametrize(("models", "field", "values"), ACCEPTED)
def test_what_a_model_takes(models: list[str], field: str, values: list[object]) -> None:
    """3.2, row by row."""
    for model in models:
        for value in values:
            assert found({**least(model), field: value}) == []


@pytest.mark.parametrize("field", [name for name in TAKEN_BY if TAKEN_BY[name] != set(ALL)])
def test_what_a_model_does_not_take(field: str) -> None:
    """A field of another model's is refused; duration is only undocumented for two of them."""
    value = next(values[0] for _, name, values in ACCEPTED if name == field)
    for model in set(ALL) - TAKEN_BY[field]:
        body = {**least(model), field: value}
        if field == "duration":
            assert (found(body), warned(body)) == ([], [("undocumented_parameter", "duration")])
        else:
            assert found(body) == [("unsupported_parameter", field)]
            assert model in KIND.check(body)[0].message


def test_pictures_for_a_text_model_are_refused() -> None:
    """viduq1-text: no image_url."""
    assert found({**least("viduq1-text"), "image_url": LINK}) == [("unsupported_parameter", "image_url")]


@pytest.mark.parametrize(
    ("models", "field", "value", "code", "hint"),
    [
        (["cogvideox-3"], "duration", 6, "invalid_duration", "5"),
        (["cogvideox-3"], "duration", 60, "invalid_duration", "10"),
        (["cogvideox-3"], "duration", -(10**400), "invalid_duration", "5"),
        (["cogvideox-3"], "duration", 5.0, "invalid_type", "5"),
        (["cogvideox-3"], "duration", "5", "invalid_type", None),
        (["cogvideox-3"], "duration", True, "invalid_type", None),
        (["cogvideox-flash"], "duration", 7, "invalid_duration", "5"),
        (Q1, "duration", 4, "invalid_duration", "5"),
        (V2, "duration", 5, "invalid_duration", "4"),
        (COG, "fps", 24, "invalid_fps", "30"),
        (COG, "fps", True, "invalid_type", None),
        (COG, "quality", "fast", "invalid_quality", "speed"),
        (COG, "quality", "Quality", "invalid_quality", "quality"),
        (COG, "with_audio", 1, "invalid_type", None),
        (COG, "with_audio", "true", "invalid_type", None),
        (["cogvideox-3"], "size", "1280X720", "invalid_size", "1280x720"),
        (["cogvideox-3"], "size", "1080x1900", "invalid_size", "1080x1920"),
        (["cogvideox-3"], "size", "4k", "invalid_size", "1280x720"),
        (["cogvideox-3"], "size", "720x480", "invalid_size", "1280x720"),
        (["cogvideox-2"], "size", "1280x720", "invalid_size", "1920x1080"),
        (["cogvideox-3"], "size", 1080, "invalid_type", None),
        (Q1, "size", "1280x720", "invalid_size", "1920x1080"),
        (V2, "size", "1920x1080", "invalid_size", "1280x720"),
        (["vidu2-image"], "size", "480x360", "invalid_size", "1280x720"),
        (["vidu2-reference"], "aspect_ratio", "4:3", "invalid_aspect_ratio", None),
        (["viduq1-text"], "style", "animee", "invalid_style", "anime"),
        (VIDU, "movement_amplitude", "huge", "invalid_movement_amplitude", None),
        (ALL, "prompt", "x" * 513, "prompt_too_long", "shorten it by 1"),
        (ALL, "prompt", "\U0001f3ac" * 513, "prompt_too_long", "shorten it by 1"),
        (ALL, "prompt", "x" * 1_000_000, "prompt_too_long", None),
        (ALL, "prompt", ["x"], "invalid_type", None),
    ],
)
def test_wrong_values_name_the_nearest_right_one(
    models: list[str], field: str, value: object, code: str, hint: str | None
) -> None:
    """The message states the value and what is allowed."""
    for model in models:
        faults = [fault for fault in KIND.check({**least(model), field: value}) if not fault.is_warning]
        assert [(fault.code, fault.param) for fault in faults] == [(code, field)]
        assert field in faults[0].message
        assert hint in (None, faults[0].hint)


@pytest.mark.parametrize(("model", "size"), [("vidu2-start-end", "480x360"), ("vidu2-reference", "720x480")])
def test_sizes_that_only_some_pages_name_are_warned_about(model: str, size: str) -> None:
    """3.1: the pages disagree."""
    body = {**least(model), "size": size}
    assert (found(body), warned(body)) == ([], [("undocumented_value", "size")])


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_prompt_or_picture(blank: object) -> None:
    """3.2: the text model needs a prompt, picture models need pictures, the others one of both."""
    for model in COG:
        assert found({"model": model, "prompt": blank}) == [("missing_prompt", "prompt")]
        assert found({"model": model, "prompt": blank, "image_url": LINK}) == []
    assert found({"model": "viduq1-text", "prompt": blank}) == [("missing_prompt", "prompt")]
    for model in SINGLE + FRAMES + REFERENCE:
        assert found({"model": model, "prompt": PROMPT}) == [("missing_image_url", "image_url")]
        assert found({**least(model), "prompt": blank}) == []


@pytest.mark.parametrize(
    ("models", "value", "is_good"),
    [
        (["cogvideox-3"], LINK, True),
        (["cogvideox-3"], [LINK], True),
        (["cogvideox-3"], [LINK, LINK], True),
        (["cogvideox-3"], [LINK] * 3, False),
        (["cogvideox-2", "cogvideox-flash", *SINGLE], LINK, True),
        (["cogvideox-2", "cogvideox-flash", *SINGLE], [LINK], False),
        (FRAMES, [LINK, LINK], True),
        (FRAMES, [LINK], False),
        (FRAMES, [LINK] * 3, False),
        (FRAMES, LINK, False),
        (REFERENCE, [LINK], True),
        (REFERENCE, [LINK] * 3, True),
        (REFERENCE, [LINK] * 4, False),
        (REFERENCE, LINK, False),
        (["cogvideox-3", *FRAMES, *REFERENCE], [LINK, ""], False),
        (["cogvideox-3", *FRAMES, *REFERENCE], [LINK, None], False),
        (["cogvideox-3", *FRAMES, *REFERENCE], [LINK, {"url": LINK}], False),
        ([*COG, *SINGLE, *FRAMES, *REFERENCE], 5, False),
        ([*COG, *SINGLE, *FRAMES, *REFERENCE], {"url": LINK}, False),
        ([*COG, *SINGLE, *FRAMES, *REFERENCE], [[LINK]], False),
        ([*COG, *SINGLE, *FRAMES, *REFERENCE], True, False),
    ],
)
def test_how_pictures_are_given(models: list[str], value: object, is_good: bool) -> None:
    """3.2: a string, a list, and how many."""
    for model in models:
        faults = found({**least(model), "prompt": PROMPT, "image_url": value})
        assert (faults == []) is is_good
        assert all(str(param).startswith("image_url") for _, param in faults)


def test_two_frames_go_with_speed_only() -> None:
    """3.2, Z.ai."""
    body: dict[str, object] = {"model": "cogvideox-3", "image_url": [LINK, LINK], "quality": "quality"}
    assert found(body) == [("invalid_quality", "quality")]
    assert found({**body, "quality": "speed"}) == []
    assert found({**body, "image_url": [LINK]}) == []


def test_music_for_five_seconds_is_doubtful() -> None:
    """3.2, BigModel: only for clips of 4 s."""
    for model in ("viduq1-image", "viduq1-start-end"):
        assert warned({**least(model), "with_audio": True}) == [("undocumented_value", "with_audio")]
        assert warned({**least(model), "with_audio": False}) == []
    assert warned({**least("vidu2-image"), "with_audio": True}) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("viduq2-image", "vidu2-image"),
        ("CogVideoX-3", "cogvideox-3"),
        ("cogvideox3", "cogvideox-3"),
        ("sora", "cogvideox-3"),
    ],
)
def test_the_nearest_model(name: str, nearest: str) -> None:
    """3.1: one page writes viduq2-image where vidu2-image is meant."""
    fault = KIND.check({"model": name, "prompt": PROMPT})[0]
    assert (fault.code, fault.hint) == ("unknown_model", nearest)


def test_an_allowed_unknown_model_gets_the_general_checks_only() -> None:
    """Nothing is known of its limits."""
    body: dict[str, object] = {
        "model": "cogvideox-4",
        "prompt": PROMPT,
        "duration": 20,
        "fps": 120,
        "size": "7680x4320",
    }
    assert KIND.check(body, allow_unknown_model=True) == []
    assert [fault.code for fault in KIND.check({**body, "prompt": "x" * 513}, allow_unknown_model=True)] == [
        "prompt_too_long"
    ]


@pytest.mark.parametrize(
    ("model", "micros"),
    [
        ("cogvideox-3", 200_000),
        ("cogvideox-flash", 0),
        ("viduq1-text", 400_000),
        ("viduq1-image", 400_000),
        ("viduq1-start-end", 400_000),
        ("vidu2-image", 200_000),
        ("vidu2-start-end", 200_000),
        ("vidu2-reference", 400_000),
    ],
)
def test_prices(model: str, micros: int) -> None:
    """10.2; cogvideox-2 is in no table."""
    price = KIND.price(least(model))
    assert price is not None
    assert price.micros == micros
    assert KIND.price(least("cogvideox-2")) is None


# -- bytes of pictures ---------------------------------------------------------------------------------------------


def test_the_slots_of_a_body() -> None:
    """A string, or each item of a list."""
    assert KIND.input_slots({"image_url": LINK}) == [InputSlot(("image_url",), LINK, Medium.IMAGE, may_be_link=True)]
    assert [slot.path for slot in KIND.input_slots({"image_url": ["a", "b"]})] == [("image_url", 0), ("image_url", 1)]
    assert list(KIND.input_slots({"prompt": "x"})) == []


def facts(**change: object) -> InputFacts:
    """A good picture, changed."""
    return InputFacts(**{"byte_count": 1000, "content_type": "image/png", "width": 640, "height": 480, **change})  # type: ignore[arg-type]


PICTURE_MODELS = COG + SINGLE + FRAMES + REFERENCE
BIG = SINGLE + FRAMES + REFERENCE


@pytest.mark.parametrize(
    ("models", "measured", "codes"),
    [
        (PICTURE_MODELS, facts(), []),
        (PICTURE_MODELS, facts(content_type="image/jpeg"), []),
        (COG, facts(content_type="image/webp"), ["unsupported_format"]),
        (BIG, facts(content_type="image/webp"), []),
        (PICTURE_MODELS, facts(content_type="image/gif"), ["unsupported_format"]),
        (PICTURE_MODELS, facts(content_type="image/svg+xml"), ["unsupported_format"]),
        (PICTURE_MODELS, facts(content_type=None, width=None, height=None), ["unsupported_format"]),
        (COG, facts(byte_count=5 * MIB), []),
        (COG, facts(byte_count=5 * MIB + 1), ["input_too_large"]),
        (BIG, facts(byte_count=50 * MIB), []),
        (BIG, facts(byte_count=50 * MIB + 1), ["input_too_large"]),
        (PICTURE_MODELS, facts(byte_count=0), ["invalid_input"]),
        (COG, facts(width=4000, height=100), []),
        (BIG, facts(width=800, height=200), []),
        (BIG, facts(width=200, height=800), []),
        (BIG, facts(width=801, height=200), ["invalid_aspect_ratio"]),
        (BIG, facts(width=200, height=801), ["invalid_aspect_ratio"]),
        (REFERENCE, facts(width=128, height=128), []),
        (REFERENCE, facts(width=127, height=128), ["input_too_small"]),
        (SINGLE, facts(width=64, height=64), []),
        (BIG, facts(width=0, height=10), ["invalid_input"]),
    ],
)
def test_what_a_picture_must_be(models: list[str], measured: InputFacts, codes: list[str]) -> None:
    """3.2: formats, sizes, aspect, least sides."""
    slot = InputSlot(("image_url", 1), "x.png", Medium.IMAGE, may_be_link=True)
    for model in models:
        faults = KIND.check_input(least(model), slot, measured)
        assert [fault.code for fault in faults] == codes
        assert all(fault.param == "image_url.1" for fault in faults)


@pytest.mark.parametrize(
    ("first", "second", "is_good"),
    [
        ((1000, 1000), (1000, 1000), True),
        ((1000, 800), (1000, 1000), True),
        ((1000, 799), (1000, 1000), False),
        ((1000, 1250), (1000, 1000), True),
        ((1000, 1251), (1000, 1000), False),
        ((1000, 1251), (None, None), True),
    ],
)
def test_two_frames_have_nearly_one_area(
    first: tuple[int, int], second: tuple[int | None, int | None], is_good: bool
) -> None:
    """3.2: within 0.8 and 1.25, for the start-end models."""
    pair = [
        (InputSlot(("image_url", index), "x", Medium.IMAGE, may_be_link=True), facts(width=width, height=height))
        for index, (width, height) in enumerate([first, second])
    ]
    for model in FRAMES:
        assert (KIND.check_inputs_together(least(model), pair) == []) is is_good
    assert KIND.check_inputs_together(least("vidu2-reference"), pair) == []

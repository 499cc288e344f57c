"""Pictures: the whole of zai-api.md 2.1, 2.2 and 2.4 as a table."""

from __future__ import annotations

import pytest

from orchestrator.zai.kinds.image import KIND

PROMPT = "a red kite"
OTHERS = ["cogview-4-250304", "cogview-4", "cogview-3-flash", "cogview-3-plus", "cogview-3"]
GLM = ["glm-image"]


def found(body: dict[str, object], *, allow_unknown_model: bool = False) -> list[tuple[str, str | None, str | None]]:
    """(code, param, hint) of each fault that refuses."""
    faults = KIND.check(body, allow_unknown_model=allow_unknown_model)
    return [(fault.code, fault.param, fault.hint) for fault in faults if not fault.is_warning]


@pytest.mark.parametrize(
    ("models", "size"),
    [
        (GLM, "1280x1280"),
        (GLM, "1568x1056"),
        (GLM, "1056x1568"),
        (GLM, "1472x1088"),
        (GLM, "1088x1472"),
        (GLM, "1728x960"),
        (GLM, "960x1728"),
        (GLM, "1024x1024"),
        (GLM, "2048x2048"),
        (GLM, "1024x2048"),
        (OTHERS, "1024x1024"),
        (OTHERS, "768x1344"),
        (OTHERS, "864x1152"),
        (OTHERS, "1344x768"),
        (OTHERS, "1152x864"),
        (OTHERS, "1440x720"),
        (OTHERS, "720x1440"),
        (OTHERS, "512x512"),
        (OTHERS, "2048x1024"),
        (OTHERS, "1024x2048"),
        (OTHERS, "528x2048"),
        (OTHERS, "1456x1440"),
    ],
)
def test_good_sizes(models: list[str], size: str) -> None:
    """2.2: recommended ones, and custom ones at every limit."""
    for model in models:
        assert found({"model": model, "prompt": PROMPT, "size": size}) == []


@pytest.mark.parametrize(
    ("models", "size", "hint"),
    [
        (GLM, "1000x1024", "1024x1024"),
        (GLM, "1040x1024", "1056x1024"),
        (GLM, "2080x1024", "2048x1024"),
        (GLM, "512x512", "1024x1024"),
        (GLM, "960x1024", "1024x1024"),
        (GLM, "4096x4096", "2048x2048"),
        (OTHERS, "496x512", "512x512"),
        (OTHERS, "520x512", "528x512"),
        (OTHERS, "2064x512", "2048x512"),
        (OTHERS, "2048x1040", "2016x1040"),
        (OTHERS, "1920x1920", "1440x1456"),
        (GLM + OTHERS, "1024", None),
        (GLM + OTHERS, "1024X1024", "1024x1024"),
        (GLM + OTHERS, "1024\u00d71024", "1024x1024"),
        (GLM + OTHERS, "1024*1024", "1024x1024"),
        (GLM + OTHERS, " 1024x1024", "1024x1024"),
        (GLM + OTHERS, "01024x1024", "1024x1024"),
        (GLM + OTHERS, "\u0661\u0660\u0662\u0664x1024", None),
        (GLM + OTHERS, "-1024x1024", None),
        (GLM + OTHERS, "0x0", None),
        (GLM + OTHERS, "1e3x1024", None),
        (GLM + OTHERS, "", None),
        (GLM + OTHERS, "x" * 100_000, None),
    ],
)
def test_bad_sizes_name_the_nearest_good_one(models: list[str], size: str, hint: str | None) -> None:
    """2.2: sides, multiples, pixels, and spellings; the hint itself passes."""
    for model in models:
        body: dict[str, object] = {"model": model, "prompt": PROMPT, "size": size}
        [(code, param, got)] = found(body)
        assert (code, param) == ("invalid_size", "size")
        assert hint in (None, got)
        assert found({**body, "size": got}) == []


@pytest.mark.parametrize("size", [1024, 1024.0, True, ["1024x1024"], {"w": 1}])
def test_a_size_is_a_string(size: object) -> None:
    """H13."""
    assert [fault[:2] for fault in found({"model": "cogview-4", "prompt": PROMPT, "size": size})] == [
        ("invalid_type", "size")
    ]


@pytest.mark.parametrize(
    ("model", "quality", "hint"),
    [
        ("glm-image", "standard", "hd"),
        ("cogview-4", "HD", "hd"),
        ("cogview-4", "high", "hd"),
        ("cogview-4", "", "standard"),
    ],
)
def test_quality_is_one_of_the_models_words(model: str, quality: str, hint: str) -> None:
    """2.1: glm-image is hd only."""
    [(code, param, got)] = found({"model": model, "prompt": PROMPT, "quality": quality})
    assert (code, param) == ("invalid_quality", "quality")
    assert got in ("hd", "standard")
    assert found({"model": model, "prompt": PROMPT, "quality": hint}) == []


@pytest.mark.parametrize("prompt", [None, "", "  \n"])
def test_a_prompt_is_needed(prompt: object) -> None:
    """2.1; a blank one says nothing."""
    assert found({"model": "cogview-4", "prompt": prompt}) == [("missing_prompt", "prompt", None)]


@pytest.mark.parametrize(
    ("model", "length", "is_good"),
    [("glm-image", 1000, True), ("glm-image", 1001, False), ("cogview-4", 1001, True), ("cogview-4", 100_000, True)],
)
def test_prompts_are_counted_in_characters(model: str, length: int, is_good: bool) -> None:
    """2.1, H12: glm-image takes 1000; a clapper board or a CJK sign is one."""
    for mark in ("a", "漢", "🎬"):
        codes = [fault[0] for fault in found({"model": model, "prompt": mark * length})]
        assert codes == ([] if is_good else ["prompt_too_long"])


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("prompt", 5, "invalid_type"),
        ("watermark_enabled", "false", "invalid_type"),
        ("watermark_enabled", 0, "invalid_type"),
        ("sensitive_word_check", True, "invalid_type"),
        ("sensitive_word_check", {"type": "SOME"}, "invalid_sensitive_word_check"),
        ("sensitive_word_check", {"type": "ALL", "status": "off"}, "invalid_sensitive_word_check"),
        ("user_id", 123456, "invalid_type"),
    ],
)
def test_types_and_words(field: str, value: object, code: str) -> None:
    """H13: a number is no flag, a flag is no object."""
    assert [fault[0] for fault in found({"model": "cogview-4", "prompt": PROMPT, field: value})] == [code]


def test_a_full_body_passes_without_a_word() -> None:
    """Every documented field at once."""
    body: dict[str, object] = {
        "model": "cogview-4-250304",
        "prompt": PROMPT,
        "quality": "standard",
        "size": "1024x1024",
        "watermark_enabled": False,
        "user_id": "user-000001",
        "sensitive_word_check": {"type": "ALL", "status": "DISABLE"},
    }
    assert KIND.check(body) == []


@pytest.mark.parametrize("field", ["n", "response_format", "style", "user"])
def test_fields_of_the_sdk_only_are_passed_on_with_a_warning(field: str) -> None:
    """2.1."""
    [fault] = KIND.check({"model": "glm-image", "prompt": PROMPT, field: "x"})
    assert (fault.code, fault.param, fault.is_warning) == ("undocumented_parameter", field, True)


def test_a_misspelt_field_names_the_one_that_was_meant() -> None:
    """A warning, since the provider ignores what it does not know."""
    [fault] = KIND.check({"model": "glm-image", "prompt": PROMPT, "qualty": "hd"})
    assert (fault.code, fault.hint, fault.is_warning) == ("unknown_parameter", "did you mean quality?", True)


def test_an_allowed_unknown_model_gets_the_general_checks_only() -> None:
    """Its limits are not known; a size still reads as one, and a price is not known."""
    body: dict[str, object] = {"model": "glm-image-2", "prompt": "x" * 5000, "size": "4096x4096", "quality": "ultra"}
    assert found(body, allow_unknown_model=True) == []
    assert KIND.price(body) is None
    assert found({**body, "size": "huge"}, allow_unknown_model=True)[0][0] == "invalid_size"
    assert found(body)[0] == ("unknown_model", "model", "glm-image")


@pytest.mark.parametrize(
    ("model", "micros"),
    [("glm-image", 15_000), ("cogview-4", 10_000), ("cogview-4-250304", 10_000), ("cogview-3-flash", 0)],
)
def test_prices(model: str, micros: int) -> None:
    """10.2."""
    price = KIND.price({"model": model})
    assert price is not None
    assert price.micros == micros


@pytest.mark.parametrize(
    ("model", "path"), [("glm-image", "/async/images/generations"), *((name, "/images/generations") for name in OTHERS)]
)
def test_routes(model: str, path: str) -> None:
    """2.4: only glm-image has the asynchronous one."""
    assert KIND.route({"model": model}).path == path

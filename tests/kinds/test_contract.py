"""What every kind promises, checked for each one that the package scan finds (design section 4)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json
from orchestrator.domain.kind import InputFacts
from orchestrator.zai.kinds import load_kinds
from orchestrator.zai.route import ZaiKind

KINDS = load_kinds()
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def errors_of(faults: list[Fault]) -> list[Fault]:
    """The faults that refuse."""
    return [fault for fault in faults if not fault.is_warning]


def test_the_scan_finds_the_kinds() -> None:
    """One file each; their routes and names are their own."""
    assert {"image", "transcription", "video"} <= set(KINDS)
    aliases = [alias for kind in KINDS.values() for alias in kind.url_aliases]
    assert len(aliases) == len(set(aliases))


@each_kind
def test_a_kind_declares_what_the_lanes_need(kind: ZaiKind) -> None:
    """Names, models with slots and dated prices, a schedule, deadlines, lives."""
    assert re.fullmatch("[a-z_]+", kind.name)
    assert all(re.fullmatch("[a-z]+(/[a-z]+)+", alias) for alias in kind.url_aliases)
    assert kind.default_model in kind.models
    for name, model in kind.models.items():
        assert model.name == name
        assert model.slots >= 1
        if model.price is not None:
            assert (model.price.currency, model.price.version) == ("USD", "2026-11")
            assert model.price.micros >= 0
    assert timedelta(0) < kind.schedule.first <= kind.schedule.longest
    assert timedelta(0) < kind.schedule.shortest < kind.schedule.longest
    assert timedelta(0) < kind.call_deadline <= timedelta(minutes=5)
    assert kind.call_deadline < kind.assumed_task_life
    assert kind.link_life == timedelta(days=1)
    assert kind.archive_class in ("video", "other")


@each_kind
def test_a_route_is_one_of_the_kinds_own_addresses(kind: ZaiKind) -> None:
    """Both spellings of a url name the kind; the kind picks the route from the model."""
    for model in [*kind.models, "unheard-of", None]:
        assert kind.route({"model": model}).path.lstrip("/") in kind.url_aliases


@each_kind
def test_null_means_absent(kind: ZaiKind) -> None:
    """3.2: the SDKs send an explicit null for every unset field."""
    fields = {name: None for other in KINDS.values() for name in ("prompt", "size", "file", "image_url", "user_id")}
    for model in kind.models:
        assert kind.check({"model": model, **fields}) == kind.check({"model": model})


@each_kind
def test_an_empty_body_names_everything_that_is_missing(kind: ZaiKind) -> None:
    """Every fault at once, the model first, with the one to take."""
    faults = kind.check({})
    assert faults[0].code == "missing_model"
    assert faults[0].hint == kind.default_model
    assert len(errors_of(faults)) == 2


@each_kind
@pytest.mark.parametrize("value", ["cogvideox-33", "GLM-IMAGE", "", 5, True, [], {}, "x" * 10_000])
def test_an_unknown_model_is_refused_with_the_nearest_name(kind: ZaiKind, value: object) -> None:
    """Unless it is allowed; never one that is not a name at all."""
    refused = [fault for fault in kind.check({"model": value}) if fault.param == "model"]
    assert [fault.code for fault in refused] in (["unknown_model"], ["invalid_type"])
    assert refused[0].hint in kind.models
    allowed = kind.check({"model": value}, allow_unknown_model=True)
    is_name = isinstance(value, str) and 0 < len(value) < 100
    assert (not any(fault.param == "model" for fault in allowed)) is is_name
    assert kind.price({"model": value}) is None


@each_kind
@pytest.mark.parametrize("value", ["mine-000001", "", 5, {}])
def test_a_request_id_of_the_users_is_refused(kind: ZaiKind, value: object) -> None:
    """1.5: we set it, so that a submission can be recognised; custom_id is theirs."""
    for model in [*kind.models, "unheard-of"]:
        faults = [f for f in kind.check({"model": model, "request_id": value}) if f.param == "request_id"]
        assert [(fault.code, fault.is_warning) for fault in faults] == [("unsupported_parameter", False)]
        assert "custom_id" in faults[0].message


@each_kind
def test_an_unknown_field_is_a_warning(kind: ZaiKind) -> None:
    """The provider ignores unknown fields (3.2): it is passed on, and told."""
    for model in [*kind.models, "unheard-of"]:
        faults = [f for f in kind.check({"model": model, "colour": "red"}) if f.param == "colour"]
        assert [(fault.code, fault.is_warning) for fault in faults] == [("unknown_parameter", True)]


@each_kind
@pytest.mark.parametrize(
    ("value", "is_good"), [("u" * 5, False), ("u" * 6, True), ("u" * 128, True), ("u" * 129, False)]
)
def test_a_user_id_has_6_to_128_characters(kind: ZaiKind, value: str, is_good: bool) -> None:
    """1.5."""
    faults = [
        fault for fault in kind.check({"model": kind.default_model, "user_id": value}) if fault.param == "user_id"
    ]
    assert (not faults) is is_good


@each_kind
def test_references_of_ours_are_refused_in_a_users_body(kind: ZaiKind) -> None:
    """`{"$input": ...}` would name a file of another owner's by its hash."""
    reference = {"$input": "0" * 64, "bytes": 1, "type": "image/png", "name": "x"}
    for field in ("image_url", "file", "prompt", "odd"):
        for value in (reference, [reference], {"deep": [reference]}):
            assert errors_of([f for f in kind.check({"model": kind.default_model, field: value}) if f.param == field])


NAMES = [
    "prompt",
    "size",
    "quality",
    "duration",
    "fps",
    "image_url",
    "file",
    "file_base64",
    "hotwords",
    "with_audio",
    "watermark_enabled",
    "stream",
    "style",
    "sensitive_word_check",
    "aspect_ratio",
    "movement_amplitude",
    "user_id",
    "request_id",
    "n",
    "off_peak",
    "odd",
    "�",
]
TEXT = st.text(st.sampled_from(list("aZ019x \n\0\ud800\u6f22\U0001f3ac$/.:\u00d7")), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(
        [10**400, -(10**40), float("nan"), float("inf"), "1280x720", "5", "\u0665", "1_0", "-5", "x" * 2000]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.just("$input"), inner, max_size=3)
)
MODELS = st.sampled_from([name for kind in KINDS.values() for name in kind.models]) | VALUES


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(KINDS.values())),
    MODELS,
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    st.booleans(),
)
def test_no_json_value_crashes_a_kind(kind: ZaiKind, model: object, fields: dict[str, object], allow: bool) -> None:
    """H13: whatever stands there, the answer is a list of faults with short messages, and the rest copes too."""
    body: Json = {**fields, "model": model}
    for fault in kind.check(body, allow_unknown_model=allow):
        assert fault.code
        assert fault.param is not None
        assert len(fault.message) < 1200
    kind.price(body)
    slots = kind.input_slots(body)
    facts = InputFacts(10, "image/png", 64, 64, 1.0)
    for slot in slots:
        assert isinstance(slot.value, str)
        kind.check_input(body, slot, facts)
    kind.check_inputs_together(body, [(slot, facts) for slot in slots])
    kind.route(body)


@each_kind
@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], {"a": {"b": float("nan")}}])
def test_what_is_not_json_is_refused_anywhere(kind: ZaiKind, value: object) -> None:
    """H6: NaN and the infinities cannot be sent."""
    for field in ("odd", "prompt", "user_id"):
        assert errors_of([f for f in kind.check({"model": kind.default_model, field: value}) if f.param == field])


@each_kind
def test_nesting_without_end_is_refused(kind: ZaiKind) -> None:
    """H6: depth 100,000."""
    value: object = 1
    for _ in range(100_000):
        value = [value]
    assert errors_of([f for f in kind.check({"model": kind.default_model, "odd": value}) if f.param == "odd"])

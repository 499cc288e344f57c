"""Every fault of a file is reported with its place, what is allowed and what to do."""

from __future__ import annotations

import json

import pytest

from orchestrator.services.intake import CheckOptions
from orchestrator.services.jobfile.tally import MAX_FAULTS
from tests.services.intake.desk import Desk, codes, image, talk, video, wav

Expected = list[tuple[int | None, int | None, str, str | None]]


def line_of(**fields: object) -> str:
    """A good line with fields replaced; None as a value takes the field away."""
    line = {**image("a"), **fields}
    return json.dumps({name: value for name, value in line.items() if value is not None})


def test_every_fault_of_a_file_is_reported_in_its_order(desk: Desk) -> None:
    """Surfaces section 3: one pass tells all, body faults and file faults of one line together."""
    lines: list[str] = [
        '{"custom_id": "one", "kind": "image", "body": {"model": "glm-image", "prompt": "x", "size": "5x5"}}',
        json.dumps(image("two")),
        '{"custom_id": "two", "kind": "video", "body": {"model": "cogvideox-3", "image_url": "../x.png", "fps": 5}}',
        "not json",
    ]
    checked = desk.check(lines)
    assert codes(checked.faults) == [
        (1, lines[0].index('"5x5"') + 1, "invalid_size", "body.size"),
        (3, lines[2].index("5}}") + 1, "invalid_fps", "body.fps"),
        (3, 15, "duplicate_custom_id", "custom_id"),
        (3, lines[2].index('"../x.png"') + 1, "path_outside", "body.image_url"),
        (4, 1, "invalid_json", None),
    ]
    assert all(fault.message for fault in checked.faults)
    assert checked.estimate.count == 1


TOP: list[tuple[dict[str, object], str, str | None]] = [
    ({"custom_id": None}, "invalid_custom_id", "custom_id"),
    ({"custom_id": ""}, "invalid_custom_id", "custom_id"),
    ({"custom_id": "x" * 129}, "invalid_custom_id", "custom_id"),
    ({"custom_id": 5}, "invalid_custom_id", "custom_id"),
    ({"custom_id": "a\nb"}, "invalid_custom_id", "custom_id"),
    ({"custom_id": "a\u2028b"}, "invalid_custom_id", "custom_id"),
    ({"method": "GET"}, "invalid_method", "method"),
    ({"method": "post"}, "invalid_method", "method"),
    ({"kind": "vidoe"}, "unknown_kind", "kind"),
    ({"kind": ["image"]}, "unknown_kind", "kind"),
    ({"kind": None}, "missing_kind", "kind"),
    ({"kind": "image", "url": "/v1/videos/generations"}, "kind_mismatch", "url"),
    ({"kind": None, "url": "/v1/chat/completions"}, "unknown_url", "url"),
    ({"kind": None, "url": "images/generations"}, "unknown_url", "url"),
    ({"kind": None, "url": "https://example.com/v1/images/generations"}, "unknown_url", "url"),
    ({"body": None}, "invalid_body", "body"),
    ({"body": "text"}, "invalid_body", "body"),
    ({"body": {"$input": "0" * 64, "bytes": 1, "type": "x", "name": "y"}}, "reserved_name", "body.$input"),
    ({"tags": ["x"]}, "invalid_tags", "tags"),
    ({"tags": {"x": 1}}, "invalid_tags", "tags.x"),
    ({"tags": {"x": None}}, "invalid_tags", "tags.x"),
    ({"tags": {"": "x"}}, "invalid_tags", "tags."),
    ({"tags": {"a\nb": "x"}}, "invalid_tags", "tags.a\\u000ab"),
    ({"tags": {"n" * 65: "x"}}, "invalid_tags", f"tags.{'n' * 65}"),
    ({"tags": {"x": "y" * 257}}, "invalid_tags", "tags.x"),
    ({"tags": {f"n{n}": "x" for n in range(33)}}, "invalid_tags", "tags"),
    ({"tags": {f"n{n}": "x" for n in range(10_000)}}, "invalid_tags", "tags"),
    ({"tags": {"x": "y" * 1_000_000}}, "invalid_tags", "tags.x"),
    ({"priority": 10}, "invalid_priority", "priority"),
    ({"priority": -1}, "invalid_priority", "priority"),
    ({"priority": True}, "invalid_priority", "priority"),
    ({"priority": "5"}, "invalid_priority", "priority"),
    ({"priority": 5.0}, "invalid_priority", "priority"),
    ({"not_before": "tomorrow"}, "invalid_time", "not_before"),
    ({"not_before": "2026-11-30"}, "invalid_time", "not_before"),
    ({"not_before": "2026-11-30T08:00:00"}, "invalid_time", "not_before"),
    ({"not_before": "2026-13-30T08:00:00Z"}, "invalid_time", "not_before"),
    ({"not_before": "0001-01-01T00:00:00+14:00"}, "invalid_time", "not_before"),
    ({"not_before": "\u0662026-11-30T08:00:00Z"}, "invalid_time", "not_before"),
    ({"not_before": 1764489600}, "invalid_time", "not_before"),
    ({"webhook": 7}, "invalid_webhook", "webhook"),
    ({"piority": 5}, "unknown_field", "piority"),
]


@pytest.mark.parametrize(("fields", "code", "param"), TOP, ids=[f"{code}-{n}" for n, (_, code, _) in enumerate(TOP)])
def test_a_bad_field_is_named(desk: Desk, fields: dict[str, object], code: str, param: str | None) -> None:
    """H7, H13, H19: wrong types, lengths, numbers, control characters, too many tags."""
    checked = desk.check([line_of(**fields)])
    assert [(fault.line, fault.code, fault.param) for fault in checked.faults if fault.code == code][:1] == [
        (1, code, param)
    ]
    assert "\n" not in checked.faults[0].message


@pytest.mark.parametrize(
    "fields",
    [
        {"custom_id": "x" * 128},
        {"custom_id": "\U0001f600 \u00e9"},
        {"priority": 0},
        {"priority": 9},
        {"method": None},
        {"not_before": "2026-11-30T08:00:00.5+02:00"},
        {"tags": {"__proto__": "x", "a.b": "", "constructor": "y"}},
        {"tags": {"n" * 64: "y" * 256}},
        {"kind": None, "url": "/v1/images/generations"},
        {"kind": None, "url": "/v4/async/images/generations"},
        {"kind": None, "url": "/api/paas/v4/images/generations/"},
        {"kind": "image", "url": "/v1/images/generations"},
        {"tags": None, "priority": None},
    ],
)
def test_good_fields_pass(desk: Desk, fields: dict[str, object]) -> None:
    """Surfaces section 3: every spelling that is promised; names like __proto__ are names."""
    assert desk.check([line_of(**fields)]).faults == ()


def test_a_misspelt_field_gets_the_nearest_name(desk: Desk) -> None:
    """A hint, not a guess: `piority` is not taken for `priority`."""
    checked = desk.check([line_of(piority=9), line_of(custom_id="b", kind="vide")])
    assert [fault.hint for fault in checked.faults] == ["did you mean priority?", "did you mean video?"]
    assert checked.faults[0].column == line_of(piority=9).index('"piority"') + 1


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"priority": 12}, "9"),
        ({"priority": -1}, "0"),
        ({"priority": True}, None),
        ({"method": "PUT"}, "POST"),
        ({"kind": None, "url": "/v1/image/generation"}, "did you mean /v1/images/generations?"),
        ({"kind": None, "url": "/v1/chat/completions"}, None),
        ({"kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "duration": "7"}}, "5"),
        ({"kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "duration": "five"}}, None),
        ({"kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "with_audio": "True"}}, "true"),
        ({"kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "with_audio": 0}}, "false"),
        ({"kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "with_audio": "trueish"}}, None),
    ],
)
def test_the_nearest_value_that_is_allowed_is_the_hint(desk: Desk, fields: dict[str, object], hint: str | None) -> None:
    """Wherever a near value can be told, it is; what resembles none is given none."""
    checked = desk.check([line_of(**fields)])
    assert [fault.hint for fault in checked.faults] == [hint]


def test_ids_that_look_alike_are_told_and_kept_apart(desk: Desk) -> None:
    """H8: exact bytes are identity; the same id twice is a fault on the second line naming the first."""
    ids = ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "caf\u00e9", "a\u200bb"]
    checked = desk.check([image(name) for name in ids])
    assert [(fault.line, fault.code) for fault in checked.warnings] == [
        (2, "similar_custom_id"),
        (3, "similar_custom_id"),
        (5, "invisible_characters"),
    ]
    assert [(fault.line, fault.message) for fault in checked.faults] == [
        (4, 'custom_id "caf\u00e9" stands on line 1 already')
    ]


def test_faults_are_capped_and_counted_exactly(desk: Desk) -> None:
    """H11: a file of nothing but faults."""
    checked = desk.check(["{}"] * (MAX_FAULTS + 500))
    assert (len(checked.faults), checked.fault_count) == (MAX_FAULTS, 3 * (MAX_FAULTS + 500))
    assert checked.faults[-1].line == MAX_FAULTS // 3 + 1


@pytest.mark.parametrize(("length", "is_good"), [(0, False), (1, True), (512, True), (513, False)])
def test_a_prompt_is_measured_before_anything_is_paid(desk: Desk, length: int, is_good: bool) -> None:
    """H12: characters, as the provider counts them, emoji too."""
    checked = desk.check([video("v", prompt="\U0001f600" * length)])
    assert (checked.fault_count == 0) is is_good


def test_an_unknown_model_is_refused_with_the_nearest_name_unless_allowed(desk: Desk) -> None:
    """H13: allowed, it has no price and the file is another one."""
    line = video("v", model="cogvideox-4")
    checked = desk.check([line])
    assert [(fault.code, fault.param, fault.hint) for fault in checked.faults] == [
        ("unknown_model", "body.model", "cogvideox-3")
    ]
    allowed = desk.check([line], options=CheckOptions("sandbox", allow_unknown_model=True))
    assert (allowed.fault_count, allowed.estimate.unpriced_count) == (0, 1)


def test_unknown_body_fields_are_warnings(desk: Desk) -> None:
    """They are passed on to the provider."""
    checked = desk.check([video("v", camera="fixed")])
    assert (checked.fault_count, checked.warning_count) == (0, 1)
    assert checked.warnings[0].param == "body.camera"


def test_the_estimate_adds_up_per_model(desk: Desk) -> None:
    """Counts and table prices of good lines, exact to the micro-unit."""
    desk.add("talk.wav", wav())
    lines = [image("a"), image("b"), talk("t"), video("v"), image("c", body={"model": "cogview-3", "prompt": "x"})]
    estimate = desk.check(lines).estimate
    assert [(t.kind, t.model, t.count, t.micros, t.unpriced_count) for t in estimate.totals] == [
        ("image", "cogview-3", 1, 0, 1),
        ("image", "glm-image", 2, 30_000, 0),
        ("transcription", "glm-asr-2512", 1, 1_200, 0),
        ("video", "cogvideox-3", 1, 200_000, 0),
    ]
    assert (estimate.count, estimate.micros, estimate.unpriced_count, estimate.currency) == (5, 231_200, 1, "USD")

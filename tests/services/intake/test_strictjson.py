"""JSON that Python reads and others do not is refused with its column; nothing crashes the reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.services.jobfile.lines import RawLine
from orchestrator.services.jobfile.request import read_line
from orchestrator.services.jobfile.strictjson import MAX_DEPTH, find_columns, read_json
from tests.services.intake.desk import KINDS, Desk, codes, image

BAD = [
    ('{"a": NaN}', [("invalid_number", 7)]),
    ('{"a": [Infinity, -Infinity]}', [("invalid_number", 8), ("invalid_number", 18)]),
    ('{"a": 1e999, "b": -1e999}', [("invalid_number", 7), ("invalid_number", 19)]),
    ('{"a": ' + "9" * 5000 + "}", [("invalid_number", 7)]),
    ('{"a": 9223372036854775808}', [("invalid_number", 7)]),
    ('{"a": -0, "b": -0.0, "c": -0e5}', [("invalid_number", 7), ("invalid_number", 16), ("invalid_number", 27)]),
    ('{"a": 1e17}', [("invalid_number", 7)]),
    ("[" * 100_000, [("too_deep", 65)]),
    ('{"a":' * 100_000, [("too_deep", 321)]),
    ('{"a": 1, "b": 2, "a": 3, "a": 4}', [("duplicate_key", 18), ("duplicate_key", 26)]),
    ('{"a": {"b": [{"c": 1, "c": 1}]}}', [("duplicate_key", 23)]),
    ('{"a": "\\ud800"}', [("invalid_text", 7)]),
    ('{"a\\udc00": 1}', [("invalid_text", 2)]),
    ('{"a": "x\\u0000y"}', [("invalid_text", 7)]),
    ('{"a": 1,}', [("invalid_json", 9)]),
    ('{"a": 1} {"b": 2}', [("invalid_json", 10)]),
    ("{'a': 1}", [("invalid_json", 2)]),
    ('{"a": "x', [("invalid_json", 7)]),
    ('{"a": "\t"}', [("invalid_json", 8)]),
    ('{"a": 01}', [("invalid_json", 8)]),
    ('{"a": 1_0}', [("invalid_json", 8)]),
    ('{"a": \uff11}', [("invalid_json", 7)]),
    ("", [("invalid_json", 1)]),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text[:24] for text, _ in BAD])
def test_what_not_everybody_can_read_is_refused_with_its_column(text: str, expected: list[tuple[str, int]]) -> None:
    """H6, H7, H13: every problem of the line that can be told, never a crash."""
    value, problems = read_json(text)
    assert value is None
    assert [(problem.code, problem.column) for problem in problems] == expected


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -5, 0, 0.5, -1.5e-7, 9223372036854775807, True, None, "\U0001f600", "\u202e\u200b"]},
        {"": {"": [[], {}, ""]}, "__proto__": {"x": 1}},
        "text",
        [],
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_good_json_is_read_as_it_is(value: object, ascii_only: bool) -> None:
    """H6, H7: surrogate pairs written as escapes are one character; bidi controls are text."""
    assert read_json(json.dumps(value, ensure_ascii=ascii_only)) == (value, [])


def test_depth_is_capped_to_the_level() -> None:
    """H6: brackets in strings do not count."""
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)[1] == []
    assert read_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[1][0].code == "too_deep"
    assert read_json(json.dumps(["[{" * 1000]))[1] == []


def test_columns_count_characters() -> None:
    """A column is what an editor shows: characters, not bytes, and escapes as they stand."""
    text = '{"\u00e9\\u00e9": 1, "b": ["\U0001f600", {"c": 2}]}'
    assert find_columns(text, {("\u00e9\u00e9",), ("b", 1, "c"), ("b",)}) == {
        ("\u00e9\u00e9",): (2, 13),
        ("b",): (16, 21),
        ("b", 1, "c"): (28, 33),
    }


@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text: str) -> None:
    """H6: any text gives a value or problems, each inside the text."""
    value, problems = read_json(text)
    assert value is None or not problems
    assert all(1 <= problem.column <= len(text) + 1 for problem in problems)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["custom_id", "method", "url", "kind", "body", "tags", "priority", "not_before", "webhook"])
NAMES = st.sampled_from(["model", "prompt", "size", "image_url", "file", "duration", "$input"])
LINES = st.dictionaries(FIELDS, JSON_VALUES | st.dictionaries(NAMES, JSON_VALUES, max_size=4), max_size=6)


@given(LINES, st.sampled_from(["image", "video", "transcription", None]))
def test_no_line_crashes_the_check(line: dict[str, object], kind: str | None) -> None:
    """H6, H13: whatever stands in a line, its faults have the line's number and a code."""
    if kind:
        line["kind"] = kind
    read = read_line(RawLine(3, json.dumps(line).encode()), KINDS, allow_unknown_model=False)
    assert read.is_refused or read.request is not None
    assert all(fault.line == 3 and fault.code and fault.message for fault in read.faults)


@given(st.binary(max_size=100))
def test_no_bytes_crash_the_check(data: bytes) -> None:
    """H5, H6: any bytes."""
    assert read_line(RawLine(1, data), KINDS, allow_unknown_model=True).is_refused


def test_lines_that_are_no_object_are_faults(desk: Desk) -> None:
    """H6: a list, a number, text, null; the good line beside them is not in the way."""
    checked = desk.check(["[1]", "5", '"x"', "null", "true", image("a")])
    assert codes(checked.faults) == [(line, 1, "not_an_object", None) for line in range(1, 6)]

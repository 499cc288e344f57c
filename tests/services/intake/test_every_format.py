"""The rules about content hold in every format alike: prompts, bytes in a body, recordings, tags, and what waits for what."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping

import pytest

from orchestrator.services.intake import CheckedFile, check_file
from tests.services.intake.desk import KINDS, SANDBOX, Desk, data_uri, png, wav

Line = dict[str, object]


def as_jsonl(lines: list[Line]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def as_yaml(lines: list[Line]) -> str:
    """JSON is YAML; each job on a line of its own."""
    return "".join(f"- {json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def as_csv(lines: list[Line]) -> str:
    """Body and tags spread over columns, lists and objects as JSON."""
    rows = [flatten(line) for line in lines]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    target = io.StringIO()
    writer = csv.DictWriter(target, columns)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def flatten(line: Line) -> dict[str, object]:
    body, tags = line["body"], line.get("tags", {})
    assert isinstance(body, Mapping)
    assert isinstance(tags, Mapping)
    whole = {name: value for name, value in line.items() if name not in ("body", "tags")} | dict(body)
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in whole.items()}
    return cells | {f"tag.{name}": value for name, value in tags.items()}


FORMS: dict[str, Callable[[list[Line]], str]] = {"jsonl": as_jsonl, "csv": as_csv, "yaml": as_yaml}


@pytest.fixture(params=sorted(FORMS))
def check(request: pytest.FixtureRequest, desk: Desk) -> Callable[..., CheckedFile]:
    """Give a function that writes lines in one of the formats and checks them."""

    def write_and_check(*lines: Line) -> CheckedFile:
        text = FORMS[request.param](list(lines))
        return check_file(desk.write(text.encode(), f"jobs.{request.param}"), KINDS, options=SANDBOX)

    return write_and_check


def film(name: str = "a", **body: object) -> Line:
    return {"custom_id": name, "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", **body}}


def found(checked: CheckedFile) -> list[tuple[str, str | None]]:
    return [(fault.code, fault.param) for fault in checked.faults]


@pytest.mark.parametrize("sign", ["x", "é", "🪁"])
def test_prompts_at_the_limit(check: Callable[..., CheckedFile], sign: str) -> None:
    """H12: 512 characters pass, 513 do not, whatever they take in bytes."""
    assert found(check(film(prompt=sign * 512))) == []
    assert found(check(film(prompt=sign * 513))) == [("prompt_too_long", "body.prompt")]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (data_uri(png()), None),
        ("data:image/png;base64,@@@@", "invalid_base64"),
        (data_uri(b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/png"), "unsupported_format"),
        (data_uri(b"GIF89a" + b"<script>" * 9), "invalid_input"),
    ],
)
def test_bytes_in_a_body(check: Callable[..., CheckedFile], value: str, code: str | None) -> None:
    """H16: decoded strictly and looked at, not believed."""
    expected = [] if code is None else [(code, "body.image_url")]
    assert found(check(film(image_url=value))) == expected


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("good.wav", wav(29.9), None),
        ("long.wav", wav(30.1), "input_too_long"),
        ("large.wav", wav(1.0) + b"\0" * (25 << 20), "input_too_large"),
        ("words.wav", b"not a sound at all" * 9, "unsupported_format"),
    ],
)
def test_recordings(check: Callable[..., CheckedFile], desk: Desk, name: str, data: bytes, code: str | None) -> None:
    """H17: length, size and what it is, before the charge."""
    desk.add(name, data)
    line: Line = {"custom_id": "a", "kind": "transcription", "body": {"model": "glm-asr-2512", "file": name}}
    assert [fault for fault, _ in found(check(line))] == ([] if code is None else [code])


@pytest.mark.parametrize("tags", [{f"n{number}": "x" for number in range(33)}, {"n": "x" * 100_000}])
def test_tags_without_end(check: Callable[..., CheckedFile], tags: Mapping[str, str]) -> None:
    """H19: few, and short."""
    checked = check({**film(), "tags": tags})
    assert checked.fault_count
    assert all(str(fault.param).startswith("tags") for fault in checked.faults), checked.faults
    assert found(check({**film(), "tags": {"__proto__": "x"}})) == []


@pytest.mark.parametrize("names", ["a", ["a"], ["a", "7"], "7", "null, not"])
def test_what_a_line_waits_for(check: Callable[..., CheckedFile], names: str | list[str]) -> None:
    """A cell of depends_on is one name as it stands, or a list of names in JSON."""
    lines = [film("a"), film("7"), film("null, not"), {**film("last"), "depends_on": names}]
    checked = check(*lines)
    assert found(checked) == []
    *_, last = checked.read_again()
    assert last.request.depends_on == ((names,) if isinstance(names, str) else tuple(names))

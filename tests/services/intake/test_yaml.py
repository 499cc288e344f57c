"""Job files in YAML mean what the same lines in JSONL mean; YAML's surprises are refused, not resolved."""

from __future__ import annotations

import pytest

from orchestrator.services.intake import CheckedFile, check_file, take_file
from orchestrator.services.jobfile.yamlfile import MAX_YAML_BYTES
from tests.services.intake.desk import KINDS, SANDBOX, Desk, codes

GOOD = "- custom_id: a\n  kind: image\n  body: {model: glm-image, prompt: a red kite, size: 1280x1280}\n"
VIDEO = "- custom_id: v\n  kind: video\n  body:\n    model: cogvideox-3\n    prompt: x\n"


def check(desk: Desk, text: str | bytes) -> CheckedFile:
    """Write and check a YAML file."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return check_file(desk.write(data, "jobs.yaml"), KINDS, options=SANDBOX)


def test_a_list_becomes_jobs(desk: Desk) -> None:
    """Surfaces section 3: the same objects; plain words are numbers and booleans only where JSON says so."""
    text = (
        "# by hand\n---\n" + GOOD + VIDEO + "    duration: 5\n    with_audio: true\n    image_url: null\n"
        "  tags: {on: no}\n  not_before: 2026-11-30T08:00:00Z\n  priority: 9\n"
    )
    checked = check(desk, text)
    assert checked.faults == ()
    first, second = checked.read_again()
    assert (first.request.line_number, first.body["prompt"]) == (3, "a red kite")
    assert second.body == {"model": "cogvideox-3", "prompt": "x", "duration": 5, "with_audio": True}
    assert (second.request.tags, second.request.priority) == ({"on": "no"}, 9)
    assert second.request.not_before is not None


LISTS: list[tuple[str, list[tuple[int | None, int | None, str, str | None]]]] = [
    ("", [(1, None, "empty_file", None)]),
    ("[]", [(1, None, "empty_file", None)]),
    ("custom_id: a\n", [(1, None, "not_a_list", None)]),
    ("- just text\n" + GOOD, [(1, 3, "not_an_object", None)]),
    (VIDEO + "    duration: 7\n", [(6, 15, "invalid_duration", "body.duration")]),
    (VIDEO + "    duration: 1_0\n", [(6, 15, "invalid_type", "body.duration")]),
    (VIDEO + "    duration: .nan\n", [(6, 15, "invalid_type", "body.duration")]),
    (VIDEO + f"    duration: {'9' * 5000}\n", [(6, 15, "invalid_number", "body.duration")]),
    (VIDEO + "    prompt: y\n" + GOOD, [(6, 5, "duplicate_key", "body.prompt")]),
    (VIDEO + "    user_id: &x abcdef\n", [(6, 14, "unsupported_yaml", "body.user_id")]),
    (VIDEO + "    user_id: *x\n", [(6, 14, "unsupported_yaml", "body.user_id")]),
    (VIDEO + "    user_id: !!python/object:os.system x\n", [(6, 14, "unsupported_yaml", "body.user_id")]),
    (VIDEO + "    <<: {fps: 30}\n", [(6, 5, "unsupported_yaml", "body")]),
    (VIDEO + "    ? [a]\n    : b\n", [(6, 7, "unsupported_yaml", "body")]),
    (VIDEO + '    user_id: "a\\0bcdef"\n', [(6, 14, "invalid_text", "body.user_id")]),
    (VIDEO + "   broken: [\n", [(6, 4, "invalid_yaml", None)]),
    (VIDEO + "  bdy: 1\n", [(6, 3, "unknown_field", "bdy")]),
    (GOOD + GOOD, [(4, 14, "duplicate_custom_id", "custom_id")]),
    (GOOD + "---\n" + VIDEO, [(4, None, "invalid_yaml", None)]),
]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_what_is_wrong_with_a_list_is_said(
    desk: Desk, text: str, expected: list[tuple[int | None, int | None, str, str | None]]
) -> None:
    """H6, H8, H13: each with line and column; one bad job does not hide the next."""
    assert codes(check(desk, text).faults) == expected


def test_aliases_expand_to_nothing(desk: Desk) -> None:
    """H10's bomb in YAML: ten levels of ten aliases are faults, not ten billion values."""
    levels = "".join(f"    - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    checked = check(desk, VIDEO + "    image_url:\n    - &l0 [x]\n" + levels)
    assert {fault.code for fault in checked.faults} == {"unsupported_yaml"}


@pytest.mark.parametrize("depth", [70, 900, 100_000])
def test_depth_is_a_fault(desk: Desk, depth: int) -> None:
    """H6: no stack is exhausted."""
    checked = check(desk, VIDEO + f"    image_url: {'[' * depth}{']' * depth}\n")
    assert {fault.code for fault in checked.faults} <= {"too_deep", "invalid_yaml"}
    assert checked.fault_count


@pytest.mark.parametrize("data", [b"- a: caf\xe9\n", b"- a: \x00\n", "- a: \ud800\n".encode("utf-8", "surrogatepass")])
def test_bytes_that_are_no_text_refuse_the_file(desk: Desk, data: bytes) -> None:
    """H5, H7: where YAML cannot be read, the file is refused with a hint."""
    checked = check(desk, GOOD.encode() + data)
    assert [fault.code for fault in checked.faults] == ["invalid_yaml"]
    assert not checked.is_whole


def test_a_larger_file_is_refused(desk: Desk) -> None:
    """YAML is for hands: 10 MB."""
    checked = check(desk, "# " + "x" * MAX_YAML_BYTES + "\n" + GOOD)
    assert [fault.code for fault in checked.faults] == ["file_too_large"]


def test_a_list_again_is_the_same_batch_and_equals_its_lines(desk: Desk) -> None:
    """H20: the frozen body is that of the same line in JSONL."""
    line = b'{"custom_id": "a", "kind": "image", "body": {"model": "glm-image", "prompt": "a red kite", "size": "1280x1280"}}'
    take_file(desk.check(line), desk.taker)
    first = take_file(check(desk, GOOD), desk.taker)
    again = take_file(check(desk, GOOD), desk.taker)
    assert (first.new_count, first.reused_count, again.batch.id) == (0, 1, first.batch.id)


def test_a_job_over_the_cap_is_refused_and_the_rest_is_read(desk: Desk) -> None:
    """H3: 1 MiB a job here too."""
    long = GOOD.replace("a red kite", "x" * (1 << 20)).replace("custom_id: a", "custom_id: b")
    checked = check(desk, long + GOOD)
    assert codes(checked.faults) == [(1, None, "line_too_long", None)]
    assert checked.good_count == 1


def test_two_jobs_on_one_line_are_told_apart_and_refused(desk: Desk) -> None:
    """A batch knows a job by its line. What waits for the refused one is not left waiting for ever."""
    entry = "{custom_id: %s, kind: image, body: {model: glm-image, prompt: x}%s}"
    text = f"[{entry % ('a', '')}, {entry % ('b', '')},\n {entry % ('c', ', depends_on: b')},\n {entry % ('d', ', depends_on: a')}]\n"
    checked = check(desk, text)
    assert codes(checked.faults) == [(1, 68, "shared_line", None)]
    assert [(fault.line, fault.code) for fault in checked.warnings] == [(2, "dependency_refused")]
    intake = take_file(checked, desk.taker, is_partial=True)
    assert [member.custom_id for member in desk.batches.list_members(intake.batch.id)] == ["a", "d"]


def test_a_name_twice_on_one_line_is_a_double(desk: Desk) -> None:
    """H8: the line alone does not tell entries apart."""
    entry = "{custom_id: a, kind: image, body: {model: glm-image, prompt: x}}"
    found = {fault.code for fault in check(desk, f"[{entry}, {entry}]\n").faults}
    assert found == {"duplicate_custom_id", "shared_line"}

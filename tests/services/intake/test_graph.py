"""Lines that depend on others: everything that is wrong with the whole is told, with lines, before anything is paid."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.services.intake import SingleRequest, check_one
from orchestrator.services.jobfile.graph import MAX_DEPTH
from tests.services.intake.desk import KINDS, SANDBOX, Desk, image, talk, video, wav


def film(name: str, picture: object, **fields: object) -> dict[str, Any]:
    """A video line that starts from this picture."""
    return {**video(name, image_url=picture), **fields}


def drawn(prompt: str) -> dict[str, object]:
    """The body of a picture with this prompt."""
    return {"model": "glm-image", "prompt": prompt, "size": "1280x1280"}


def told(faults: tuple[Fault, ...]) -> list[tuple[int | None, str, str | None]]:
    """What is compared of faults."""
    return [(fault.line, fault.code, fault.param) for fault in faults]


def test_a_chain_in_any_order_is_good(desk: Desk) -> None:
    """A line may stand before what it depends on; names and references together make up what it waits for."""
    checked = desk.check([film("b", "{{a.outputs[0].url}}", depends_on=["c"]), image("a"), image("c")])
    assert checked.faults == ()
    first = next(iter(checked.read_again()))
    assert first.request.depends_on == ("c", "a")
    assert first.body["image_url"] == "{{a.outputs[0].url}}"


def test_prompts_are_never_looked_at(desk: Desk) -> None:
    """Braces in a prompt are the user's own text."""
    checked = desk.check([image("a", body=drawn("{{nobody.outputs[0].url}} {{"))])
    assert checked.faults == ()
    assert next(iter(checked.read_again())).request.depends_on == ()


def test_unknown_names_are_told_where_they_stand(desk: Desk) -> None:
    """Names that no line has: line, column, and the name that was probably meant."""
    lines = [image("scene-1"), film("v", "{{scene-l.outputs[0].url}}"), film("w", "https://x.example/a.png")]
    lines[2]["depends_on"] = ["scene-1", "nowhere"]
    checked = desk.check(lines)
    assert told(checked.faults) == [
        (2, "unknown_dependency", "body.image_url"),
        (3, "unknown_dependency", "depends_on.1"),
    ]
    assert checked.faults[0].hint == "did you mean scene-1?"
    assert all(fault.column for fault in checked.faults)


def test_circles_are_told_with_their_lines(desk: Desk) -> None:
    """Each line of a circle is told with all of its lines; what only hangs on the circle is a warning."""
    lines = [
        {**image("free"), "depends_on": "c"},
        {**image("a"), "depends_on": "c"},
        {**image("b"), "depends_on": ["a"]},
        {**image("c"), "depends_on": ["b"]},
        {**image("self"), "depends_on": ["self"]},
    ]
    checked = desk.check(lines)
    assert told(checked.faults) == [
        (2, "dependency_cycle", "depends_on"),
        (3, "dependency_cycle", "depends_on.0"),
        (4, "dependency_cycle", "depends_on.0"),
        (5, "dependency_cycle", "depends_on.0"),
    ]
    assert "lines 2, 3, 4" in checked.faults[0].message
    assert "itself" in checked.faults[3].message
    assert told(checked.warnings) == [(1, "dependency_refused", "depends_on")]


def test_every_circle_is_told_where_it_is_named(desk: Desk) -> None:
    """Circles that share a line are told whole, at once; each fault stands at the name that closes the circle, and each
    warning at the name that is refused, not at the good name before it.
    """
    lines = [
        image("good"),
        {**image("a"), "depends_on": ["good", "b", "c"]},
        {**image("b"), "depends_on": ["a"]},
        {**image("c"), "depends_on": ["good", "a"]},
        {**image("self"), "depends_on": ["good", "self"]},
        {**image("behind"), "depends_on": ["good", "c"]},
    ]
    checked = desk.check(lines)
    assert told(checked.faults) == [
        (2, "dependency_cycle", "depends_on.1"),
        (3, "dependency_cycle", "depends_on.0"),
        (4, "dependency_cycle", "depends_on.1"),
        (5, "dependency_cycle", "depends_on.1"),
    ]
    assert [fault.message.count("lines 2, 3, 4") for fault in checked.faults] == [1, 1, 1, 0]
    assert told(checked.warnings) == [(6, "dependency_refused", "depends_on.1")]


def test_a_circle_through_a_whole_file_is_found(desk: Desk) -> None:
    """A circle as long as a file may be is no deeper than any other for whoever follows it."""
    lines = [{**image(f"a{n}"), "depends_on": f"a{(n + 1) % 3000}"} for n in range(3000)]
    checked = desk.check(lines)
    assert checked.fault_count == 3000
    assert {fault.code for fault in checked.faults} == {"dependency_cycle"}


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("{{film.outputs[0].url}}", "is a video; image data belongs here"),
        ("{{talk.outputs[0].url}}", "is a transcript; image data belongs here"),
        ("{{picture.outputs[1].url}}", "makes no outputs[1]"),
    ],
)
def test_outputs_that_cannot_stand_there_are_refused(desk: Desk, reference: str, words: str) -> None:
    """A reference to what the other line never makes, or to the wrong sort of file, is an error at check time."""
    desk.add("a.wav", wav())
    lines = [image("picture"), video("film"), talk("talk", "a.wav"), film("v", reference)]
    checked = desk.check(lines)
    assert told(checked.faults) == [(4, "impossible_reference", "body.image_url")]
    assert words in checked.faults[0].message


def test_a_cover_may_be_used(desk: Desk) -> None:
    """The cover of a video is a picture."""
    assert desk.check([video("film"), film("v", "{{film.outputs[1].url}}")]).faults == ()


def test_no_kind_makes_a_recording(desk: Desk) -> None:
    """A slot that takes neither link nor picture takes no reference."""
    checked = desk.check([image("a"), talk("t", "{{a.outputs[0].url}}")])
    assert told(checked.faults) == [(2, "impossible_reference", "body.file")]


def test_a_reference_written_wrong_is_told(desk: Desk) -> None:
    """What looks like a reference and is none says how to write it."""
    checked = desk.check([image("a"), film("v", "{{ a.outputs[0].url }}")])
    assert told(checked.faults) == [(2, "invalid_reference", "body.image_url")]
    assert checked.faults[0].hint == "write it without blanks"


def test_a_reference_in_a_prompt_is_sent_as_written_and_told(desk: Desk) -> None:
    """A prompt is never changed; whoever expects it to be should hear of it before paying."""
    prompts = ("a kite", "like {{a.outputs[0].url}}", "{{moustache}} and outputs[0].url")
    checked = desk.check([video(f"v{number}", prompt=prompt) for number, prompt in enumerate(prompts)])
    assert checked.faults == ()
    assert told(checked.warnings) == [(2, "reference_unused", "body.prompt")]


@pytest.mark.parametrize("value", [5, [5], ["a", "a"], [""], {"a": 1}, [f"n{n}" for n in range(101)]])
def test_depends_on_is_names(desk: Desk, value: object) -> None:
    """depends_on takes a name or a list of different ones."""
    checked = desk.check([image("a"), {**image("b"), "depends_on": value}])
    assert [fault.code for fault in checked.faults] == ["invalid_depends_on"]


def test_the_length_of_a_chain_is_bounded(desk: Desk) -> None:
    """Every link is a round of writes when the first job fails, so there is a most."""
    lines = [image("n0")] + [{**image(f"n{n}"), "depends_on": f"n{n - 1}"} for n in range(1, MAX_DEPTH + 3)]
    checked = desk.check(lines)
    assert told(checked.faults) == [(MAX_DEPTH + 2, "dependency_too_deep", "depends_on")]
    assert desk.check(lines[: MAX_DEPTH + 1]).faults == ()


def test_a_single_request_refers_to_nothing() -> None:
    """Without other lines there is nothing to refer to."""
    single = SingleRequest("video", {"image_url": "{{a.outputs[0].url}}", "prompt": "x"})
    with pytest.raises(InvalidParams) as raised:
        check_one(single, KINDS, options=SANDBOX)
    assert [fault.code for fault in raised.value.faults] == ["unknown_dependency"]


def test_a_line_that_uses_a_changed_line_is_another_request(desk: Desk) -> None:
    """What an earlier job made from the old picture does not answer a line about the new one; order alone does not
    matter to what is made.
    """
    film_of = film("v", "{{a.outputs[0].url}}")
    after = {**image("o"), "depends_on": "a"}
    changed = image("a", body=drawn("another"))
    first = {line.request.custom_id: line.body_sha256 for line in desk.check([image("a"), film_of, after]).read_again()}
    same = {line.request.custom_id: line.body_sha256 for line in desk.check([film_of, image("a"), after]).read_again()}
    other = {line.request.custom_id: line.body_sha256 for line in desk.check([changed, film_of, after]).read_again()}
    assert first == same
    assert (other["v"] == first["v"], other["o"] == first["o"]) == (False, True)


def test_the_estimate_leaves_out_what_only_the_graph_refuses(desk: Desk) -> None:
    """Lines in a circle, behind a refused one or without the one they name are not paid for, and not priced."""
    lines = [
        image("a"),
        image("b", depends_on="a"),
        image("round", depends_on="trip"),
        image("trip", depends_on="round"),
        image("lost", depends_on="nobody"),
        image("behind", depends_on="lost"),
    ]
    checked = desk.check(lines)
    assert (checked.good_count, checked.estimate.count, checked.estimate.micros) == (2, 2, 30_000)

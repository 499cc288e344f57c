"""References to what another job makes: how they are written, and where they may stand."""

from __future__ import annotations

import pytest

from orchestrator.domain.job import Role
from orchestrator.domain.kind import Medium
from orchestrator.domain.references import Reference, advise_form, fits, looks_like_reference, parse_reference


@pytest.mark.parametrize(
    ("value", "name", "index"),
    [
        ("{{scene-001.outputs[0].url}}", "scene-001", 0),
        ("{{a.b.outputs[12].url}}", "a.b", 12),
        ("{{a}}b.outputs[0].url}}", "a}}b", 0),
        ("{{x.outputs[0].url.outputs[1].url}}", "x.outputs[0].url", 1),
        ("{{Szene ü.outputs[0].url}}", "Szene ü", 0),
    ],
)
def test_any_custom_id_can_be_named(value: str, name: str, index: int) -> None:
    """A name needs no escaping, whatever it holds: the end of a reference is fixed."""
    assert parse_reference(value) == Reference(name, index)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("{{ scene.outputs[0].url }}", "without blanks"),
        ("see {{scene.outputs[0].url}}", "whole value"),
        ("{{scene.outputs[0]}}", "write it as"),
        ("{{scene.outputs[-1].url}}", "write it as"),
        ("{{scene.url}}", "write it as"),
        ("{{}}", "write it as"),
        ("{{.outputs[0].url}}", "write it as"),
    ],
)
def test_what_was_meant_as_a_reference_gets_a_hint(value: str, hint: str) -> None:
    """A reference that is written wrong is seen as one, and its hint says how to write it."""
    assert parse_reference(value) is None
    assert looks_like_reference(value)
    assert hint in advise_form(value)


@pytest.mark.parametrize("value", ["a.png", "https://cdn.example/a.png", "odd{{name.png", "}}.png", ""])
def test_paths_and_links_are_no_references(value: str) -> None:
    """What holds no pair of braces is left to the other readers of a slot."""
    assert not looks_like_reference(value)


@pytest.mark.parametrize("role", list(Role))
def test_only_pictures_are_handed_in_as_pictures(role: Role) -> None:
    """Outputs fit a slot by what they are; no kind makes what a recording's slot takes."""
    assert fits(Medium.IMAGE, role) is (role in (Role.IMAGE, Role.COVER))
    assert not fits(Medium.AUDIO, role)
    assert not fits(Medium.IMAGE, None)

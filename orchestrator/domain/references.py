"""References: `{{NAME.outputs[N].url}}` in an input slot stands for a file that another job of the batch makes.

A value is exactly one reference or holds none, so nothing needs escaping: a name may hold any sign, braces included.
Only input slots are looked at; prompts and all other text are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.job import Json, Role
from orchestrator.domain.kind import InputSlot, Kind, Medium

_REFERENCE = re.compile(r"\{\{(?P<name>.{1,128})\.outputs\[(?P<index>[0-9]{1,3})\]\.url\}\}", re.DOTALL)
EXAMPLE = "{{scene-001.outputs[0].url}}"
MEDIA = {Role.IMAGE: Medium.IMAGE, Role.COVER: Medium.IMAGE}
"""What an output is when it is handed in; roles that are not here cannot be handed in at all."""


@dataclass(frozen=True)
class Reference:
    """One output of another job: the custom_id of that job, and the output's index."""

    name: str
    index: int


def parse_reference(value: str) -> Reference | None:
    """Return the reference that `value` is, None when it is none."""
    found = _REFERENCE.fullmatch(value)
    return Reference(found["name"], int(found["index"])) if found else None


def looks_like_reference(value: str) -> bool:
    """Return True for what was meant as a reference, well written or not."""
    return value.lstrip().startswith("{{") or ("{{" in value and "}}" in value)


def advise_form(value: str) -> str:
    """Return a hint on how to write what looks like a reference and is none."""
    closest = _REFERENCE.fullmatch("".join(value.split()))
    if closest:
        return "write it without blanks"
    if _REFERENCE.search(value):
        return "the reference must be the whole value"
    return f"write it as {EXAMPLE}"


def find_references(kind: Kind, body: Json) -> Sequence[tuple[InputSlot, Reference]]:
    """Return the references of a body and the slots that hold them."""
    found = ((slot, parse_reference(slot.value)) for slot in kind.input_slots(body))
    return [(slot, reference) for slot, reference in found if reference is not None]


def fits(medium: Medium, role: Role | None) -> bool:
    """Return True when an output of this role may stand where this belongs; None is an output that is never made."""
    return role is not None and MEDIA.get(role) is medium

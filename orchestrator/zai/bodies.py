"""Checking a whole body: which fields a model takes, their rules, and what is said about fields nobody documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json
from orchestrator.domain.kind import INPUT_MARK
from orchestrator.zai.fields import Rule, listing, nearest_word, shown, wrong_type

DEEPEST = 32
"""Documented bodies are three levels deep."""
LONGEST_NAME = 64
"""No documented field has half as many characters; a fault need not repeat a megabyte of them."""


@dataclass(frozen=True)
class Spec:
    """The fields one model takes. `undocumented` ones have a rule too, and a warning that says where they come from;
    `refused` ones are fields of ours or of another mode, with the reason.
    """

    rules: Mapping[str, Rule]
    undocumented: Mapping[str, tuple[Rule, str]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


REQUEST_ID_REASON = (
    "the request_id is set by the orchestrator (the submission's id); leave it out, use custom_id for yours"
)


def check_model(body: Json, known: Iterable[str], default: str, *, allow_unknown_model: bool) -> list[Fault]:
    """Return the faults of the `model` field."""
    names = list(known)
    value = body.get("model")
    if value is None:
        return [Fault("missing_model", "model", f"model is missing; known: {listing(names)}", default)]
    if not isinstance(value, str) or not value.strip():
        return [wrong_type("model", value, "a model's name", default)]
    if value in names or (allow_unknown_model and value.isprintable() and len(value) <= 128):
        return []
    message = f"model {shown(value)} is not known; known: {listing(names)}"
    return [Fault("unknown_model", "model", message, nearest_word(value, names, cutoff=0.4) or default)]


def check_fields(body: Json, spec: Spec, *, model: str, kind_fields: Iterable[str]) -> Iterator[Fault]:
    """Yield the faults of every field but `model`. `kind_fields` are those that other models of the kind take."""
    elsewhere = set(kind_fields)
    for name, value in body.items():
        if name == "model" or value is None:
            continue
        if name in spec.refused:
            yield Fault("unsupported_parameter", name, spec.refused[name], "leave it out")
        elif name in spec.rules:
            yield from _in_depth(name, value) or spec.rules[name].faults(name, value)
        elif name in spec.undocumented:
            rule, origin = spec.undocumented[name]
            yield from _in_depth(name, value) or rule.faults(name, value)
            yield Fault("undocumented_parameter", name, f"{name} {origin}; it is passed on", is_warning=True)
        elif name in elsewhere:
            message = f"{name} is {shown(value)}; {model} does not take {name}"
            yield Fault("unsupported_parameter", name, message, "leave it out")
        else:
            yield from _unknown(name, value, spec)


def _unknown(name: str, value: object, spec: Spec) -> Iterator[Fault]:
    param = name[:LONGEST_NAME]
    problems = _in_depth(param, value)
    yield from problems
    if not problems:
        near = nearest_word(name, [*spec.rules], cutoff=0.75)
        message = f"{shown(name)} is not a field that the provider documents; it is passed on"
        yield Fault("unknown_parameter", param, message, f"did you mean {near}?" if near else None, is_warning=True)


def _in_depth(name: str, value: object) -> list[Fault]:
    """Return what no body may hold, wherever it stands: NaN, infinities, nesting without end, references of ours."""
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return [wrong_type(name, None, "free of NaN and Infinity, which are not JSON")]
        if depth > DEEPEST:
            return [Fault("invalid_type", name, f"{name} is nested over {DEEPEST} levels deep")]
        if isinstance(item, Mapping):
            if INPUT_MARK in item:  # a reference of ours: in a user's body it could name another owner's file
                return [Fault("invalid_type", name, f'{name} holds the reserved name "{INPUT_MARK}"')]
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list | tuple):
            stack.extend((inner, depth + 1) for inner in item)
    return []


def is_blank(value: object) -> bool:
    """Say whether a field is as good as absent: null, or a string of blanks."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_filled_text(value: object) -> bool:
    """Say whether `value` can name a file: a path, a link, a data: URI, base64 text."""
    return isinstance(value, str) and bool(value.strip())

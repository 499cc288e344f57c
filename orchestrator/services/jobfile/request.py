"""One line of a job file -> a request, or every fault of the line with its place (surfaces section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json
from orchestrator.domain.kind import INPUT_MARK, Kind
from orchestrator.domain.references import find_references, find_unused
from orchestrator.services.jobfile import fields as check
from orchestrator.services.jobfile.lines import MAX_LINE_BYTES, RawLine
from orchestrator.services.jobfile.places import JsonPlaces, KnownPlaces, Place, Places
from orchestrator.services.jobfile.strictjson import Path, read_json

_UNUSED = (
    "a reference stands in a text that is sent as it is written",
    "references are used in fields that take a file, as the whole value",
)
KEY_CODES = frozenset({"unknown_field"})
"""Faults of a key rather than of its value: their column is the key's."""


@dataclass(frozen=True)
class Request:
    """What a request says; `body` is as written, nulls dropped. Its files are not looked at yet."""

    kind: Kind
    body: Json
    custom_id: str | None = None
    line_number: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = check.DEFAULT_PRIORITY
    not_before: datetime | None = None
    named: tuple[str, ...] = ()
    """The custom_ids in `depends_on`; `is_one_name` when it is written without a list."""
    is_one_name: bool = False
    webhook: str | None = None

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The custom_ids of the jobs that it waits for: those it names, and those whose outputs it uses."""
        used = (reference.name for _, reference in find_references(self.kind, self.body))
        return tuple(dict.fromkeys((*self.named, *used)))

    @property
    def model(self) -> str:
        """The model that will be asked."""
        return str(self.body.get("model", self.kind.default_model))


@dataclass(frozen=True)
class ReadLine:
    """What a line held, and its faults, warnings included. `request` stands also beside faults, as far as it could be
    read, so that its files are checked too; `custom_id` so that duplicates are found among bad lines.
    """

    number: int
    request: Request | None
    faults: tuple[Fault, ...]
    custom_id: str | None = None
    places: Places = KnownPlaces()  # noqa: RUF009 - frozen, and empty

    @property
    def is_refused(self) -> bool:
        """Something is wrong with it."""
        return any(not fault.is_warning for fault in self.faults)

    def also(self, faults: Sequence[Fault]) -> ReadLine:
        """Return the line with further faults of it, which get their line and column."""
        return replace(self, faults=(*self.faults, *place_faults(faults, line=self.number, places=self.places)))


def is_blank(raw: RawLine) -> bool:
    """Return True for blank lines and # comments."""
    return raw.data is not None and (not raw.data.strip() or raw.data.lstrip().startswith(b"#"))


def read_line(raw: RawLine, kinds: Mapping[str, Kind], *, allow_unknown_model: bool) -> ReadLine:
    """Return what the line holds. Never raises on any bytes."""
    text, fault = decode_line(raw)
    if fault:
        return ReadLine(raw.number, None, (fault,))
    value, problems = read_json(text)
    if problems:
        faults = tuple(
            Fault(p.code, make_param(p.path), p.message, p.hint, line=raw.number, column=p.column) for p in problems
        )
        return ReadLine(raw.number, None, faults)
    return read_value(raw.number, value, JsonPlaces(raw.number, text), kinds, allow_unknown_model=allow_unknown_model)


def read_value(
    number: int, value: object, places: Places, kinds: Mapping[str, Kind], *, allow_unknown_model: bool
) -> ReadLine:
    """Return the line that a value of any format means; `number` is the physical line on which it begins."""
    if not isinstance(value, dict):
        fault = Fault("not_an_object", None, f"the line is {check.show(value)}; an object is allowed")
        return ReadLine(number, None, place_faults([fault], line=number, places=places))
    custom_id = value.get("custom_id")
    request, found = read_request(value, kinds, line_number=number, allow_unknown_model=allow_unknown_model)
    return ReadLine(
        number,
        request,
        place_faults(found, line=number, places=places),
        custom_id if isinstance(custom_id, str) else None,
        places,
    )


def read_request(
    value: Json, kinds: Mapping[str, Kind], *, line_number: int | None, allow_unknown_model: bool
) -> tuple[Request | None, list[Fault]]:
    """Return the request that an object of top-level fields means, None when its kind or body cannot be told, and
    every fault of it.
    """
    kind, kind_faults = check.find_kind(value, kinds)
    tags, tag_faults = check.check_tags(value.get("tags"))
    priority, priority_faults = check.check_priority(value.get("priority"))
    not_before, time_faults = check.check_not_before(value.get("not_before"))
    named, name_faults = check.check_depends_on(value.get("depends_on"))
    webhook, webhook_faults = check.check_webhook(value.get("webhook"))
    body, body_faults = _read_body(value.get("body"), kind, allow_unknown_model=allow_unknown_model)
    custom_id = value.get("custom_id")
    # A single request may go without a custom_id; a line of a file may not.
    id_faults = check.check_custom_id(custom_id) if line_number is not None or custom_id is not None else []
    faults = [
        *check.check_names(value),
        *id_faults,
        *check.check_method(value.get("method")),
        *kind_faults,
        *body_faults,
        *tag_faults,
        *priority_faults,
        *time_faults,
        *name_faults,
        *webhook_faults,
    ]
    if kind is None or not isinstance(value.get("body"), Mapping):
        return None, faults
    name = custom_id if isinstance(custom_id, str) else None
    is_one_name = isinstance(value.get("depends_on"), str)
    return Request(kind, body, name, line_number, tags, priority, not_before, named, is_one_name, webhook), faults


def _read_body(value: object, kind: Kind | None, *, allow_unknown_model: bool) -> tuple[Json, list[Fault]]:
    if not isinstance(value, Mapping):
        what = "is missing" if value is None else f"is {check.show(value)}"
        return {}, [Fault("invalid_body", "body", f"body {what}; an object is allowed")]
    body = drop_nulls(value)
    faults = kind.check(body, allow_unknown_model=allow_unknown_model) if kind else []
    if INPUT_MARK in body:  # kinds look for it in values; at the top it would make the whole body a reference
        faults = [*faults, Fault("reserved_name", INPUT_MARK, f'the name "{INPUT_MARK}" is reserved')]
    unused = find_unused(kind, body) if kind else ()
    faults = [*faults, *(Fault("reference_unused", name, *_UNUSED, is_warning=True) for name in unused)]
    return body, [in_body(fault) for fault in faults]


def drop_nulls(body: Json) -> dict[str, object]:
    """Return the body without null fields: null means absent (zai-api.md 3.2)."""
    return {
        name: drop_nulls(value) if isinstance(value, Mapping) else value
        for name, value in body.items()
        if value is not None
    }


def in_body(fault: Fault) -> Fault:
    """Return a kind's fault with its param as seen from the line: `size` -> `body.size`."""
    return replace(fault, param=f"body.{fault.param}" if fault.param else "body")


def make_param(path: Path) -> str | None:
    """Return a path as a param: ("body", "image_url", 0) -> `body.image_url.0`."""
    return ".".join(check.printable(str(step)) for step in path) or None


def place_faults(faults: Sequence[Fault], *, line: int, places: Places) -> tuple[Fault, ...]:
    """Return the faults with the line, and the place of what they name where the file has it."""
    if not faults:
        return ()
    found = places.find({_path_of(fault.param) for fault in faults})
    return tuple(_place(fault, found.get(_path_of(fault.param), Place(line))) for fault in faults)


def _place(fault: Fault, place: Place) -> Fault:
    line, column = place.line, place.column
    if place.key_column and fault.code in KEY_CODES:
        line, column = place.key_line or line, place.key_column
    return replace(fault, line=line, column=column, param=check.printable(fault.param) if fault.param else None)


def _path_of(param: str | None) -> Path:
    """Tags may hold dots in their names; everything else of ours does not."""
    if param is None:
        return ()
    if param.startswith("tags."):
        return ("tags", param.removeprefix("tags."))
    steps = param.replace("[", ".").replace("]", "").split(".")
    return tuple(int(step) if step.isascii() and step.isdigit() else step for step in steps)


def decode_line(raw: RawLine) -> tuple[str, Fault | None]:
    """Return the text of a line, or what makes it none."""
    if raw.data is None:
        message = f"the line is longer than {MAX_LINE_BYTES} bytes"
        return "", Fault("line_too_long", None, message, "name files by path instead of base64", line=raw.number)
    nul = raw.data.find(b"\0")
    if nul >= 0:
        column = len(raw.data[:nul].decode("utf-8", "replace")) + 1
        return "", Fault("invalid_encoding", None, "the line holds a NUL byte", line=raw.number, column=column)
    try:
        return raw.data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        column = len(raw.data[: error.start].decode("utf-8", "replace")) + 1
        message = f"byte 0x{raw.data[error.start]:02x} is not UTF-8"
        return "", Fault("invalid_encoding", None, message, "save the file as UTF-8", line=raw.number, column=column)

"""A YAML job file, a list of the same objects that JSONL lines hold, read as a stream (surfaces section 3).

YAML's surprises are refused rather than resolved: anchors and aliases, tags, merge keys, keys given twice, several
documents. A plain word is a number, true, false or null only where JSON says so; `no`, `1_0` and dates stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import yaml  # type: ignore[import-untyped]

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import Kind
from orchestrator.services.jobfile.lines import MAX_LINE_BYTES
from orchestrator.services.jobfile.places import KnownPlaces, Place
from orchestrator.services.jobfile.request import ReadLine, make_param, read_value
from orchestrator.services.jobfile.strictjson import MAX_DEPTH, Path, read_json

MAX_YAML_BYTES = 10 * 1000 * 1000
"""Hands do not write more, and YAML is read far more slowly than JSONL."""
_PLAIN_JSON = re.compile(r"null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BAD_SIGNS = re.compile("[\x00\ud800-\udfff]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Mark(Protocol):
    """A place in the text, counted from 0."""

    line: int
    column: int
    index: int


class _Event(Protocol):
    """What the reader of YAML says next; scalars have all of it."""

    start_mark: _Mark
    end_mark: _Mark
    anchor: str | None
    tag: str | None
    value: str
    style: str | None
    implicit: tuple[bool, bool]


@dataclass
class Item:
    """One element of the list: its value, where its parts stand, and what cannot be taken of it."""

    number: int
    value: object = None
    places: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """Its value; comments and layout do not count."""
        return json.dumps(self.value, sort_keys=True).encode() + b"\n" + str(len(self.faults)).encode()

    def read(self, kinds: Mapping[str, Kind], *, allow_unknown_model: bool) -> ReadLine:
        """Return the request."""
        if self.faults:
            return ReadLine(self.number, None, tuple(self.faults))
        places = KnownPlaces(self.places)
        return read_value(self.number, self.value, places, kinds, allow_unknown_model=allow_unknown_model)


class _Chunks:
    """The chunks as the reader of YAML wants them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self._count = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and self._count <= MAX_YAML_BYTES and (chunk := next(self._chunks, b"")):
            self._rest += chunk
            self._count += len(chunk)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def read_items(chunks: Iterable[bytes]) -> Iterator[Item | Fault]:
    """Yield the elements of the list, and the fault that ends the reading where it is no YAML."""
    events: Iterator[_Event] = yaml.parse(_Chunks(chunks), Loader=_LOADER)
    try:
        yield from _read_list(events)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, None)
        message = f"not YAML: {error.problem or 'it cannot be read'}"
        yield Fault("invalid_yaml", None, message, "nothing behind this place can be read", line=line, column=column)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        first = next(iter(str(error).splitlines()), "it cannot be read")
        yield Fault("invalid_yaml", None, f"not YAML: {first}", "save the file as UTF-8 text", line=1)


def _read_list(events: Iterator[_Event]) -> Iterator[Item | Fault]:
    is_open = False
    for event in events:
        if is_open and isinstance(event, yaml.SequenceEndEvent):
            break
        if is_open:
            yield _read_item(event, events)
        elif isinstance(event, yaml.SequenceStartEvent):
            is_open = True
        elif isinstance(event, yaml.NodeEvent):
            hint = "begin each job with a dash: - custom_id: ..."
            yield Fault("not_a_list", None, "the file is no list of jobs", hint, line=event.start_mark.line + 1)
            return
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            line = event.start_mark.line + 1
            yield Fault("invalid_yaml", None, "a second document begins", "write one list; leave --- out", line=line)
            return


def _read_item(event: _Event, events: Iterator[_Event]) -> Item:
    item = Item(event.start_mark.line + 1)
    last = _Build(item, events).take(event, ())
    if last.end_mark.index - event.start_mark.index > MAX_LINE_BYTES:
        item.faults.append(Fault("line_too_long", None, "the job is longer than 1 MiB", line=item.number))
    return item


class _Build:
    """Makes the value of one element of its events."""

    def __init__(self, item: Item, events: Iterator[_Event]) -> None:
        self._item = item
        self._events = events

    def take(self, event: _Event, path: Path) -> _Event:
        """Keep the value at the path; return its last event."""
        value, last = self._read(event, path)
        self._item.value = value
        return last

    def _refuse(self, code: str, path: Path, message: str, hint: str | None, event: _Event) -> None:
        mark = event.start_mark
        fault = Fault(code, make_param(path), message, hint, line=mark.line + 1, column=mark.column + 1)
        self._item.faults.append(fault)

    def _read(self, event: _Event, path: Path) -> tuple[object, _Event]:
        if getattr(event, "anchor", None):
            what = "an alias (*)" if isinstance(event, yaml.AliasEvent) else "an anchor (&)"
            self._refuse("unsupported_yaml", path, f"{what} stands here", "write the value out", event)
        if getattr(event, "tag", None):
            self._refuse("unsupported_yaml", path, "a tag (!) stands here", "leave it out", event)
        mark = event.start_mark
        self._item.places.setdefault(path, Place(mark.line + 1, mark.column + 1))
        if len(path) == MAX_DEPTH:
            self._refuse("too_deep", path, f"nested deeper than {MAX_DEPTH} levels", None, event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path), event
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._object(path)
        return None, event

    def _list(self, path: Path) -> tuple[list[object], _Event]:
        values: list[object] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                return values, event
            value, _ = self._read(event, self._below(path, len(values)))
            values.append(value)
        raise yaml.YAMLError("the list does not end")

    def _object(self, path: Path) -> tuple[dict[str, object], _Event]:
        values: dict[str, object] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return values, event
            key = self._key(event, path, values)
            inner = self._below(path, key)
            value, _ = self._read(next(self._events), inner)
            place, mark = self._item.places[inner], event.start_mark
            self._item.places[inner] = Place(place.line, place.column, mark.line + 1, mark.column + 1)
            values[key] = value
        raise yaml.YAMLError("the object does not end")

    def _below(self, path: Path, step: str | int) -> Path:
        """Too deep is refused already: the path of what lies below need not grow with it."""
        return (*path, step) if len(path) <= MAX_DEPTH else path

    def _key(self, event: _Event, path: Path, values: Mapping[str, object]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse("unsupported_yaml", path, "a key is no text", "write NAME: value", event)
            self._read(event, path)
            return ""
        key = str(event.value)
        if key == "<<" and not event.style:
            self._refuse("unsupported_yaml", path, "a merge key (<<) stands here", "write the fields out", event)
        elif key in values:
            self._refuse("duplicate_key", (*path, key), f"the key {key!r} stands twice", "keep one of them", event)
        if event.anchor or event.tag:
            self._refuse("unsupported_yaml", path, "a key has an anchor or a tag", "leave it out", event)
        if _BAD_SIGNS.search(key):
            self._refuse("invalid_text", path, "this key holds NUL or half a surrogate pair", None, event)
        return key

    def _scalar(self, event: _Event, path: Path) -> object:
        text = str(event.value)
        if event.style or not event.implicit[0]:  # the style of a plain word is None or empty
            if _BAD_SIGNS.search(text):
                self._refuse("invalid_text", path, "this text holds NUL or half a surrogate pair", None, event)
            return text
        if text in ("", "~"):
            return None
        if not _PLAIN_JSON.fullmatch(text):
            return text
        value, problems = read_json(text)
        for problem in problems:
            self._refuse(problem.code, path, problem.message, problem.hint, event)
        return value

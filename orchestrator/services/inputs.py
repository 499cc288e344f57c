"""The files that a request names: found, measured, checked, frozen by SHA-256, and copied to the archive.

Only this module opens them, through jobfile.paths. Links are looked at, never fetched: the provider does that.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json
from orchestrator.domain.kind import FrozenInput, InputFacts, InputSlot, Kind, input_key
from orchestrator.domain.media import MediaRefused, measure, sniff
from orchestrator.domain.ports import Store
from orchestrator.domain.references import advise_form, looks_like_reference, parse_reference
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.inline import (
    MAX_INPUT_BYTES,
    UNKNOWN_TYPE,
    InputRefused,
    JudgeLink,
    check_declared,
    check_link,
    decode_inline,
    is_inline,
    is_link,
    param_of,
)
from orchestrator.services.jobfile.paths import PathRefused, Roots, open_input

CHUNK_BYTES = 1 << 20
INLINE_NAME = "inline"


@dataclass(frozen=True)
class LocatedInput:
    """An input and the text that leads to its bytes again: a path, or the bytes themselves as base64."""

    frozen: FrozenInput
    value: str
    param: str
    is_inline: bool


@dataclass(frozen=True)
class FrozenBody:
    """A body whose files are named by SHA-256. `shown` is what people are shown of it: the model left out, paths as
    written, bytes shortened.
    """

    body: Json
    shown: Json
    inputs: tuple[LocatedInput, ...]


class Measured(NamedTuple):
    """Kept for each path of a file, so kept small: a file may name 50,000."""

    sha256: bytes
    byte_count: int
    content_type: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None

    @property
    def facts(self) -> InputFacts:
        return InputFacts(self.byte_count, self.content_type, self.width, self.height, self.duration_seconds)


class InputReader:
    """Reads the inputs of many requests; a path is opened and measured once. `judge_link` is the egress guard's word."""

    def __init__(self, roots: Roots, judge_link: JudgeLink | None = None) -> None:
        self._roots = roots
        self._judge_link = judge_link
        self._by_path: dict[str, Measured] = {}

    @property
    def path_hashes(self) -> Iterator[tuple[str, bytes]]:
        """Every local file read so far with its SHA-256, in the order of their names."""
        return ((path, self._by_path[path].sha256) for path in sorted(self._by_path))

    def freeze(self, kind: Kind, body: Json) -> tuple[FrozenBody, list[Fault]]:
        """Return the body with its files named by SHA-256, and every fault of them (params as the kind sees them)."""
        faults: list[Fault] = []
        located: dict[tuple[str | int, ...], LocatedInput] = {}
        measured: list[tuple[InputSlot, InputFacts]] = []
        for slot in kind.input_slots(body):
            try:
                found = self.find_input(slot)
            except InputRefused as refused:
                faults.append(refused.fault)
                continue
            if found is not None:
                faults += kind.check_input(body, slot, found.facts)
                measured.append((slot, found.facts))
                located[slot.path] = _locate(slot, found)
        faults += kind.check_inputs_together(body, measured)
        frozen = {path: item.frozen.as_json() for path, item in located.items()}
        shown = {path: _shorten(item) for path, item in located.items()}
        seen_body = {name: value for name, value in body.items() if name != "model"}
        return FrozenBody(put_values(body, frozen), put_values(seen_body, shown), tuple(located.values())), faults

    def open(self, located: LocatedInput) -> BinaryIO:
        """Open an input again. Raises InputRefused."""
        if located.is_inline:
            return io.BytesIO(decode_inline(located.value, located.param))
        return self.open_path(located.value, located.param)[0]

    def find_input(self, slot: InputSlot) -> Measured | None:
        """Return what stands in a slot, None where no bytes of ours do (a link, a reference). Raises InputRefused."""
        param = param_of(slot)
        if looks_like_reference(slot.value):
            _check_reference(slot, param)
            return None
        if is_link(slot.value):
            check_link(slot.value, param, may_be_link=slot.may_be_link, judge=self._judge_link)
            return None
        if is_inline(slot.value, param):
            check_declared(slot)
            data = decode_inline(slot.value, param)
            return measure_input(io.BytesIO(data), len(data), param)
        return self.remember(slot.value, lambda: self._measure_path(slot.value, param))

    def remember(self, name: str, measure: Callable[[], Measured]) -> Measured:
        """Return what is known of a named input, measuring it the first time."""
        if name not in self._by_path:
            self._by_path[name] = measure()
        return self._by_path[name]

    def _measure_path(self, text: str, param: str) -> Measured:
        stream, size = self.open_path(text, param)
        with stream:
            return measure_input(stream, size, param)

    def open_path(self, text: str, param: str) -> tuple[BinaryIO, int]:
        """Open what a request names. Raises InputRefused."""
        try:
            return open_input(text, self._roots)
        except PathRefused as refused:
            message = f"{param} is {show(text)}: {refused.message}"
            raise InputRefused(Fault(refused.code, param, message, refused.hint)) from refused


def _check_reference(slot: InputSlot, param: str) -> None:
    """A reference stays text until its job's turn comes; what it names is judged with the whole file."""
    if parse_reference(slot.value) is None:
        message = f"{param} is {show(slot.value)}: not a reference to another line's output"
        raise InputRefused(Fault("invalid_reference", param, message, advise_form(slot.value)))


def copy_inputs(
    inputs: Iterable[LocatedInput],
    *,
    reader: InputReader,
    store: Store,
    spool: Path,
    done: set[str],
) -> None:
    """Put inputs into the archive under their SHA-256 unless they are there; `done` remembers over several calls.

    Raises InputRefused (`input_changed`) when the bytes are no longer those that were checked; StepErrors of the store.
    """
    for located in inputs:
        if located.frozen.sha256 not in done:
            _copy(located, reader=reader, store=store, spool=spool)
            done.add(located.frozen.sha256)


def _copy(located: LocatedInput, *, reader: InputReader, store: Store, spool: Path) -> None:
    frozen = located.frozen
    key = input_key(frozen.sha256)
    present = store.find(key)
    if present is not None and present.byte_count == frozen.byte_count:
        return
    with reader.open(located) as stream, _spooled(stream, spool) as (path, sha256):
        if sha256 != frozen.sha256:
            message = f"{located.param} is no longer the file that was checked"
            raise InputRefused(Fault("input_changed", located.param, message, "run the command again"))
        store.put_file(
            key,
            path,
            sha256=sha256,
            content_type=frozen.content_type,
            metadata={},
            remember_upload=_forget,  # an upload that is cut short is aborted by the sweep of stale ones
        )
        reach(CrashPoint.INPUT_STORED)


def _forget(upload_id: str) -> None:
    """Inputs have no row that could keep an upload's id."""


@contextmanager
def _spooled(stream: BinaryIO, spool: Path) -> Iterator[tuple[Path, str]]:
    """Copy a stream to a file of our own, so that what was hashed is what is stored."""
    spool.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=spool, prefix="input-")
    try:
        with os.fdopen(descriptor, "wb") as target:
            sha256, _ = _hash(stream, target.write)
        reach(CrashPoint.INPUT_SPOOLED)
        yield Path(name), sha256.hex()
    finally:
        Path(name).unlink(missing_ok=True)


def _hash(stream: BinaryIO, also: Callable[[bytes], object] = len) -> tuple[bytes, int]:
    """Return the SHA-256 and the number of bytes read; a stream that grows past the cap is read no further."""
    digest, count = hashlib.sha256(), 0
    while count <= MAX_INPUT_BYTES and (chunk := stream.read(CHUNK_BYTES)):
        count += len(chunk)
        digest.update(chunk)
        also(chunk)
    return digest.digest(), count


def measure_input(stream: BinaryIO, size: int, param: str) -> Measured:
    """Return what the bytes are; reads them to their end. Raises InputRefused."""
    if size > MAX_INPUT_BYTES:
        message = f"{param} has {size:,} bytes; inputs have at most {MAX_INPUT_BYTES:,}"
        raise InputRefused(Fault("input_too_large", param, message))
    looks = sniff(stream.read(1024))
    if looks is not None and looks.is_document:
        message = f"{param} holds {looks.content_type}, a document, not a picture or a recording"
        raise InputRefused(Fault("unsupported_format", param, message))
    stream.seek(0)
    try:
        facts = measure(stream, size)
    except MediaRefused as refused:
        fault = Fault("invalid_input", param, f"{param} is damaged or cut short: {refused.message}")
        raise InputRefused(fault) from refused
    stream.seek(0)
    digest, count = _hash(stream)
    if count != size:
        raise InputRefused(Fault("input_changed", param, f"{param} changed while it was read"))
    return Measured(digest, size, facts.content_type, facts.width, facts.height, facts.duration_seconds)


def _locate(slot: InputSlot, found: Measured) -> LocatedInput:
    param = param_of(slot)
    inline = is_inline(slot.value, param)
    name = INLINE_NAME if inline else PurePosixPath(slot.value).name
    frozen = FrozenInput(found.sha256.hex(), found.byte_count, found.content_type or UNKNOWN_TYPE, name)
    return LocatedInput(frozen, slot.value, param, inline)


def put_values(body: Json, values: Mapping[tuple[str | int, ...], object]) -> dict[str, object]:
    """Return a copy of the body with the values at these paths replaced; what is on the way is copied."""
    copy = dict(body)
    for path, value in values.items():
        if len(path) == 1:
            copy[str(path[0])] = value
        else:
            copy[str(path[0])] = _put_deep(copy[str(path[0])], path[1:], value)
    return copy


def _put_deep(holder: object, path: Sequence[str | int], value: object) -> object:
    if not path:
        return value
    if isinstance(holder, Mapping):
        return {**holder, path[0]: _put_deep(holder[path[0]], path[1:], value)}
    assert isinstance(holder, list | tuple)
    items = list(holder)
    items[int(path[0])] = _put_deep(items[int(path[0])], path[1:], value)
    return items


def _shorten(located: LocatedInput) -> str:
    if not located.is_inline:
        return located.value
    return f"({located.frozen.content_type}, {located.frozen.byte_count:,} bytes inline)"


def in_line(refused: InputRefused, line: int | None) -> Fault:
    """Return the fault of a refused input as seen from the job file."""
    return replace(refused.fault, param=f"body.{refused.fault.param}", line=line)

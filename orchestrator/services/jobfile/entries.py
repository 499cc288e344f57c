"""The entries of a job file, one for each job, whatever the format: what a check reads and an intake reads again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Protocol

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import Kind
from orchestrator.services.jobfile.csvfile import Row, read_rows
from orchestrator.services.jobfile.lines import RawLine, split_lines
from orchestrator.services.jobfile.request import ReadLine, is_blank, read_line
from orchestrator.services.jobfile.yamlfile import MAX_YAML_BYTES, read_items

MAX_FILE_BYTES = 200 * 1000 * 1000
"""Surfaces section 3."""


class Form(StrEnum):
    """The formats of a job file."""

    JSONL = "jsonl"
    CSV = "csv"
    YAML = "yaml"

    @property
    def extension(self) -> str:
        """How a file's name ends."""
        return f".{self.value}"

    @property
    def max_bytes(self) -> int:
        """Surfaces section 3; YAML is for what hands write, and much slower to read."""
        return MAX_YAML_BYTES if self is Form.YAML else MAX_FILE_BYTES


_BY_SUFFIX = {".csv": Form.CSV, ".tsv": Form.CSV, ".yaml": Form.YAML, ".yml": Form.YAML}


def form_of(name: str) -> Form:
    """Return the format that a file's name tells; JSONL unless it tells another."""
    return _BY_SUFFIX.get(PurePath(name).suffix.lower(), Form.JSONL)


class Entry(Protocol):
    """One job as it stands in the file. `number` is the physical line on which it begins."""

    @property
    def number(self) -> int:
        """The line."""

    @property
    def content(self) -> bytes:
        """What makes it the same entry when the file is read again."""

    def read(self, kinds: Mapping[str, Kind], *, allow_unknown_model: bool) -> ReadLine:
        """Return what it holds. Never raises on any bytes."""


@dataclass(frozen=True)
class JsonLine:
    """A line of JSONL."""

    raw: RawLine

    @property
    def number(self) -> int:
        """The line."""
        return self.raw.number

    @property
    def content(self) -> bytes:
        """A line too long has none; such a line is never taken."""
        return self.raw.data or b""

    def read(self, kinds: Mapping[str, Kind], *, allow_unknown_model: bool) -> ReadLine:
        """Return what it holds."""
        return read_line(self.raw, kinds, allow_unknown_model=allow_unknown_model)


def read_entries(chunks: Iterable[bytes], form: Form, kinds: Mapping[str, Kind]) -> Iterator[Entry | Fault]:
    """Yield the entries in the file's order; a Fault is of the file, not of an entry, and refuses it whole."""
    if form is Form.CSV:
        rows: Iterator[Row | Fault] = read_rows(chunks, kinds)
        yield from rows
    elif form is Form.YAML:
        yield from read_items(chunks)
    else:
        yield from (JsonLine(raw) for raw in split_lines(chunks) if not is_blank(raw))


def digest_entry(entry: Entry) -> int:
    """Return 64 bits of an entry's content."""
    return int.from_bytes(hashlib.blake2b(entry.content, digest_size=8).digest(), "big")

"""Where the parts of a line stand in its file, whatever the file's format. Asked for only when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.services.jobfile.strictjson import Path, find_columns


@dataclass(frozen=True)
class Place:
    """A physical line and the character column, both from 1, of a value; and of its key, where the format has one."""

    line: int
    column: int | None = None
    key_line: int | None = None
    key_column: int | None = None


class Places(Protocol):
    """The map of one line."""

    def find(self, paths: set[Path]) -> Mapping[Path, Place]:
        """Return the places of those `paths` that the line has."""


@dataclass(frozen=True)
class JsonPlaces:
    """The places in one line of JSON."""

    line: int
    text: str = ""

    def find(self, paths: set[Path]) -> Mapping[Path, Place]:
        """Read the text once more."""
        columns = find_columns(self.text, paths)
        return {path: Place(self.line, column, self.line, key) for path, (key, column) in columns.items()}


@dataclass(frozen=True)
class KnownPlaces:
    """Places that the reader of the format noted down."""

    by_path: Mapping[Path, Place] = field(default_factory=dict)

    def find(self, paths: set[Path]) -> Mapping[Path, Place]:
        """Look them up."""
        return {path: self.by_path[path] for path in paths if path in self.by_path}

"""One guard: a few lines of source that keep a promise, and what stands there when they are removed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class GuardMoved(Exception):
    """The table does not fit the source any more: a guard that cannot be removed proves nothing."""


@dataclass(frozen=True)
class Guard:
    """`kept` is the exact source text, found once in `file`; `removed` replaces it. `tests` are those that must fail
    then: a file, or `file::function` where a file takes long. `redundant` says why none can: what else keeps the promise.
    `hangs`: it keeps something from going on for ever, and what catches its removal is a test's own time limit.
    """

    name: str
    promise: str
    file: str
    kept: str
    removed: str
    tests: tuple[str, ...]
    redundant: str = ""
    hangs: bool = False

    def remove(self, source: str) -> str:
        """Return the source without the guard. Raises GuardMoved unless its text is there exactly once."""
        count = source.count(self.kept)
        if count != 1:
            raise GuardMoved(f"{self.name}: its text stands {count} times in {self.file}")
        return source.replace(self.kept, self.removed)

    def remove_in(self, tree: Path) -> str:
        """Remove the guard from a copy of the project; return the file's text as it was. Raises GuardMoved."""
        path = tree / self.file
        before = path.read_text(encoding="utf-8")
        path.write_text(self.remove(before), encoding="utf-8")
        return before

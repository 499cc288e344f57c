"""What makes thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class MadeThumbnail:
    """A JPEG, and its sides in pixels."""

    data: bytes
    width: int
    height: int


class Thumbnails(Protocol):
    """Decodes foreign pictures and films, in bounded time and memory. Blocks."""

    def make(self, path: Path, content_type: str) -> MadeThumbnail:
        """Return a thumbnail of the file. Raises Permanent (none can be made of it) or Transient (not now)."""

"""A bounded view of the stream under inspection: reads inside the file only, counts steps, keeps no more than asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from orchestrator.domain.media.facts import Incomplete

WINDOW_BYTES = 1 << 18
"""Read at once while scanning: large enough that the loop is C, small enough not to matter."""
MAX_PARTS = 1_000_000
"""Samples, frames, chunks or blocks in one file: an hour of film has 400,000. Above it a file is an attack on us."""


class Reader:
    """Reads a file of known `size` by absolute offset. What lies outside raises Incomplete, never a short result."""

    def __init__(self, stream: BinaryIO, size: int, content_type: str | None = None) -> None:
        self._stream = stream
        self.size = size
        self.content_type = content_type
        self._parts = 0

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`. `count` must be bounded by the caller (at most a window)."""
        if offset + count > self.size:
            raise self.incomplete(f"{count} bytes expected, {max(self.size - offset, 0)} left", offset)
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) != count:
            raise self.incomplete("the file is shorter than its stated size", offset + len(data))
        return data

    def peek(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset`; fewer at the end of the file."""
        return self.read(offset, min(count, max(self.size - offset, 0)))

    def windows(self, start: int, end: int, window: int = WINDOW_BYTES) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` in pieces."""
        while start < end:
            piece = self.read(start, min(window, end - start))
            yield piece
            start += len(piece)

    def number(self, offset: int, count: int) -> int:
        """Return a big-endian unsigned number of `count` bytes."""
        return int.from_bytes(self.read(offset, count), "big")

    def little(self, offset: int, count: int) -> int:
        """Return a little-endian unsigned number of `count` bytes."""
        return int.from_bytes(self.read(offset, count), "little")

    def count_part(self, offset: int, parts: int = 1) -> None:
        """Count one more part of the container; too many of them end the walk."""
        self._parts += parts
        if self._parts > MAX_PARTS:
            raise self.incomplete(f"more than {MAX_PARTS} parts", offset)

    def incomplete(self, reason: str, offset: int) -> Incomplete:
        """Return the refusal to raise."""
        return Incomplete(reason, offset=min(max(offset, 0), self.size), content_type=self.content_type)

"""Bytes of a job file -> physical lines, in constant memory (surfaces section 3). Knows nothing of what a line means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE_BYTES = 1 << 20
"""Surfaces section 3. A longer line is refused and skipped; the rest of the file is still read."""

CHUNK_BYTES = 1 << 18
BOM = b"\xef\xbb\xbf"

_FOREIGN_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe", "the file is UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "the file is UTF-16", "save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "the file is UTF-32", "save it as UTF-8"),
    (b"\x1f\x8b", "the file is compressed (gzip)", "unpack it first"),
    (b"PK\x03\x04", "the file is a zip archive", "unpack it first"),
    (b"BZh", "the file is compressed (bzip2)", "unpack it first"),
    (b"\xfd7zXZ", "the file is compressed (xz)", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "the file is compressed (zstd)", "unpack it first"),
)


@dataclass(frozen=True)
class RawLine:
    """A physical line without its end. `number` counts from 1; `data` is None when it is over MAX_LINE_BYTES."""

    number: int
    data: bytes | None


def find_foreign(head: bytes) -> tuple[str, str] | None:
    """Return (what it is, what to do) when the first bytes are those of no UTF-8 text (H5, H10)."""
    for start, what, hint in _FOREIGN_STARTS:
        if head.startswith(start):
            return what, hint
    if len(head) >= 4 and (head[1::2].count(0) == len(head) // 2 or head[::2].count(0) == (len(head) + 1) // 2):
        return "the file is UTF-16", "save it as UTF-8"  # text with every other byte zero, and no byte-order mark
    return None


def read_chunks(stream: BinaryIO, *, on_bytes: Callable[[bytes], None] | None = None) -> Iterator[bytes]:
    """Yield the stream in pieces, handing each to `on_bytes` (a hash) first."""
    while chunk := stream.read(CHUNK_BYTES):
        if on_bytes is not None:
            on_bytes(chunk)
        yield chunk


def split_lines(chunks: Iterable[bytes]) -> Iterator[RawLine]:
    """Yield the physical lines. LF, CR LF and a lone CR end a line (no JSON text holds a bare CR inside a value);
    U+2028 does not. A byte-order mark before the first line is dropped.
    """
    number = 1
    tail, is_long = b"", False
    for chunk in chunks:
        pieces = (tail + chunk).splitlines(keepends=True)
        # A piece that does not end in LF goes on in the next chunk: a CR may be half of CR LF.
        tail = b"" if pieces[-1].endswith(b"\n") else pieces.pop()
        for piece in pieces:
            yield _make_line(number, piece, is_long=is_long)
            number, is_long = number + 1, False
        if len(tail) > MAX_LINE_BYTES + len(BOM) + 2:
            tail, is_long = tail[-1:], True
    if tail:
        yield _make_line(number, tail, is_long=is_long)


def _make_line(number: int, piece: bytes, *, is_long: bool) -> RawLine:
    data = piece.removeprefix(BOM) if number == 1 else piece
    if data.endswith(b"\n"):
        data = data[:-1]
    if data.endswith(b"\r"):
        data = data[:-1]
    return RawLine(number, None if is_long or len(data) > MAX_LINE_BYTES else data)

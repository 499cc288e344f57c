"""PNG to IEND, JPEG to EOI, GIF to its trailer."""

from __future__ import annotations

import re
import zlib

from orchestrator.domain.media import sniff
from orchestrator.domain.media.facts import TRAILING_BYTES, MediaFacts
from orchestrator.domain.media.reader import WINDOW_BYTES, Reader

PNG_HEADER_BYTES = 13
JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 without DHT, JPG and DAC, which share their range."""
JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
"""TEM and RST: markers without a length."""
JPEG_CODINGS = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Ends entropy-coded data: an FF that neither is stuffed nor fills nor restarts."""


def inspect_png(reader: Reader) -> MediaFacts:
    """Walk a PNG chunk by chunk to IEND and check every CRC."""
    offset, width, height, has_data = 8, 0, 0, False
    while True:
        reader.count_part(offset)
        length, name = reader.number(offset, 4), reader.read(offset + 4, 4)
        _check_png_crc(reader, offset, length, name)
        if offset == 8:
            if name != b"IHDR" or length != PNG_HEADER_BYTES:
                raise reader.incomplete("the first chunk is not a header", offset)
            width, height = reader.number(offset + 8, 4), reader.number(offset + 12, 4)
        has_data = has_data or (name == b"IDAT" and length > 0)
        offset += 12 + length
        if name == b"IEND":
            break
    if not has_data or not width or not height:
        raise reader.incomplete("a picture without pixels", offset)
    return _picture(reader, sniff.PNG, width, height, end=offset)


def _check_png_crc(reader: Reader, offset: int, length: int, name: bytes) -> None:
    if offset + 12 + length > reader.size:
        raise reader.incomplete(f"chunk {name!r} reaches beyond the end of the file", offset)
    crc = zlib.crc32(name)
    for piece in reader.windows(offset + 8, offset + 8 + length):
        crc = zlib.crc32(piece, crc)
    if crc != reader.number(offset + 8 + length, 4):
        raise reader.incomplete(f"the checksum of chunk {name!r} does not match", offset)


def inspect_jpeg(reader: Reader) -> MediaFacts:
    """Walk a JPEG segment by segment, over the scans, to EOI."""
    offset, width, height, codec, has_scan = 2, 0, 0, None, False
    while True:
        reader.count_part(offset)
        offset, marker = _read_jpeg_marker(reader, offset)
        if marker == 0xD9:
            break
        if marker in JPEG_BARE_MARKERS:
            continue
        length = reader.number(offset, 2)
        if length < 2:
            raise reader.incomplete("a segment shorter than its own length field", offset)
        if marker in JPEG_FRAME_MARKERS:
            height, width = reader.number(offset + 3, 2), reader.number(offset + 5, 2)
            codec = JPEG_CODINGS.get(marker)
        offset += length
        if marker == 0xDA:
            has_scan = True
            offset = _skip_jpeg_scan(reader, offset)
    if not has_scan or not width:
        raise reader.incomplete("a picture without pixels", offset)
    return _picture(reader, sniff.JPEG, width, height or None, end=offset, codec=codec)


def _read_jpeg_marker(reader: Reader, offset: int) -> tuple[int, int]:
    """Return where the marker's content begins, and the marker; any number of FF may stand before it."""
    if reader.number(offset, 1) != 0xFF:
        raise reader.incomplete("no marker where a segment should begin", offset)
    while (marker := reader.number(offset + 1, 1)) == 0xFF:
        reader.count_part(offset)
        offset += 1
    if marker == 0x00:
        raise reader.incomplete("no marker where a segment should begin", offset)
    return offset + 2, marker


def _skip_jpeg_scan(reader: Reader, offset: int) -> int:
    """Return the offset of the marker that ends the entropy-coded data."""
    while True:
        window = reader.peek(offset, WINDOW_BYTES)
        if found := NEXT_MARKER.search(window):
            return offset + found.start()
        if offset + len(window) >= reader.size:
            raise reader.incomplete("the picture's data has no end", reader.size)
        offset += len(window) - 1  # an FF may be the last byte of this window


def inspect_gif(reader: Reader) -> MediaFacts:
    """Walk a GIF block by block to its trailer."""
    width, height, flags = reader.little(6, 2), reader.little(8, 2), reader.number(10, 1)
    offset, has_frame = 13 + _gif_colours(flags), False
    while True:
        reader.count_part(offset)
        kind = reader.number(offset, 1)
        if kind == 0x3B:
            break
        if kind == 0x21:
            offset = _skip_gif_blocks(reader, offset + 2)
        elif kind == 0x2C:
            has_frame = True
            offset = _skip_gif_blocks(reader, offset + 11 + _gif_colours(reader.number(offset + 9, 1)))
        else:
            raise reader.incomplete(f"block 0x{kind:02x} is none of a GIF's", offset)
    if not has_frame:
        raise reader.incomplete("a picture without pixels", offset)
    return _picture(reader, sniff.GIF, width, height, end=offset + 1)


def _gif_colours(flags: int) -> int:
    """Return the length of the colour table that `flags` announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_gif_blocks(reader: Reader, offset: int) -> int:
    """Return the offset after a chain of sub-blocks, read window by window."""
    while True:
        window = reader.peek(offset, WINDOW_BYTES)
        position, parts = 0, 0
        while position < len(window) and window[position]:
            position += 1 + window[position]
            parts += 1
        reader.count_part(offset, parts)
        if position < len(window):
            return offset + position + 1
        offset += position
        if offset >= reader.size:
            raise reader.incomplete("a chain of blocks has no end", reader.size)


def _picture(
    reader: Reader, kind: sniff.Sniffed, width: int, height: int | None, *, end: int, codec: str | None = None
) -> MediaFacts:
    notes = (TRAILING_BYTES,) if end < reader.size else ()
    return MediaFacts(kind.content_type, kind.extension, width, height, codec=codec, notes=notes)

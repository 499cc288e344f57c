"""WebP and WAV: chunks inside one RIFF whose size must be there."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.media import sniff
from orchestrator.domain.media.facts import END_NOT_PROVEN, TRAILING_BYTES, MediaFacts
from orchestrator.domain.media.reader import Reader

UNKNOWN_SIZE = 0xFFFFFFFF
"""What writers to a pipe leave in place of a size."""
WAV_CODECS = {1: "pcm", 3: "pcm_float", 6: "alaw", 7: "mulaw", 0xFFFE: "pcm"}

Chunk = tuple[bytes, int, int]
"""Name, offset of the content, length of the content."""


def inspect_webp(reader: Reader) -> MediaFacts:
    """Walk a WebP to the end of its RIFF; sides from VP8X, VP8 or VP8L."""
    end = _riff_end(reader)
    sides: tuple[int, int] | None = None
    has_pixels = False
    for name, offset, length in _chunks(reader, end):
        has_pixels = has_pixels or (name in (b"VP8 ", b"VP8L", b"ANMF") and length > 0)
        sides = sides or _webp_sides(reader, name, offset)
    if not has_pixels or sides is None:
        raise reader.incomplete("a picture without pixels", end)
    notes = (TRAILING_BYTES,) if end < reader.size else ()
    return MediaFacts(sniff.WEBP.content_type, sniff.WEBP.extension, *sides, notes=notes)


def _webp_sides(reader: Reader, name: bytes, offset: int) -> tuple[int, int] | None:
    if name == b"VP8X":
        return reader.little(offset + 4, 3) + 1, reader.little(offset + 7, 3) + 1
    if name == b"VP8 ":
        return reader.little(offset + 6, 2) & 0x3FFF, reader.little(offset + 8, 2) & 0x3FFF
    if name == b"VP8L":
        bits = reader.little(offset + 1, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def inspect_wav(reader: Reader) -> MediaFacts:
    """Walk a WAV to the end of its RIFF; duration from the data's length and the format's rate."""
    if reader.little(4, 4) in (0, UNKNOWN_SIZE):
        return _inspect_piped_wav(reader)
    end = _riff_end(reader)
    form: Chunk | None = None
    data_bytes: int | None = None
    for chunk in _chunks(reader, end):
        form = chunk if chunk[0] == b"fmt " else form
        data_bytes = chunk[2] if chunk[0] == b"data" else data_bytes
    if form is None or data_bytes is None:
        raise reader.incomplete("a sound without a format or without data", end)
    return _sound(reader, form, data_bytes, (TRAILING_BYTES,) if end < reader.size else ())


def _inspect_piped_wav(reader: Reader) -> MediaFacts:
    """Read a WAV whose writer never came back to fill in the sizes: its data goes to the end of the file."""
    form: Chunk | None = None
    offset = 12
    while (name := reader.read(offset, 4)) != b"data":
        reader.count_part(offset)
        length = reader.little(offset + 4, 4)
        form = (name, offset + 8, length) if name == b"fmt " else form
        offset += 8 + length + length % 2
    length = reader.little(offset + 4, 4)
    left = reader.size - offset - 8
    if form is None or (length not in (0, UNKNOWN_SIZE) and length > left):
        raise reader.incomplete("a sound without a format, or shorter than its data chunk says", offset)
    return _sound(reader, form, left if length in (0, UNKNOWN_SIZE) else length, (END_NOT_PROVEN,))


def _sound(reader: Reader, form: Chunk, data_bytes: int, notes: tuple[str, ...]) -> MediaFacts:
    _, offset, length = form
    if length < 16:
        raise reader.incomplete("the format chunk is too short", offset)
    code, rate = reader.little(offset, 2), reader.little(offset + 8, 4)
    seconds = data_bytes / rate if rate else None
    codec = WAV_CODECS.get(code)
    return MediaFacts(sniff.WAV.content_type, sniff.WAV.extension, duration_seconds=seconds, codec=codec, notes=notes)


def _riff_end(reader: Reader) -> int:
    end = 8 + reader.little(4, 4)
    if end > reader.size:
        raise reader.incomplete(f"the file should have {end} bytes and has {reader.size}", reader.size)
    return end


def _chunks(reader: Reader, end: int) -> Iterator[Chunk]:
    """Yield the chunks up to `end`; the last one may lack its padding byte, as some writers leave it."""
    offset = 12
    while offset < end:
        reader.count_part(offset)
        name, length = reader.read(offset, 4), reader.little(offset + 4, 4)
        if offset + 8 + length > end:
            raise reader.incomplete(f"chunk {name!r} reaches beyond the end of its file", offset)
        yield name, offset + 8, length
        offset += 8 + length + length % 2

"""The sample tables of one MP4 track: does every chunk of samples lie inside a `mdat` of this file?

This is what finds a film cut inside a `mdat` that "reaches to the end of the file", and tables that lie.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Literal

from orchestrator.domain.media.reader import Reader

Extent = tuple[int, int]
"""Where something begins and ends in the file."""
Tables = Mapping[bytes, Extent]
"""The boxes of a track's `stbl`: name to the extent of the content."""


def check_samples(reader: Reader, tables: Tables, data: Sequence[Extent]) -> int:
    """Return how many samples the track has. Raises Incomplete when one lies outside every extent of `data`."""
    if b"stz2" in tables:  # sizes of 4 to 16 bits, written by hardly anyone: the offsets alone are checked
        return sum(1 for offset in _chunk_offsets(reader, tables) if _check_extent(reader, data, offset, 1))
    if b"stsz" not in tables:
        return 0
    start, _ = tables[b"stsz"]
    fixed_size, count = reader.number(start + 4, 4), reader.number(start + 8, 4)
    sizes = None if fixed_size else chain.from_iterable(_numbers(reader, tables[b"stsz"], 8, "I"))
    left = count
    for offset, samples in zip(_chunk_offsets(reader, tables), _samples_per_chunk(reader, tables), strict=False):
        taken = min(samples, left)
        left -= taken
        length = sum(islice(sizes, taken)) if sizes is not None else taken * fixed_size
        _check_extent(reader, data, offset, length)
    return count


def _check_extent(reader: Reader, data: Sequence[Extent], offset: int, length: int) -> bool:
    """Return True; raise Incomplete when the bytes are not inside one `mdat` (they are sorted by offset)."""
    if not length:
        return True
    index = bisect_right(data, offset, key=lambda extent: extent[0]) - 1
    if index < 0 or offset + length > data[index][1]:
        raise reader.incomplete(f"{length} bytes of samples at {offset} are not in this file's data", offset)
    return True


def _chunk_offsets(reader: Reader, tables: Tables) -> Iterator[int]:
    if b"co64" in tables:
        return chain.from_iterable(_numbers(reader, tables[b"co64"], 4, "Q"))
    if b"stco" in tables:
        return chain.from_iterable(_numbers(reader, tables[b"stco"], 4, "I"))
    return iter(())


def _samples_per_chunk(reader: Reader, tables: Tables) -> Iterator[int]:
    """Yield the number of samples of each chunk; the last run of `stsc` goes on without end."""
    if b"stsc" not in tables:
        return
    fields = chain.from_iterable(_numbers(reader, tables[b"stsc"], 4, "I", fields=3))
    first, samples, _ = next(fields, 1), next(fields, 0), next(fields, 0)
    while (following := next(fields, None)) is not None:
        for _ in range(following - first):
            yield samples
        first, samples, _ = following, next(fields, 0), next(fields, 0)
    while True:
        yield samples


def _numbers(
    reader: Reader, box: Extent, count_at: int, code: Literal["I", "Q"], fields: int = 1
) -> Iterator[array[int]]:
    """Yield a counted table of big-endian numbers in pieces; the count stands `count_at` bytes into the box."""
    start, end = box
    width = array(code).itemsize
    first = start + count_at + 4
    last = first + reader.number(start + count_at, 4) * fields * width
    if last > end:
        raise reader.incomplete("a table is longer than its box", start)
    for piece in reader.windows(first, last):
        numbers = array(code, piece)
        reader.count_part(first, len(numbers))
        if sys.byteorder == "little":
            numbers.byteswap()
        yield numbers

"""Bytes made to crash, hang or fill memory do none of it: only facts or a refusal, with bounded reading."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.domain.media import Incomplete, MediaFacts, MediaRefused, inspect
from orchestrator.domain.media.reader import MAX_PARTS, WINDOW_BYTES
from tests.media.samples import LOOSE_MAKERS, MAKERS, sample

NAMES = sorted([*MAKERS, *LOOSE_MAKERS])
HEADS = [sample(name)[:32] for name in NAMES]


class MeteredStream(io.BytesIO):
    """Counts what is read and remembers the largest single read."""

    total = 0
    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        self.largest = max(self.largest, len(data))
        return data


def survive(data: bytes) -> MediaFacts | MediaRefused:
    """Inspect; anything but facts or a refusal comes out as the crash it is."""
    stream = MeteredStream(data)
    verdict: MediaFacts | MediaRefused
    try:
        verdict = inspect(stream, len(data))
    except MediaRefused as refusal:
        verdict = refusal
    assert stream.largest <= WINDOW_BYTES
    assert stream.total <= 40 * len(data) + 4 * WINDOW_BYTES
    assert isinstance(verdict, MediaFacts) or 0 <= verdict.offset <= len(data)
    return verdict


def box(name: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if size is None else size) + name + content


FTYP = box(b"ftyp", b"isom" + bytes(4))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 200),
)
def test_damaged_files_never_crash(name: str, flips: list[tuple[int, int]], cut: int) -> None:
    """E16: any few bytes changed, with or without a cut."""
    data = bytearray(sample(name))
    for position, value in flips:
        data[position % len(data)] = value
    survive(bytes(data[: len(data) - cut] if cut < len(data) else data))


@pytest.mark.parametrize("name", ["mp4", "mp3", "jpeg-progressive", "webp-animated", "gif-animated", "wav"])
@pytest.mark.parametrize("mask", [0xFF, 0x80])
def test_every_single_flip_is_survived(name: str, mask: int) -> None:
    """E16: no position is special."""
    data = sample(name)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= mask
        survive(bytes(flipped))


@settings(max_examples=300, deadline=None)
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=400))
@example(head=b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", tail=b"")
@example(head=b"\xff\xfb", tail=b"\x90")
@example(head=b"RIFF\x00\x00\x00\x00WAVE", tail=b"")
def test_a_good_head_on_noise_never_crashes(head: bytes, tail: bytes) -> None:
    survive(head + tail)


@settings(max_examples=200, deadline=None)
@given(
    fields=st.lists(st.sampled_from([0, 1, 7, 8, 16, 0x7FFFFFFF, 0xFFFFFFFF]), min_size=3, max_size=12),
    name=st.sampled_from([b"stsz", b"stco", b"co64", b"stsc", b"stsd", b"mvhd", b"hdlr", b"stz2"]),
)
def test_lying_tables_are_survived(fields: list[int], name: bytes) -> None:
    """A few bytes that claim four billion samples, chunks or entries."""
    lie = box(name, struct.pack(f">{len(fields)}I", *fields))
    tables = {b"stsz": struct.pack(">4I", 0, 0, 1, 9), b"stco": struct.pack(">3I", 0, 1, 24)}
    others = b"".join(box(other, content) for other, content in tables.items() if other != name)
    track = box(
        b"trak",
        box(b"mdia", box(b"minf", box(b"stbl", lie + others + box(b"stsc", struct.pack(">5I", 0, 1, 1, 1, 1))))),
    )
    survive(FTYP + box(b"mdat", bytes(64)) + box(b"moov", (lie if name == b"mvhd" else b"") + track))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(FTYP + bytes(100_000), id="boxes of size 0"),
        pytest.param(FTYP + box(b"free", size=0), id="one box to the end"),
        pytest.param(FTYP + box(b"moov", size=7), id="a box shorter than its header"),
        pytest.param(FTYP + box(b"mdat", struct.pack(">Q", 15), size=1), id="a long size shorter than its header"),
        pytest.param(FTYP + box(b"mdat", struct.pack(">Q", 2**64 - 1), size=1), id="a size of 2**64"),
        pytest.param(FTYP + box(b"moov", box(b"trak", box(b"trak", box(b"trak")))), id="nested tracks"),
        pytest.param(b"\xff\xd8" + b"\xff" * 300_000, id="a picture of fill bytes"),
        pytest.param(b"\xff\xd8\xff\xda\x00\x02" + b"\xff\x00" * 300_000, id="a scan without end"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x00" * 1000, id="segments of length 0"),
        pytest.param(b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01a" * 300_000, id="blocks of one byte"),
        pytest.param(b"RIFF\x00\x10\x00\x00WEBP" + b"VP8X\x00\x00\x00\x00" * 600, id="empty chunks"),
        pytest.param(b"ID3\x04\x00\x00\x00\x00\x00\x00" * 5000, id="tags in a row"),
        pytest.param(b"\xff\xfb\x90\x00" + b"\xff" * 300_000, id="frames nowhere"),
    ],
)
def test_endless_structures_end(data: bytes) -> None:
    """Zero-size, self-containing and endless structures are refused, not followed."""
    assert isinstance(survive(data), MediaRefused)


def test_too_many_parts_end_the_walk() -> None:
    """A file made of a million of the smallest boxes costs, in time and memory, no more than the bound allows."""
    data = FTYP + box(b"free") * MAX_PARTS
    with pytest.raises(Incomplete, match="parts"):
        inspect(io.BytesIO(data), len(data))

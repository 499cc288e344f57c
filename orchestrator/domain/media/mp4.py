"""MP4 and MOV: every box to the end, and every sample inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.domain.media import sniff
from orchestrator.domain.media.facts import END_NOT_PROVEN, FRAGMENTED, MediaFacts
from orchestrator.domain.media.reader import Reader
from orchestrator.domain.media.samples import Tables, check_samples

CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp09": "vp9",
    b"vp08": "vp8",
    b"mp4v": "mpeg4",
    b"mp4a": "aac",
    b"ap4h": "prores",
    b"apch": "prores",
}
PARTS_PER_BOX = 20
"""A box costs as much as many samples, and is kept: 50,000 of them are the most (an hour in fragments has 7,200)."""
UNKNOWN_DURATIONS = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Box:
    """One box. `start` and `end` bound its content; `offset` is where its header begins."""

    name: bytes
    offset: int
    start: int
    end: int


@dataclass
class Film:
    """What the movie header and its tracks say."""

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    is_fragmented: bool = False
    tracks: list[Tables] = field(default_factory=list)


def inspect_mp4(reader: Reader) -> MediaFacts:
    """Walk the boxes to the end of the file, then check that every sample the tables name lies inside a `mdat`."""
    boxes = list(_boxes(reader, 0, reader.size))
    names = [box.name for box in boxes]
    for needed in (b"ftyp", b"moov", b"mdat"):
        if needed not in names:
            raise reader.incomplete(f"there is no {needed.decode()} box", reader.size)
    film = _read_film(reader, next(box for box in boxes if box.name == b"moov"))
    if not film.tracks:
        raise reader.incomplete("there is no track", reader.size)
    data = [(box.start, box.end) for box in boxes if box.name == b"mdat"]
    sample_count = sum(check_samples(reader, track, data) for track in film.tracks)
    if not sample_count and not film.is_fragmented:
        raise reader.incomplete("there is no sample in any track", reader.size)
    return _facts(reader, film, names)


def _facts(reader: Reader, film: Film, names: list[bytes]) -> MediaFacts:
    notes: tuple[str, ...] = ()
    if film.is_fragmented:
        if names[-1] == b"moof":
            raise reader.incomplete("the last fragment has no data", reader.size)
        notes = (FRAGMENTED,) if names[-1] == b"mfra" else (FRAGMENTED, END_NOT_PROVEN)
    kind = sniff.sniff(reader.peek(0, 12)) or sniff.MP4
    if film.video_codec is None and kind is sniff.MP4:
        kind = sniff.M4A
    return MediaFacts(
        kind.content_type,
        kind.extension,
        film.width,
        film.height,
        film.seconds,
        film.video_codec or film.audio_codec,
        notes,
    )


def _boxes(reader: Reader, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets. Every box is at least its own header long, so the walk always ends."""
    while start < end:
        reader.count_part(start, PARTS_PER_BOX)
        if end - start < 8:
            raise reader.incomplete(f"{end - start} bytes are no box", start)
        head = reader.read(start, 8)
        size, name, header = int.from_bytes(head[:4], "big"), head[4:], 8
        if size == 1:
            size, header = reader.number(start + 8, 8), 16
        elif size == 0:
            size = end - start
        if size < header:
            raise reader.incomplete(f"box {name!r} is shorter than its own header", start)
        if start + size > end:
            raise reader.incomplete(f"box {name!r} reaches {start + size - end} bytes beyond its container", start)
        yield Box(name, start, start + header, start + size)
        start += size


def _children(reader: Reader, box: Box) -> dict[bytes, Box]:
    """Return the boxes inside `box` by name; the first of each name counts."""
    found: dict[bytes, Box] = {}
    for child in _boxes(reader, box.start, box.end):
        found.setdefault(child.name, child)
    return found


def _read_film(reader: Reader, moov: Box) -> Film:
    film = Film()
    for box in _boxes(reader, moov.start, moov.end):
        if box.name == b"mvhd":
            film.seconds = _read_duration(reader, box)
        elif box.name == b"mvex":
            film.is_fragmented = True
        elif box.name == b"trak":
            _read_track(reader, box, film)
    return film


def _read_duration(reader: Reader, box: Box) -> float | None:
    """Return the duration of a `mvhd` in seconds, None when it states none."""
    is_long = reader.number(box.start, 1) == 1
    at = box.start + (20 if is_long else 12)
    scale, duration = reader.number(at, 4), reader.number(at + 4, 8 if is_long else 4)
    if not scale or not duration or duration in UNKNOWN_DURATIONS:
        return None
    return duration / scale


def _read_track(reader: Reader, trak: Box, film: Film) -> None:
    """Add a track's tables, and its codec and sides, to `film`. A track without tables is damaged."""
    media = _descend(reader, trak, b"mdia")
    handler = _children(reader, media).get(b"hdlr")
    kind = reader.read(handler.start + 8, 4) if handler else b""
    tables = _children(reader, _descend(reader, _descend(reader, media, b"minf"), b"stbl"))
    film.tracks.append({name: (box.start, box.end) for name, box in tables.items()})
    if b"stsd" in tables and kind in (b"vide", b"soun"):
        _read_description(reader, tables[b"stsd"], film, is_video=kind == b"vide")


def _descend(reader: Reader, box: Box, name: bytes) -> Box:
    inner = _children(reader, box).get(name)
    if inner is None:
        raise reader.incomplete(f"a track without {name.decode()}", box.offset)
    return inner


def _read_description(reader: Reader, stsd: Box, film: Film, *, is_video: bool) -> None:
    """Read the first sample entry: its four letters are the codec, a film's carries the sides of its frames."""
    name = reader.read(stsd.start + 12, 4)
    codec = CODECS.get(name, name.decode("ascii", "replace").strip())
    if not is_video:
        film.audio_codec = film.audio_codec or codec
    elif film.video_codec is None:
        film.video_codec = codec
        film.width = reader.number(stsd.start + 40, 2) or None
        film.height = reader.number(stsd.start + 42, 2) or None

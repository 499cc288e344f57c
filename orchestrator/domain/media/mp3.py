"""MP3: skip the tags, walk the frames to the end, add up their duration."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.media import sniff
from orchestrator.domain.media.facts import END_NOT_PROVEN, JUNK_SKIPPED, TRAILING_BYTES, MediaFacts, Unrecognised
from orchestrator.domain.media.reader import WINDOW_BYTES, Reader

RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
END_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"3DI")
MAX_JUNK_BYTES = 1 << 16
"""Decoders look for the next frame this far and further; a file with more junk is not a recording."""
MIN_FRAMES = 2
"""One header proves little: two bytes of noise in 4,096 look like one."""


@dataclass(frozen=True)
class Frame:
    """One MPEG audio layer III frame."""

    byte_count: int
    samples: int
    rate: int
    side_bytes: int


@dataclass(frozen=True)
class Info:
    """What a Xing or Info frame says of the rest: how many frames and bytes there are, None where it is silent."""

    frame_count: int | None
    byte_count: int | None


def inspect_mp3(reader: Reader) -> MediaFacts:
    """Walk the frames to the end. Where a Xing or Info frame states a total, all of it must be there."""
    start = _skip_id3(reader)
    first = _frame_at(reader, start)
    if first is None:
        raise Unrecognised("no MPEG audio frame after the tags", offset=start)
    info = _read_info(reader, start, first)
    walk = _Walk(reader, start if info is None else start + first.byte_count)
    walk.run()
    notes = walk.notes
    if info is not None and info.byte_count is not None and start + info.byte_count > reader.size:
        raise reader.incomplete(f"the file states {info.byte_count} bytes of sound and has fewer", reader.size)
    if info is None or info.frame_count is None:
        notes = (*notes, END_NOT_PROVEN)
    elif walk.frame_count < info.frame_count:
        raise reader.incomplete(f"{info.frame_count} frames stated, {walk.frame_count} found", walk.offset)
    if info is None and walk.frame_count < MIN_FRAMES:
        raise Unrecognised("a single MPEG audio frame is no recording", offset=start)
    return MediaFacts(
        sniff.MP3.content_type, sniff.MP3.extension, duration_seconds=walk.seconds, codec="mp3", notes=notes
    )


class _Walk:
    """Frame after frame from `offset`; after `run` the totals are known."""

    def __init__(self, reader: Reader, offset: int) -> None:
        self._reader = reader
        self.offset = offset
        self.frame_count = 0
        self.seconds = 0.0
        self.notes: tuple[str, ...] = ()
        self._junk = 0

    def run(self) -> None:
        """Walk to the end of the file or to an end tag."""
        reader = self._reader
        while self.offset < reader.size:
            reader.count_part(self.offset)
            frame = _frame_at(reader, self.offset)
            if frame is not None:
                self._take(frame)
            elif reader.peek(self.offset, 11).startswith(END_TAGS) or not self._skip_junk():
                return

    def _take(self, frame: Frame) -> None:
        if self.offset + frame.byte_count > self._reader.size:
            raise self._reader.incomplete("the last frame is cut", self.offset)
        self.offset += frame.byte_count
        self.frame_count += 1
        self.seconds += frame.samples / frame.rate

    def _skip_junk(self) -> bool:
        """Go to the next frame that another one follows; False when the rest is only padding."""
        reader, start = self._reader, self.offset
        if reader.size - start < 4:
            raise reader.incomplete("the last frame is cut", start)
        window = reader.peek(start, WINDOW_BYTES)
        if not window.strip(b"\x00"):
            self.notes = (*self.notes, TRAILING_BYTES)
            return False
        budget = MAX_JUNK_BYTES - self._junk
        position = window.find(b"\xff", 1)
        while 0 < position <= budget:
            if _is_followed(reader, start + position):
                self._junk += position
                self.offset += position
                if JUNK_SKIPPED not in self.notes:
                    self.notes = (*self.notes, JUNK_SKIPPED)
                return True
            position = window.find(b"\xff", position + 1)
        raise reader.incomplete("no further frame follows", start)


def _is_followed(reader: Reader, offset: int) -> bool:
    frame = _frame_at(reader, offset)
    if frame is None:
        return False
    after = offset + frame.byte_count
    return after == reader.size or _frame_at(reader, after) is not None


def _skip_id3(reader: Reader) -> int:
    """Return the offset after any ID3v2 tags (their sizes have seven bits a byte)."""
    offset = 0
    while (head := reader.peek(offset, 10)).startswith(b"ID3"):
        reader.count_part(offset)
        if len(head) < 10 or max(head[6:10]) > 0x7F:
            raise reader.incomplete("an ID3 tag without a readable size", offset)
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        offset += 10 + size + (10 if head[5] & 0x10 else 0)
        if offset > reader.size:
            raise reader.incomplete("an ID3 tag reaches beyond the end of the file", reader.size)
    return offset


def _frame_at(reader: Reader, offset: int) -> Frame | None:
    """Read a frame header; None when these four bytes are none, or of a free bitrate, which no one uses."""
    head = reader.peek(offset, 4)
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate_index, rate_index = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    is_first = version == 3
    is_mono = head[3] >> 6 == 3
    rate = RATES[version][rate_index]
    bitrate = (BITRATES_1 if is_first else BITRATES_2)[bitrate_index] * 1000
    samples = 1152 if is_first else 576
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    return Frame(samples // 8 * bitrate // rate + (head[2] >> 1 & 1), samples, rate, side)


def _read_info(reader: Reader, offset: int, frame: Frame) -> Info | None:
    """Return what the first frame says when it is a Xing or Info frame."""
    at = offset + 4 + frame.side_bytes
    head = reader.peek(at, 16)
    if head[:4] not in (b"Xing", b"Info") or len(head) < 16:
        return None
    flags = head[7]
    frames = int.from_bytes(head[8:12], "big") if flags & 1 else None
    position = 12 if flags & 1 else 8
    size = int.from_bytes(head[position : position + 4], "big") if flags & 2 else None
    return Info(frames, size)

"""The two questions asked of a file: is it a whole media file (outputs), and what does it measure (inputs)?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from orchestrator.domain.kind import InputFacts
from orchestrator.domain.media import mp4, sniff
from orchestrator.domain.media.facts import MediaFacts, Unrecognised
from orchestrator.domain.media.mp3 import inspect_mp3
from orchestrator.domain.media.pictures import inspect_gif, inspect_jpeg, inspect_png
from orchestrator.domain.media.reader import Reader
from orchestrator.domain.media.riff import inspect_wav, inspect_webp
from orchestrator.domain.media.suspects import WRONG_CONTENT_TYPE

READERS: Mapping[sniff.Sniffed, Callable[[Reader], MediaFacts]] = {
    sniff.PNG: inspect_png,
    sniff.JPEG: inspect_jpeg,
    sniff.GIF: inspect_gif,
    sniff.WEBP: inspect_webp,
    sniff.WAV: inspect_wav,
    sniff.MP3: inspect_mp3,
    sniff.MP4: mp4.inspect_mp4,
    sniff.QUICKTIME: mp4.inspect_mp4,
    sniff.M4A: mp4.inspect_mp4,
}


def inspect(stream: BinaryIO, size: int) -> MediaFacts:
    """Walk the container in `stream` (seekable, `size` bytes) to its end and return what it is.

    Raises Incomplete (cut or damaged) or Unrecognised (no media file; code `wrong_content_type` for a document).
    """
    reader = Reader(stream, size)
    kind = sniff.sniff(reader.peek(0, sniff.HEAD_BYTES))
    if kind is None:
        raise Unrecognised("the first bytes are those of no media file we know" if size else "the file is empty")
    if kind.is_document:
        raise Unrecognised(
            f"a document ({kind.content_type}), not a media file",
            content_type=kind.content_type,
            code=WRONG_CONTENT_TYPE,
        )
    reader.content_type = kind.content_type
    return READERS[kind](reader)


def measure(stream: BinaryIO, size: int) -> InputFacts:
    """Return what an input's bytes are, for the kinds to judge (H16, H17).

    What is no media file has no `content_type`. Raises Incomplete for a file that is cut or damaged: the provider
    would refuse it too, after the charge at worst.
    """
    try:
        facts = inspect(stream, size)
    except Unrecognised:
        return InputFacts(byte_count=size, content_type=None)
    return InputFacts(size, facts.content_type, facts.width, facts.height, facts.duration_seconds)

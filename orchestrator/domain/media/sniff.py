"""Tell a file by its first bytes. Names and headers are not asked: providers and people get both wrong (E5, E6)."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 1024
"""As much as `sniff` looks at: XML prologs and comments before an SVG's root fit in it."""

BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
BLANKS = " \t\r\n\f\x00"
PICTURE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1", b"crx "})
"""ISO base media files that hold pictures, not films; none of our formats."""


@dataclass(frozen=True)
class Sniffed:
    """What the first bytes resemble. `is_document`: text that a browser would show, never a result file."""

    content_type: str
    extension: str
    is_document: bool = False


PNG = Sniffed("image/png", "png")
JPEG = Sniffed("image/jpeg", "jpg")
GIF = Sniffed("image/gif", "gif")
WEBP = Sniffed("image/webp", "webp")
WAV = Sniffed("audio/wav", "wav")
MP3 = Sniffed("audio/mpeg", "mp3")
MP4 = Sniffed("video/mp4", "mp4")
QUICKTIME = Sniffed("video/quicktime", "mov")
M4A = Sniffed("audio/mp4", "m4a")
HTML = Sniffed("text/html", "html", is_document=True)
SVG = Sniffed("image/svg+xml", "svg", is_document=True)
XML = Sniffed("application/xml", "xml", is_document=True)
JSON = Sniffed("application/json", "json", is_document=True)


def sniff(head: bytes) -> Sniffed | None:
    """Return what the first bytes (up to HEAD_BYTES) resemble, None when nothing we know."""
    return _sniff_media(head) or _sniff_document(head[:HEAD_BYTES])


def _sniff_media(head: bytes) -> Sniffed | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return GIF
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"WAVE": WAV}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _sniff_brand(head[8:12])
    if head.startswith(b"ID3") or _is_mp3_sync(head):
        return MP3
    return None


def _sniff_brand(brand: bytes) -> Sniffed | None:
    if brand in PICTURE_BRANDS:
        return None
    if brand == b"qt  ":
        return QUICKTIME
    return M4A if brand in (b"M4A ", b"M4B ") else MP4


def _is_mp3_sync(head: bytes) -> bool:
    """Return True for an MPEG audio layer III header; the reader proves it by walking to the next ones."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    is_layer_three = head[1] & 0x06 == 0x02
    return is_layer_three and head[1] & 0x18 != 0x08 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C


def _sniff_document(head: bytes) -> Sniffed | None:
    text = _decode(head).lstrip(BLANKS).lower()
    if text[:1] in ("{", "[") and text:
        return JSON
    if not text.startswith("<"):
        return None
    if "<svg" in text:
        return SVG
    if text.startswith("<?xml") and "<html" not in text:
        return XML
    return HTML


def _decode(head: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "replace")
    return head.decode("latin-1")

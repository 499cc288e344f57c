"""Thumbnails: a small JPEG beside an archived picture or film. Made again at any time, so never a reason to do anything else."""

from __future__ import annotations

from dataclasses import dataclass

THUMBNAIL_TYPE = "image/jpeg"
_SUFFIXES = {
    **dict.fromkeys(("png", "jpg", "gif", "webp"), "thumb.jpg"),
    **dict.fromkeys(("mp4", "mov"), "poster.jpg"),
}


@dataclass(frozen=True)
class Thumbnail:
    """What is known of a thumbnail that the archive holds; where it lies follows from its output's key."""

    byte_count: int
    sha256: str
    width: int
    height: int


def thumbnail_key(key: str) -> str | None:
    """Return the key of the thumbnail of the output at `key`: `<key>.thumb.jpg` of a picture, `<key>.poster.jpg` of a
    film; None for what has none. A name of its own for each output's bytes: nothing has to be looked up to remove it.
    """
    suffix = _SUFFIXES.get(key.rpartition(".")[2])
    return f"{key}.{suffix}" if suffix else None

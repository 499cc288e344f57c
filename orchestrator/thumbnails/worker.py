"""A script: makes the thumbnail of the file argv[1], of the content type argv[2], no side longer than argv[3] pixels.
What decodes is looked for in the folders argv[4:] too.

The JPEG goes to stdout; why there is none goes to stderr, with an exit code other than 0. Imports nothing of ours: it
decodes what strangers sent, so it starts with limits on memory, time and files, and knows no setting and no key.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

sys.path += sys.argv[4:]

import av
from PIL import Image, ImageOps

MOST_PIXELS = 64_000_000
"""Of a picture or a frame, as its header declares them: four times what any kind makes, and 256 MB once decoded."""
MOST_MEMORY = 1 << 30
MOST_WRITTEN = 1 << 20
MOST_SECONDS = 30
"""Longer than the parent waits: this one ends a process whose parent has died."""
MOST_FRAMES = 150
FIRST_SECONDS = 5.0
DARK = 32
"""Of 255. A frame is black when all but a fiftieth of it is darker."""
QUALITY = 82
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}
FILMS = ("video/mp4", "video/quicktime")
ALONE = {"enable_drefs": "0", "protocol_whitelist": "none"}
"""A film may name other files and addresses as where its pictures are: none is ever opened."""


def main(path: str, content_type: str, pixels: int) -> None:
    """Write the thumbnail to stdout, or leave with a sentence."""
    _limit()
    with open(path, "rb") as source:  # noqa: PTH123 - nothing more than is needed is imported here
        if content_type in FILMS:
            picture = take_poster(source, pixels)
        elif content_type in FORMATS:
            picture = shrink_picture(source, FORMATS[content_type], pixels)
        else:
            raise SystemExit(f"no thumbnail is made of {content_type}")
    out = io.BytesIO()
    picture.info.clear()  # comments of strangers are nothing to look at
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    sys.stdout.buffer.write(out.getvalue())


def shrink_picture(source: BinaryIO, form: str, pixels: int) -> Image.Image:
    """Return the picture upright, on white, no side longer than `pixels`. Of a moving one its first frame."""
    with Image.open(source, formats=[form]) as opened:
        _refuse_huge(*opened.size)
        opened.draft("RGB", (pixels, pixels))  # a JPEG is decoded at an eighth where that is enough
        picture = _plain(opened)
        picture.thumbnail((pixels, pixels), reducing_gap=3.0)
        return _on_white(ImageOps.exif_transpose(picture))


def take_poster(source: BinaryIO, pixels: int) -> Image.Image:
    """Return the first frame that is not black among those of the first seconds; else the first. Upright."""
    first: Image.Image | None = None
    with av.open(source, "r", format="mov", options=ALONE) as film:
        if not film.streams.video:
            raise SystemExit("it has no pictures")
        stream = film.streams.video[0]
        stream.thread_type = "NONE"
        _refuse_huge(stream.codec_context.width, stream.codec_context.height)
        for frame in islice(film.decode(stream), MOST_FRAMES):
            if first is not None and (frame.time or 0.0) > FIRST_SECONDS:
                break
            _refuse_huge(frame.width, frame.height)
            scale = min(1.0, pixels / max(frame.width, frame.height))
            sides = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
            shrunk = frame.reformat(width=sides[0], height=sides[1], format="rgb24")
            small: Image.Image = shrunk.to_image()  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
            small = _turn(small, frame.rotation)
            if not _is_black(small):
                return small
            first = first or small
    if first is None:
        raise SystemExit("no frame of it can be decoded")
    return first


def _limit() -> None:
    """Whatever the decoders do then, they do it within these. macOS knows no limit of memory and says so."""
    signal.alarm(MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound(resource.RLIMIT_FSIZE, MOST_WRITTEN)
    if sys.platform == "linux":
        _bound(resource.RLIMIT_AS, MOST_MEMORY)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - a sandbox may hide it
            score.write("999")  # where memory runs out, this process goes first, and not the one with paid calls


def _bound(kind: int, most: int) -> None:
    """Lower a limit: who set a lower one already stays right."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _turn(picture: Image.Image, degrees: int) -> Image.Image:
    """Turn a frame by quarters, as cameras do. Other angles are damage: those of an empty matrix are no number at all."""
    quarters = round(degrees / 90) if -180 <= degrees <= 180 else 0
    return picture.rotate(quarters * 90, expand=True) if quarters else picture


def _refuse_huge(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise SystemExit(f"{width}x{height} is more than {MOST_PIXELS // 1_000_000} megapixels")


def _plain(picture: Image.Image) -> Image.Image:
    """Return it in a mode that shrinks well: palettes and deep greys do not."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    if picture.mode == "P" or "transparency" in picture.info:
        return picture.convert("RGBA")
    picture.load()
    return picture if picture.mode in ("RGB", "RGBA", "L", "LA") else picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA"):
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
        return flat
    return picture.convert("RGB")


def _is_black(picture: Image.Image) -> bool:
    greys = picture.convert("L").histogram()
    return sum(greys[:DARK]) * 50 >= sum(greys) * 49


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

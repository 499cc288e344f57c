"""Draws what the simulated models make: a plain picture of exactly the size asked for, with its prompt on it. The same
words and seed give the same bytes. Pure; slow enough to belong off the event loop.
"""

import colorsys
import io
import random
import textwrap

from PIL import Image, ImageDraw, ImageFont

WORDS_LIMIT = 400
# Fast rather than small: the pictures are gradients, which shrink well anyway.
PNG_EFFORT = 1
JPEG_QUALITY = 80


def draw(width: int, height: int, *, key: str, words: str = "", mark: str = "") -> Image.Image:
    """A picture in colours of its key with the words across it and the mark in a corner."""
    picture = backdrop(width, height, key=key)
    canvas = ImageDraw.Draw(picture)
    size = max(10, min(width, height) // 22)
    if words:
        per_line = max(8, int(width * 0.9 / (size * 0.55)))
        lines = textwrap.fill(words[:WORDS_LIMIT], per_line)
        canvas.multiline_text((width * 0.05, height * 0.08), lines, fill="white", font=_font(size), spacing=size // 3)
    if mark:
        canvas.text((width * 0.05, height - 2 * size), mark, fill=(255, 255, 255), font=_font(size))
    return picture


def backdrop(width: int, height: int, *, key: str) -> Image.Image:
    """A gradient between two colours that the key decides."""
    rng = random.Random(f"colours of {key}")
    hue = rng.random()
    one, two = (_colour(hue, 0.75, 0.35), _colour(hue + rng.uniform(0.1, 0.3), 0.6, 0.7))
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize((width, height))
    return Image.composite(Image.new("RGB", (width, height), one), Image.new("RGB", (width, height), two), ramp)


def as_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=PNG_EFFORT)
    return out.getvalue()


def as_jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

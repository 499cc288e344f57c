"""The pictures handed in with a video request (zai-api.md section 3.2): links are checked for form and never fetched;
base64 is decoded and measured.
"""

import base64
import binascii
import io
from dataclasses import dataclass
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

from orchestrator.sandbox.catalog import COGVIDEO_PICTURE_BYTES, VIDU_PICTURE_BYTES, VideoModel
from orchestrator.sandbox.errors import Refusal, invalid

FIELD = "image_url"
LEAST_REFERENCE_SIDE = 128
AREA_RATIO = (0.8, 1.25)  # of the first frame to the last
SIDE_RATIO = 4  # 1:4 to 4:1
# Enough for any picture the rules allow; more is a bomb.
MOST_PIXELS = 80_000_000


@dataclass(frozen=True)
class Picture:
    """A picture's size; 0 x 0 when it is a link."""

    width: int = 0
    height: int = 0


def check_pictures(value: object, model: VideoModel) -> list[Picture]:
    """The pictures of `image_url`, a string or a list as the model wants it; [] for a model that takes none."""
    least, most = model.pictures
    if most == 0 or value is None or value in ("", []):
        return []
    if model.picture_form == "string" and isinstance(value, list) and len(value) != 1:
        raise invalid(FIELD, "one string is needed.")
    if model.picture_form == "list" and not isinstance(value, list):
        raise invalid(FIELD, "a list is needed.")
    items = value if isinstance(value, list) else [value]
    if not least <= len(items) <= most:
        raise invalid(FIELD, f"{least} to {most} pictures are allowed.")
    pictures = [_picture(item, model) for item in items]
    if model.family == "vidu":
        _check_shapes(pictures, model)
    return pictures


def _picture(item: object, model: VideoModel) -> Picture:
    if not isinstance(item, str) or not item.strip():
        raise invalid(FIELD, "a link or base64 is needed.")
    if item.startswith(("http://", "https://")):
        _check_link(item)
        return Picture()
    head, comma, data = item.partition(",")
    is_data_url = comma and head.startswith("data:image/") and head.endswith(";base64")
    if not is_data_url and (model.family == "vidu" or item.startswith("data:")):
        raise invalid(FIELD, "base64 must begin with data:image/...;base64,")
    return _measured(data if is_data_url else item, model)


def _check_link(link: str) -> None:
    try:
        host = urlsplit(link).hostname
    except ValueError:
        host = None
    if not host:
        raise invalid(FIELD, "the link has no host.")


def _measured(data: str, model: VideoModel) -> Picture:
    limit = VIDU_PICTURE_BYTES if model.family == "vidu" else COGVIDEO_PICTURE_BYTES
    formats = ("PNG", "JPEG", "WEBP") if model.family == "vidu" else ("PNG", "JPEG")
    if len(data) * 3 // 4 > limit + 2:
        raise invalid(FIELD, f"a picture may have at most {limit // 2**20} MB.")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(FIELD, "the base64 cannot be decoded.") from error
    try:
        with Image.open(io.BytesIO(raw), formats=formats) as picture:
            width, height = picture.size
            if width * height <= MOST_PIXELS:
                picture.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refusal("1210", f"The picture in {FIELD} cannot be read as {', '.join(formats)}.") from error
    if width * height > MOST_PIXELS:
        raise invalid(FIELD, "the picture has too many pixels.")
    return Picture(width, height)


def _check_shapes(pictures: list[Picture], model: VideoModel) -> None:
    known = [picture for picture in pictures if picture.width]
    for picture in known:
        if max(picture.width, picture.height) > SIDE_RATIO * min(picture.width, picture.height):
            raise invalid(FIELD, "sides must be between 1:4 and 4:1.")
        if model.name == "vidu2-reference" and min(picture.width, picture.height) < LEAST_REFERENCE_SIDE:
            raise invalid(FIELD, f"each side must have at least {LEAST_REFERENCE_SIDE} pixels.")
    if model.name.endswith("-start-end") and len(known) == 2:
        ratio = (known[0].width * known[0].height) / (known[1].width * known[1].height)
        if not AREA_RATIO[0] <= ratio <= AREA_RATIO[1]:
            raise invalid(FIELD, "the areas of both frames must be within 0.8 to 1.25 of each other.")

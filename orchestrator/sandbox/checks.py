"""What the provider checks before it accepts a task (zai-api.md sections 1.5, 2, 3.2): a body in, an `Order` out, or a
Refusal. Unknown fields are ignored and null means absent. Where the documents contradict each other (quality in
first-and-last-frame mode), the lenient reading holds.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from orchestrator.sandbox.catalog import MODELS, ImageModel, Model, VideoModel
from orchestrator.sandbox.errors import Refusal, invalid, missing
from orchestrator.sandbox.pictures_in import Picture, check_pictures
from orchestrator.sandbox.store import Shot
from orchestrator.sandbox.world import Order

M = TypeVar("M", bound=Model)
VIDEO_PROMPT_LIMIT = 512
ASPECT_RATIOS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}


def check_image(body: Mapping[str, Any], *, route: str) -> Order:
    """POST /images/generations (route `sync`) and /async/images/generations (route `async`, glm-image only)."""
    model = find_model(body, ImageModel)
    if route == "async" and not model.is_asynchronous:
        raise Refusal("1212")
    prompt = text(body, "prompt", most=model.prompt_limit)
    if not prompt:
        raise missing("prompt")
    choice(body, "quality", model.qualities)
    width, height = _image_size(model, text(body, "size") or model.default_size)
    return Order(
        kind="image",
        route=route,
        model=model.name,
        price=model.price,
        prompt=prompt,
        request_id=identifiers(body),
        picture=Shot(width, height, has_watermark=_watermark(body)),
    )


def check_video(body: Mapping[str, Any]) -> Order:
    """POST /videos/generations."""
    model = find_model(body, VideoModel)
    prompt = text(body, "prompt", most=VIDEO_PROMPT_LIMIT) or ""
    pictures = check_pictures(body.get("image_url"), model)
    _check_subject(model, prompt, pictures)
    _check_choices(body, model)
    width, height = _video_size(body, model, pictures)
    return Order(
        kind="video",
        route="async",
        model=model.name,
        price=model.price,
        prompt=prompt,
        request_id=identifiers(body),
        picture=Shot(
            width,
            height,
            seconds=whole_choice(body, "duration", model.durations) or model.durations[0],
            fps=(whole_choice(body, "fps", (30, 60)) or 30) if model.family == "cogvideo" else 24,
            has_audio=flag(body, "with_audio", default=False) and model.pictures != (0, 0),
            has_watermark=_watermark(body),
        ),
    )


def find_model(body: Mapping[str, Any], form: type[M]) -> M:
    """The model named in the body: 1213 without one, 1211 for an unknown one, 1212 for one of another endpoint."""
    name = text(body, "model")
    if not name:
        raise missing("model")
    model = MODELS.get(name.lower())
    if model is None:
        raise Refusal("1211", f"The model {name[:80]} does not exist.")
    if not isinstance(model, form):
        raise Refusal("1212")
    return model


def identifiers(body: Mapping[str, Any]) -> str | None:
    """Checks request_id and user_id; the request_id, when the caller chose one (section 1.5)."""
    for name, most in (("request_id", 64), ("user_id", 128)):
        value = text(body, name)
        if value and not 6 <= len(value) <= most:
            raise invalid(name, f"it must have 6 to {most} characters.")
    return text(body, "request_id") or None


def text(body: Mapping[str, Any], name: str, *, most: int | None = None) -> str | None:
    """A text field; 1214 for another type, 1261 for a text that is too long."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(name, "a string is needed.")
    if most is not None and len(value) > most:
        raise Refusal("1261", f"The parameter {name} is longer than {most} characters.")
    return value


def flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A true-or-false field."""
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise invalid(name, "true or false is needed.")
    return value


def choice(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    """A text field out of a list."""
    value = text(body, name)
    if value is not None and value not in allowed:
        raise invalid(name, f"it must be one of {', '.join(allowed)}.")
    return value


def whole_choice(body: Mapping[str, Any], name: str, allowed: tuple[int, ...]) -> int | None:
    """A whole-number field out of a list."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise invalid(name, f"it must be one of {', '.join(map(str, allowed))}.")
    return value


def _watermark(body: Mapping[str, Any]) -> bool:
    return flag(body, "watermark_enabled", default=True)


def _image_size(model: ImageModel, size: str) -> tuple[int, int]:
    width, height = _sides(size)
    if not all(model.least_side <= side <= model.most_side for side in (width, height)):
        raise invalid("size", f"each side must be {model.least_side} to {model.most_side}.")
    if width % model.multiple or height % model.multiple:
        raise invalid("size", f"each side must be a multiple of {model.multiple}.")
    if width * height > model.most_pixels:
        raise invalid("size", f"at most {model.most_pixels} pixels are allowed.")
    return width, height


def _sides(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", size, re.ASCII)
    if not found:
        raise invalid("size", "WIDTHxHEIGHT is needed.")
    return int(found[1]), int(found[2])


def _check_subject(model: VideoModel, prompt: str, pictures: list[Picture]) -> None:
    least, most = model.pictures
    if model.needs_prompt and not prompt:
        raise missing("prompt")
    if least and not pictures:
        raise missing("image_url")
    if most and not prompt and not pictures:
        raise Refusal("1213", "The parameters prompt and image_url were both not received.")


def _check_choices(body: Mapping[str, Any], model: VideoModel) -> None:
    if model.family == "cogvideo":
        choice(body, "quality", ("speed", "quality"))
        return
    choice(body, "movement_amplitude", ("auto", "small", "medium", "large"))
    if model.has_style:
        choice(body, "style", ("general", "anime"))
    if model.has_aspect_ratio:
        choice(body, "aspect_ratio", tuple(ASPECT_RATIOS))


def _video_size(body: Mapping[str, Any], model: VideoModel, pictures: list[Picture]) -> tuple[int, int]:
    size = choice(body, "size", model.sizes)
    if size is None and model.default_size is None:
        return _size_of_source(pictures)
    width, height = _sides(size or model.default_size or "")
    if not model.has_aspect_ratio:
        return width, height
    across, down = ASPECT_RATIOS[body.get("aspect_ratio", "16:9")]
    short, long = sorted((width, height))
    return (short if across <= down else long), (short if across >= down else long)


def _size_of_source(pictures: list[Picture]) -> tuple[int, int]:
    """Section 3.2: short side 1080, long side as in the source; a link is not fetched and counts as 16:9."""
    width, height = next(((p.width, p.height) for p in pictures if p.width), (1920, 1080))
    long = min(round(1080 * max(width, height) / min(width, height) / 2) * 2, 3840)
    return (long, 1080) if width >= height else (1080, long)

"""The media models on offer: what each takes, costs and how many slots it has (zai-api.md sections 2, 3.1, 3.2, 10).
Plain data; `checks` reads it.
"""

from dataclasses import dataclass

COGVIDEO_PICTURE_BYTES = 5 * 1024 * 1024
VIDU_PICTURE_BYTES = 50 * 1024 * 1024
LARGE_SIZES = ("1920x1080", "1080x1920", "2048x1080", "3840x2160")
COGVIDEOX_3_SIZES = ("1280x720", "720x1280", "1024x1024", *LARGE_SIZES)
COGVIDEOX_2_SIZES = ("720x480", "1024x1024", "1280x960", "960x1280", *LARGE_SIZES)


@dataclass(frozen=True)
class Model:
    """One model: `spelled` is the other case in which answers sometimes name it (section 4.2); price in USD."""

    name: str
    kind: str
    spelled: str
    price: str
    slots: int


@dataclass(frozen=True)
class ImageModel(Model):
    """Limits of a picture's sides (section 2.2)."""

    default_size: str
    least_side: int
    most_side: int
    multiple: int
    most_pixels: int
    prompt_limit: int
    qualities: tuple[str, ...]
    is_asynchronous: bool = False


@dataclass(frozen=True)
class VideoModel(Model):
    """What a video model takes (section 3.2). `pictures` is the least and most number of input pictures and
    `picture_form` how they may be written; `default_size` None means: derived from the source.
    """

    family: str
    pictures: tuple[int, int]
    picture_form: str
    sizes: tuple[str, ...]
    default_size: str | None
    durations: tuple[int, ...]
    has_aspect_ratio: bool = False
    has_style: bool = False
    needs_prompt: bool = False


def _glm_image() -> ImageModel:
    rules = ("1280x1280", 1024, 2048, 32, 2**22, 1000, ("hd",))
    return ImageModel("glm-image", "image", "GLM-Image", "0.015", 1, *rules, is_asynchronous=True)


def _image(name: str, spelled: str, price: str) -> ImageModel:
    rules = ("1024x1024", 512, 2048, 16, 2**21, 4000, ("standard", "hd"))
    return ImageModel(name, "image", spelled, price, 5, *rules)


def _cogvideo(name: str, spelled: str, price: str, most: int, sizes: tuple[str, ...], size: str | None) -> VideoModel:
    return VideoModel(name, "video", spelled, price, 1, "cogvideo", (0, most), "any" if most > 1 else "string", sizes,
                      size, (5, 10))  # fmt: skip


def _vidu(name: str, spelled: str, price: str, pictures: tuple[int, int], form: str, *sizes: str) -> VideoModel:
    seconds = 5 if name.startswith("viduq1") else 4
    reference, text = name.endswith("-reference"), name.endswith("-text")
    return VideoModel(name, "video", spelled, price, 5, "vidu", pictures, form, sizes, sizes[0], (seconds,),
                      has_aspect_ratio=reference or text, has_style=text, needs_prompt=text)  # fmt: skip


# Slots: the February 2026 snapshot of section 10.1; models it does not name get the figure of their nearest relative.
MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        _glm_image(),
        _image("cogview-4-250304", "CogView-4-250304", "0.01"),
        _image("cogview-4", "CogView-4", "0.01"),
        _image("cogview-3-flash", "CogView-3-Flash", "0"),
        _image("cogview-3-plus", "CogView-3-Plus", "0.01"),
        _image("cogview-3", "CogView-3", "0.01"),
        _cogvideo("cogvideox-3", "CogVideoX-3", "0.20", 2, COGVIDEOX_3_SIZES, None),
        _cogvideo("cogvideox-2", "CogVideoX-2", "0.20", 1, COGVIDEOX_2_SIZES, "720x480"),
        _cogvideo("cogvideox-flash", "CogVideoX-Flash", "0", 1, COGVIDEOX_2_SIZES, "720x480"),
        _cogvideo("cogvideox", "CogVideoX", "0.20", 1, COGVIDEOX_2_SIZES, "720x480"),
        _vidu("viduq1-text", "ViduQ1-Text", "0.40", (0, 0), "none", "1920x1080"),
        _vidu("viduq1-image", "ViduQ1-Image", "0.40", (1, 1), "string", "1920x1080"),
        _vidu("viduq1-start-end", "ViduQ1-Start-End", "0.40", (1, 2), "list", "1920x1080"),
        _vidu("vidu2-image", "Vidu2-Image", "0.20", (1, 1), "string", "1280x720"),
        _vidu("vidu2-start-end", "Vidu2-Start-End", "0.20", (1, 2), "list", "1280x720", "480x360"),
        _vidu("vidu2-reference", "Vidu2-Reference", "0.40", (1, 3), "list", "1280x720", "720x480"),
        # Priced by the minute of sound, see `transcription_price`.
        Model("glm-asr-2512", "transcription", "GLM-ASR-2512", "0.0024", 5),
        Model("glm-asr", "transcription", "GLM-ASR", "0.0024", 5),
    )
}


def transcription_price(seconds: float) -> str:
    """About 0.0024 USD a minute (section 10.2), in whole micro-dollars so that no float reaches the ledger."""
    micros = round(2400 * seconds / 60)
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

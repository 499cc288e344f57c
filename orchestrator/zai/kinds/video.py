"""Videos: always a task to poll; nine models with a parameter matrix (zai-api.md 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json, Price, Role
from orchestrator.domain.kind import CellType, InputFacts, InputSlot, Model
from orchestrator.domain.retry import PollSchedule
from orchestrator.zai import wire
from orchestrator.zai.bodies import REQUEST_ID_REASON, Spec, check_fields, check_model, is_blank
from orchestrator.zai.fields import USER_ID, Anything, Choice, Flag, Rule, TextRule, Whole, WordFilter, cell_type
from orchestrator.zai.links import is_usable_link
from orchestrator.zai.pictures import MIB, PictureLimits, Pictures, area_faults, param_of, picture_slots
from orchestrator.zai.prices import usd
from orchestrator.zai.route import Link, Route, ZaiKind
from orchestrator.zai.sizes import SizeList, SizeText

PROMPT = TextRule(at_most=512, too_long_code="prompt_too_long")
PNG_JPEG = ("image/png", "image/jpeg")
COGVIDEO_PICTURE = PictureLimits(PNG_JPEG, 5 * MIB)
VIDU_PICTURE = PictureLimits((*PNG_JPEG, "image/webp"), 50 * MIB, widest=4.0)
VIDU_SUBJECT = PictureLimits((*PNG_JPEG, "image/webp"), 50 * MIB, widest=4.0, shortest_side=128)

ONE_PICTURE = Pictures(1, 1, may_be_text=True, may_be_list=False)
ONE_OR_FRAMES = Pictures(1, 2, may_be_text=True, may_be_list=True)  # two pages disagree: take both forms (3.2)
TWO_FRAMES = Pictures(2, 2, may_be_text=False, may_be_list=True)  # the schema says 1-2, the text demands two
SUBJECTS = Pictures(1, 3, may_be_text=False, may_be_list=True)

COGVIDEO_3_SIZES = SizeList(("1280x720", "720x1280", "1024x1024", "1920x1080", "1080x1920", "2048x1080", "3840x2160"))
COGVIDEO_2_SIZES = SizeList(
    ("720x480", "1024x1024", "1280x960", "960x1280", "1920x1080", "1080x1920", "2048x1080", "3840x2160")
)
FULL_HD = SizeList(("1920x1080",))
HD = SizeList(("1280x720",))

COMMON: Mapping[str, Rule] = {
    "prompt": PROMPT,
    "watermark_enabled": Flag(),
    "user_id": USER_ID,
    "sensitive_word_check": WordFilter(),
}
COGVIDEO: Mapping[str, Rule] = {
    **COMMON,
    "quality": Choice(("speed", "quality")),
    "with_audio": Flag(),
    "fps": Whole((30, 60)),
}
VIDU: Mapping[str, Rule] = {**COMMON, "movement_amplitude": Choice(("auto", "small", "medium", "large"))}
ASPECT = Choice(("16:9", "9:16", "1:1"))
FIVE, FOUR = Whole((5,)), Whole((4,))

OFTEN_SENT = {"duration": (Whole((5, 10)), "is not documented for this model, though callers send it")}
VIDU_SDK = {"off_peak": (Flag(), "stands only in the Python SDK")}
JAVA_SDK: dict[str, tuple[Rule, str]] = {"prompt_opt_model": (Anything(), "stands only in the Java SDK")}


@dataclass(frozen=True)
class VideoModel:
    """One row of the model table (3.1). `needs` is what a request cannot do without: prompt, image_url, or either."""

    slots: int
    price: Price | None
    needs: str
    rules: Mapping[str, Rule]
    undocumented: Mapping[str, tuple[Rule, str]]
    picture: PictureLimits | None = None
    takes_frames: bool = False


def _cogvideo(price: Price | None, **rules: Rule) -> VideoModel:
    """A model of 10.2's first family; slots of cogvideox-3 as one account had in February 2026 (10.1), the others 1.

    No page prices cogvideox-2.
    """
    undocumented = {**JAVA_SDK} if "duration" in rules else {**JAVA_SDK, **OFTEN_SENT}
    return VideoModel(1, price, "either", {**COGVIDEO, **rules}, undocumented, COGVIDEO_PICTURE)


def _vidu(
    price: int, needs: str, picture: PictureLimits | None, *, takes_frames: bool = False, **rules: Rule
) -> VideoModel:
    """A Vidu model; each had 5 slots in February 2026 (10.1)."""
    audio: dict[str, Rule] = {} if picture is None else {"with_audio": Flag()}
    undocumented = {**JAVA_SDK, **VIDU_SDK}
    return VideoModel(5, usd(price), needs, {**VIDU, **audio, **rules}, undocumented, picture, takes_frames)


TABLE: Mapping[str, VideoModel] = {
    "cogvideox-3": _cogvideo(usd(200_000), image_url=ONE_OR_FRAMES, size=COGVIDEO_3_SIZES, duration=Whole((5, 10))),
    "cogvideox-2": _cogvideo(None, image_url=ONE_PICTURE, size=COGVIDEO_2_SIZES),
    "cogvideox-flash": _cogvideo(usd(0), image_url=ONE_PICTURE, size=COGVIDEO_2_SIZES),
    "viduq1-text": _vidu(
        400_000,
        "prompt",
        None,
        size=FULL_HD,
        duration=FIVE,
        aspect_ratio=ASPECT,
        style=Choice(("general", "anime")),
    ),
    "viduq1-image": _vidu(400_000, "image_url", VIDU_PICTURE, image_url=ONE_PICTURE, size=FULL_HD, duration=FIVE),
    "viduq1-start-end": _vidu(
        400_000, "image_url", VIDU_PICTURE, takes_frames=True, image_url=TWO_FRAMES, size=FULL_HD, duration=FIVE
    ),
    "vidu2-image": _vidu(200_000, "image_url", VIDU_PICTURE, image_url=ONE_PICTURE, size=HD, duration=FOUR),
    "vidu2-start-end": _vidu(
        200_000,
        "image_url",
        VIDU_PICTURE,
        takes_frames=True,
        image_url=TWO_FRAMES,
        size=SizeList(("1280x720",), doubtful=("480x360",)),
        duration=FOUR,
    ),
    "vidu2-reference": _vidu(
        400_000,
        "image_url",
        VIDU_SUBJECT,
        image_url=SUBJECTS,
        size=SizeList(("1280x720",), doubtful=("720x480",)),
        duration=FOUR,
        aspect_ratio=ASPECT,
    ),
}
EVERY_FIELD = frozenset(name for model in TABLE.values() for name in model.rules)
ANY_PICTURES = Pictures(1, 8, may_be_text=True, may_be_list=True)
UNKNOWN_MODEL = Spec(
    {**dict.fromkeys(EVERY_FIELD, Anything()), **COMMON, "image_url": ANY_PICTURES, "size": SizeText()},
    {**JAVA_SDK, **VIDU_SDK},
    {"request_id": REQUEST_ID_REASON},
)


class VideoKind(ZaiKind):
    """One video per job, with its cover picture where the provider gives one."""

    name = "video"
    url_aliases = ("videos/generations",)
    models: Mapping[str, Model] = {name: Model(name, row.slots, row.price) for name, row in TABLE.items()}
    default_model = "cogvideox-3"
    schedule = PollSchedule(first=timedelta(seconds=5), shortest=timedelta(seconds=5), longest=timedelta(seconds=30))
    call_deadline = timedelta(seconds=60)
    assumed_task_life = timedelta(hours=1)  # 6-10 minutes at busy hours (3.3, T), six times that
    usual_duration = timedelta(minutes=8)  # 6-10 minutes at busy hours (3.3, T)
    link_life = timedelta(days=1)  # the shortest that is documented or was seen (4.7)
    archive_class = "video"

    def field_types(self) -> Mapping[str, CellType]:
        rules = {name: rule for row in TABLE.values() for name, rule in row.rules.items()}
        undocumented = {name: rule for row in TABLE.values() for name, (rule, _) in row.undocumented.items()}
        return {"model": CellType.TEXT, **{name: cell_type(rule) for name, rule in {**undocumented, **rules}.items()}}

    def check(self, body: Json, *, allow_unknown_model: bool = False) -> list[Fault]:
        model = body.get("model")
        row = TABLE.get(model) if isinstance(model, str) else None
        spec = Spec(row.rules, row.undocumented, UNKNOWN_MODEL.refused) if row else UNKNOWN_MODEL
        return [
            *check_model(body, TABLE, self.default_model, allow_unknown_model=allow_unknown_model),
            *_missing(body, row.needs if row else "either"),
            *check_fields(body, spec, model=str(model), kind_fields=EVERY_FIELD),
            *_frames_with_quality(body),
            *_music_of_five_seconds(body),
        ]

    def input_slots(self, body: Json) -> Sequence[InputSlot]:
        return picture_slots(body, "image_url")

    def check_input(self, body: Json, slot: InputSlot, facts: InputFacts) -> list[Fault]:
        row = TABLE.get(str(body.get("model")))
        limits = row.picture if row and row.picture else VIDU_PICTURE
        return list(limits.faults(param_of(slot), facts))

    def check_inputs_together(self, body: Json, facts: Sequence[tuple[InputSlot, InputFacts]]) -> list[Fault]:
        row = TABLE.get(str(body.get("model")))
        return area_faults(facts, least=0.8, most=1.25) if row and row.takes_frames else []

    def gives_task(self, model: str) -> bool:
        return True

    def makes(self, body: Json) -> Mapping[int, Role]:
        return {0: Role.VIDEO, 1: Role.COVER}

    def route(self, body: Json) -> Route:
        return Route("/videos/generations")

    def read_links(self, answer: Json) -> Sequence[Link]:
        """Element k gives outputs 2k (video) and 2k + 1 (cover): the same numbers at every ask (4.2)."""
        links: list[Link] = []
        seen: set[str] = set()
        for place, item in enumerate(wire.items_of(answer.get("video_result"))):
            url, cover = item.get("url"), item.get("cover_image_url")
            if not isinstance(url, str) or not is_usable_link(url) or url in seen:
                continue
            seen.add(url)
            links.append(Link(2 * place, Role.VIDEO, url))
            if isinstance(cover, str) and is_usable_link(cover):
                links.append(Link(2 * place + 1, Role.COVER, cover))
        return links


def _missing(body: Json, needs: str) -> list[Fault]:
    has_prompt, has_picture = not is_blank(body.get("prompt")), body.get("image_url") not in (None, "", [], ())
    if needs == "prompt" and not has_prompt:
        return [Fault("missing_prompt", "prompt", "prompt is missing; this model makes videos from text alone")]
    if needs == "image_url" and not has_picture:
        return [Fault("missing_image_url", "image_url", "image_url is missing; this model starts from pictures")]
    if needs == "either" and not has_prompt and not has_picture:
        return [Fault("missing_prompt", "prompt", "prompt and image_url are both missing; give at least one")]
    return []


def _frames_with_quality(body: Json) -> list[Fault]:
    """First and last frame go with quality=speed only (3.2; Z.ai's own example contradicts it)."""
    pictures = body.get("image_url")
    has_frames = isinstance(pictures, list | tuple) and len(pictures) == 2
    if body.get("model") != "cogvideox-3" or not has_frames or body.get("quality") != "quality":
        return []
    message = 'quality is "quality"; with a first and a last frame only "speed" is allowed'
    return [Fault("invalid_quality", "quality", message, "speed")]


def _music_of_five_seconds(body: Json) -> list[Fault]:
    if body.get("with_audio") is not True or body.get("model") not in ("viduq1-image", "viduq1-start-end"):
        return []
    message = "one of the provider's platforms documents with_audio for clips of 4 s only; these last 5 s"
    return [Fault("undocumented_value", "with_audio", message, is_warning=True)]


KIND = VideoKind()

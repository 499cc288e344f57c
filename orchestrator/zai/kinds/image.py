"""Pictures: `glm-image` over the asynchronous endpoint, every other model over the immediate one (zai-api.md 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json, Role
from orchestrator.domain.kind import CellType, InputFacts, InputSlot, Model
from orchestrator.domain.retry import PollSchedule
from orchestrator.zai import wire
from orchestrator.zai.bodies import REQUEST_ID_REASON, Spec, check_fields, check_model, is_blank
from orchestrator.zai.fields import USER_ID, Anything, Choice, Flag, Rule, TextRule, WordFilter, cell_type
from orchestrator.zai.links import is_usable_link
from orchestrator.zai.prices import usd
from orchestrator.zai.route import Link, Route, Text, ZaiKind
from orchestrator.zai.sizes import SizeGrid, SizeText

ASYNC_MODEL = "glm-image"
"""The only model of the asynchronous endpoint (2.4): its answer is a task id, so a lost answer leaves less to doubt."""

GLM_SIZES = SizeGrid(
    ("1280x1280", "1568x1056", "1056x1568", "1472x1088", "1088x1472", "1728x960", "960x1728"), 1024, 2048, 32, 2**22
)
COGVIEW_SIZES = SizeGrid(
    ("1024x1024", "768x1344", "864x1152", "1344x768", "1152x864", "1440x720", "720x1440"), 512, 2048, 16, 2**21
)

COMMON: Mapping[str, Rule] = {
    "prompt": TextRule(),
    "size": COGVIEW_SIZES,
    "quality": Choice(("standard", "hd")),
    "watermark_enabled": Flag(),
    "user_id": USER_ID,
    "sensitive_word_check": WordFilter(),
}
GLM: Mapping[str, Rule] = {
    **COMMON,
    "prompt": TextRule(at_most=1000, too_long_code="prompt_too_long"),  # the model's page (2.1)
    "size": GLM_SIZES,
    "quality": Choice(("hd",)),
}
SDK_ONLY = "stands only in the SDK's signature (one picture, always by link, is what is documented)"
UNDOCUMENTED: Mapping[str, tuple[Rule, str]] = {
    name: (Anything(), SDK_ONLY) for name in ("n", "response_format", "style", "user")
}
REFUSED = {"request_id": REQUEST_ID_REASON}


class ImageKind(ZaiKind):
    """One picture per job."""

    name = "image"
    url_aliases = ("images/generations", "async/images/generations")
    # Prices: 10.2. Slots: one account in February 2026 (10.1, marked T) for glm-image and cogview-4-250304; the other
    # models are not in it and get 1, the documented advice for a new account (13).
    models: Mapping[str, Model] = {
        "glm-image": Model("glm-image", 1, usd(15_000)),
        "cogview-4-250304": Model("cogview-4-250304", 5, usd(10_000)),
        "cogview-4": Model("cogview-4", 1, usd(10_000)),
        "cogview-3-flash": Model("cogview-3-flash", 1, usd(0)),
        "cogview-3-plus": Model("cogview-3-plus", 1, None),
        "cogview-3": Model("cogview-3", 1, None),
    }
    default_model = "glm-image"
    schedule = PollSchedule(first=timedelta(seconds=2), shortest=timedelta(seconds=1), longest=timedelta(seconds=10))
    call_deadline = timedelta(seconds=180)  # the immediate endpoint answers when the picture is done: about 20 s (2.1)
    assumed_task_life = timedelta(minutes=15)
    usual_duration = timedelta(seconds=20)  # of an hd picture (2.1)
    link_life = timedelta(days=1)  # observed signed links: 1 day or 7 days (4.7)
    archive_class = "other"

    def field_types(self) -> Mapping[str, CellType]:
        rules = {**{name: rule for name, (rule, _) in UNDOCUMENTED.items()}, **COMMON}
        return {"model": CellType.TEXT, **{name: cell_type(rule) for name, rule in rules.items()}}

    def check(self, body: Json, *, allow_unknown_model: bool = False) -> list[Fault]:
        faults = check_model(body, self.models, self.default_model, allow_unknown_model=allow_unknown_model)
        if is_blank(body.get("prompt")):
            faults.append(Fault("missing_prompt", "prompt", "prompt is missing: say what the picture shows"))
        model = body.get("model")
        return faults + list(check_fields(body, self._spec(model), model=str(model), kind_fields=COMMON))

    def input_slots(self, body: Json) -> Sequence[InputSlot]:
        return ()

    def check_input(self, body: Json, slot: InputSlot, facts: InputFacts) -> list[Fault]:
        return []

    def gives_task(self, model: str) -> bool:
        return model == ASYNC_MODEL

    def makes(self, body: Json) -> Mapping[int, Role]:
        return {0: Role.IMAGE}  # always one picture (2.3), whatever the SDK's `n` says

    def route(self, body: Json) -> Route:
        if body.get("model") == ASYNC_MODEL:
            return Route("/async/images/generations")
        return Route("/images/generations")

    def read_links(self, answer: Json) -> Sequence[Link]:
        return _links(answer.get("image_result"))

    def read_whole(self, answer: Json, raw: str) -> Sequence[Link | Text] | None:
        """The immediate answer holds `data` (2.3); the submit envelope of a task holds `task_status` (3.4)."""
        links = _links(answer.get("data"))
        if links:
            return links
        if isinstance(answer.get("task_status"), str):
            return None
        raise wire.Unreadable("the answer holds neither a picture's link nor a task")

    def _spec(self, model: object) -> Spec:
        if model == ASYNC_MODEL:
            return Spec(GLM, UNDOCUMENTED, REFUSED)
        if isinstance(model, str) and model in self.models:
            return Spec(COMMON, UNDOCUMENTED, REFUSED)
        return Spec({**COMMON, "size": SizeText(), "quality": TextRule()}, UNDOCUMENTED, REFUSED)


def _links(value: object) -> list[Link]:
    """Return each different usable link; the index is the element's place, so that it is the same at every ask."""
    found: dict[str, Link] = {}
    for index, item in enumerate(wire.items_of(value)):
        url = item.get("url")
        if isinstance(url, str) and is_usable_link(url):
            found.setdefault(url, Link(index, Role.IMAGE, url))
    return list(found.values())


KIND = ImageKind()

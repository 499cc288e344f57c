"""Speech to text: one recording of at most 30 s, answered at once (zai-api.md 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json, Role
from orchestrator.domain.kind import CellType, InputFacts, InputSlot, Medium, Model
from orchestrator.domain.retry import PollSchedule
from orchestrator.zai import wire
from orchestrator.zai.bodies import REQUEST_ID_REASON, Spec, check_fields, check_model, is_blank
from orchestrator.zai.fields import USER_ID, Anything, Flag, Listed, Rule, TextRule, cell_type, shown
from orchestrator.zai.pictures import MIB, param_of
from orchestrator.zai.prices import usd
from orchestrator.zai.route import Encoding, InputForm, Link, Route, Text, ZaiKind

MOST_BYTES = 25 * MIB
MOST_SECONDS = 30.0
CONTENT_TYPES = frozenset(
    {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/mpeg", "audio/mp3", "audio/x-mp3"}
)
USUAL_PROMPT = 8000
"""The documentation recommends fewer characters than this; it does not forbid more."""

MICROS_PER_MINUTE = 2_400
CEILING = usd(round(MICROS_PER_MINUTE * MOST_SECONDS / 60))
"""An estimate: charged by tokens, documented as about 0.0024 USD a minute (10.2). The length is not known before the
file is read, so each request is priced as the longest that is taken: 30 s x 0.0024 USD / 60 s = 0.0012 USD."""

RULES: Mapping[str, Rule] = {
    "file": Anything(),
    "file_base64": Anything(),
    "prompt": TextRule(),
    "hotwords": Listed(100, "hot words"),
    "user_id": USER_ID,
    "stream": Flag(),
}
SPEC = Spec(RULES, {}, {"request_id": REQUEST_ID_REASON})


class TranscriptionKind(ZaiKind):
    """One recording per job; the text and the whole answer come out."""

    name = "transcription"
    url_aliases = ("audio/transcriptions",)
    # Slots: one account in February 2026 (10.1, marked T); the older model is not in it and has no known price.
    models: Mapping[str, Model] = {
        "glm-asr-2512": Model("glm-asr-2512", 5, CEILING),
        "glm-asr": Model("glm-asr", 1, None),
    }
    default_model = "glm-asr-2512"
    schedule = PollSchedule(first=timedelta(seconds=2), shortest=timedelta(seconds=2), longest=timedelta(seconds=10))
    call_deadline = timedelta(seconds=180)
    assumed_task_life = timedelta(minutes=5)  # an immediate call holds its slot while it runs
    usual_duration = timedelta(seconds=10)  # no figure is published; at most 30 s of sound (5.1)
    link_life = timedelta(days=1)
    archive_class = "other"
    dropped_fields = frozenset({"stream"})

    def field_types(self) -> Mapping[str, CellType]:
        return {"model": CellType.TEXT, **{name: cell_type(rule) for name, rule in RULES.items()}}

    def check(self, body: Json, *, allow_unknown_model: bool = False) -> list[Fault]:
        faults = check_model(body, self.models, self.default_model, allow_unknown_model=allow_unknown_model)
        faults += _file_faults(body)
        if body.get("stream") is True:
            message = "stream is true; the answer is read whole here, so streaming brings nothing"
            faults.append(Fault("unsupported_parameter", "stream", message, "leave it out"))
        prompt = body.get("prompt")
        if isinstance(prompt, str) and len(prompt) >= USUAL_PROMPT:
            message = f"prompt has {len(prompt):,} characters; the provider recommends fewer than {USUAL_PROMPT:,}"
            faults.append(Fault("prompt_long", "prompt", message, is_warning=True))
        return faults + list(check_fields(body, SPEC, model=str(body.get("model")), kind_fields=RULES))

    def input_slots(self, body: Json) -> Sequence[InputSlot]:
        for name in ("file", "file_base64"):
            value = body.get(name)
            if isinstance(value, str) and value.strip():
                return (InputSlot((name,), value, Medium.AUDIO, may_be_link=False),)
        return ()

    def check_input(self, body: Json, slot: InputSlot, facts: InputFacts) -> list[Fault]:
        param = param_of(slot)
        if facts.byte_count == 0:
            return [Fault("invalid_input", param, f"{param} is an empty file")]
        faults: list[Fault] = []
        if facts.content_type not in CONTENT_TYPES:
            found = facts.content_type or "of a type that we do not recognise"
            faults.append(
                Fault("unsupported_format", param, f"{param} is {found}; allowed: wav, mp3", "convert it to wav or mp3")
            )
        if facts.byte_count > MOST_BYTES:
            message = f"{param} has {facts.byte_count:,} bytes; at most {MOST_BYTES:,} (25 MB) are taken"
            faults.append(Fault("input_too_large", param, message, "cut it into shorter pieces, or encode it as mp3"))
        if facts.duration_seconds is not None and facts.duration_seconds > MOST_SECONDS:
            message = f"{param} lasts {facts.duration_seconds:.2f} s; the provider takes at most {MOST_SECONDS:g} s"
            hint = "cut it into pieces of at most 25 s, one job each, and pass the text before as prompt"
            faults.append(Fault("input_too_long", param, message, hint))
        return faults

    def gives_task(self, model: str) -> bool:
        return False

    def makes(self, body: Json) -> Mapping[int, Role]:
        return {0: Role.TRANSCRIPT, 1: Role.TRANSCRIPT_JSON}

    def route(self, body: Json) -> Route:
        return Route("/audio/transcriptions", Encoding.MULTIPART, InputForm.FILE, file_field="file")

    def read_whole(self, answer: Json, raw: str) -> Sequence[Link | Text]:
        text = answer.get("text")
        if not isinstance(text, str):
            raise wire.Unreadable("the answer holds no text")
        return (Text(0, Role.TRANSCRIPT, _storable(text)), Text(1, Role.TRANSCRIPT_JSON, raw))


def _file_faults(body: Json) -> list[Fault]:
    given = [name for name in ("file", "file_base64") if not is_blank(body.get(name))]
    if not given:
        hint = "a path, or base64 text in file_base64"
        return [Fault("missing_file", "file", "file is missing: the recording to transcribe (wav or mp3)", hint)]
    if len(given) == 2:
        message = "file and file_base64 are both given; the provider would ignore file_base64"
        return [Fault("conflicting_parameters", "file_base64", message, "leave one of them out")]
    value = body[given[0]]
    if isinstance(value, str):
        return []
    return [Fault("invalid_type", given[0], f"{given[0]} is {shown(value)}; it must be a path or base64 text")]


def _storable(text: str) -> str:
    """Return the text without what UTF-8 and databases cannot hold: lone surrogates and NUL."""
    return text.encode("utf-8", errors="replace").decode("utf-8").replace("\0", "\ufffd")


KIND = TranscriptionKind()

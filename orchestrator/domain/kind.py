"""What a kind of job declares: one file under orchestrator/zai/kinds holds one of these; nothing else changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json, Price, Role
from orchestrator.domain.retry import PollSchedule


class Medium(StrEnum):
    """What an input file of a request must be."""

    IMAGE = "image"
    AUDIO = "audio"


@dataclass(frozen=True)
class InputSlot:
    """A place in a body that holds a file: a path, a link, a data: URI or base64 text.

    `path` leads to it ("image_url", 0); `value` is what the user wrote there.
    """

    path: tuple[str | int, ...]
    value: str
    medium: Medium
    may_be_link: bool


@dataclass(frozen=True)
class InputFacts:
    """What was measured on an input's bytes. `content_type` is sniffed from magic bytes, None when unrecognised."""

    byte_count: int
    content_type: str | None
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None


class CellType(StrEnum):
    """How the text of a table's cell becomes a value of a body's field."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    JSON = "json"
    """Text, or JSON where the text begins like a list or an object."""


@dataclass(frozen=True)
class Model:
    """One model of a kind. `slots` is the documented number of requests in flight (zai-api.md 10.1)."""

    name: str
    slots: int
    price: Price | None


class Kind(ABC):
    """One kind of job: its models, parameters, prices, limits, schedule and wire route."""

    name: str
    url_aliases: tuple[str, ...]
    """Normalised route spellings that name this kind, without version prefix: `videos/generations`."""
    models: Mapping[str, Model]
    default_model: str
    schedule: PollSchedule
    call_deadline: timedelta
    assumed_task_life: timedelta
    """After this long without a final answer a task is assumed to hold no slot any more."""
    link_life: timedelta
    """Assumed life of a result link that does not say (zai-api.md 4.7)."""
    archive_class: str
    """`video` or `other`: the two classes in which the archive lane orders its work."""

    usual_duration: timedelta = timedelta(minutes=1)
    """How long a request usually holds its slot: an estimate for people, never a rule."""

    @abstractmethod
    def field_types(self) -> Mapping[str, CellType]:
        """Return every field that a body of this kind may have, whatever its model, and how a cell of it is read."""

    @abstractmethod
    def check(self, body: Json, *, allow_unknown_model: bool = False) -> list[Fault]:
        """Return every fault of a body (params without the `body.` prefix), warnings for unknown fields included.

        Null means absent. Values of input slots are checked by `check_input` once their bytes are known.
        """

    @abstractmethod
    def input_slots(self, body: Json) -> Sequence[InputSlot]:
        """Return the places of `body` that hold files."""

    @abstractmethod
    def check_input(self, body: Json, slot: InputSlot, facts: InputFacts) -> list[Fault]:
        """Return the faults of one input's bytes (format, size, sides, duration)."""

    @abstractmethod
    def gives_task(self, model: str) -> bool:
        """Return True when a request for this model is answered with a task id, False when with the result itself."""

    def check_inputs_together(self, body: Json, facts: Sequence[tuple[InputSlot, InputFacts]]) -> list[Fault]:
        """Return faults that only several inputs together show (areas of two frames)."""
        return []

    def advise(self, provider_code: str) -> str | None:
        """Return one sentence on what a person should do about this code of the provider, None when it is not known."""
        return None

    def makes(self, body: Json) -> Mapping[int, Role]:
        """Return what a request may make, by index of the output; none of it is promised."""
        return {}

    def price(self, body: Json) -> Price | None:
        """Return the table price of one request, None when the table does not know the model."""
        model = self.models.get(str(body.get("model")))
        return model.price if model else None


INPUT_MARK = "$input"
"""Key of the object that stands in a frozen body for bytes kept in the archive under inputs/<sha256>."""


@dataclass(frozen=True)
class FrozenInput:
    """What a frozen body holds in place of a file: `{"$input": sha256, "bytes": n, "type": ..., "name": ...}`.

    `kept_at` is for what lies elsewhere than under inputs/: the archive URL and the key of another job's output.
    """

    sha256: str
    byte_count: int
    content_type: str
    name: str
    kept_at: tuple[str, str] | None = None

    def as_json(self) -> dict[str, object]:
        """The object as it stands in the frozen body."""
        value: dict[str, object] = {
            INPUT_MARK: self.sha256,
            "bytes": self.byte_count,
            "type": self.content_type,
            "name": self.name,
        }
        return value if self.kept_at is None else {**value, "archive": self.kept_at[0], "key": self.kept_at[1]}

    @classmethod
    def from_json(cls, value: object) -> FrozenInput | None:
        """Return the input that `value` stands for, None when it is an ordinary value."""
        if not isinstance(value, Mapping) or INPUT_MARK not in value:
            return None
        return cls(
            sha256=str(value[INPUT_MARK]),
            byte_count=int(str(value["bytes"])),
            content_type=str(value["type"]),
            name=str(value["name"]),
            kept_at=(str(value["archive"]), str(value["key"])) if "key" in value else None,
        )


def input_key(sha256: str) -> str:
    """Return the archive key, below the archive's prefix, of an input with this SHA-256."""
    return f"inputs/{sha256}"

"""How a kind tells the client what to send and how to read what comes back. One kind, one file, one ZaiKind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.advice import Catalogue, Source
from orchestrator.domain.job import Json, Role
from orchestrator.domain.kind import Kind
from orchestrator.zai.advice import entries

_CATALOGUE = Catalogue(entries())


class Encoding(StrEnum):
    """How the body travels."""

    JSON = "json"
    MULTIPART = "multipart"


class InputForm(StrEnum):
    """What takes the place of a frozen input when the body is sent."""

    DATA_URI = "data_uri"
    BASE64 = "base64"
    FILE = "file"
    """A file part of a multipart body, under the route's `file_field`."""


@dataclass(frozen=True)
class Route:
    """Where one request goes: a path below the base URL, how its body travels, how input bytes are put in."""

    path: str
    encoding: Encoding = Encoding.JSON
    input_form: InputForm = InputForm.DATA_URI
    file_field: str = "file"


@dataclass(frozen=True)
class Link:
    """A usable result link of an answer. `index` is its place among the job's outputs, the same at every ask."""

    index: int
    role: Role
    url: str


@dataclass(frozen=True)
class Text:
    """A result that is text of the answer itself."""

    index: int
    role: Role
    text: str


class ZaiKind(Kind):
    """A kind of job as this provider serves it."""

    dropped_fields: frozenset[str] = frozenset()
    """Fields of a body that are ours to read and never sent."""

    def advise(self, provider_code: str) -> str | None:
        entry = _CATALOGUE.find(provider_code, Source.PROVIDER)
        return entry.advice if entry else None

    @abstractmethod
    def route(self, body: Json) -> Route:
        """Return where this body goes."""

    def read_links(self, answer: Json) -> Sequence[Link]:
        """Return the usable links of a SUCCESS answer about a task (zai-api.md 4); none when it holds none."""
        return ()

    def read_whole(self, answer: Json, raw: str) -> Sequence[Link | Text] | None:
        """Return the results of an immediate answer (`raw` is its text), None when the answer is not one."""
        return None

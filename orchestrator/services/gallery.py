"""One self-contained page of a batch: pictures, players, transcripts, prompt, cost and state per line.

What the page says is gathered here, how it looks is in gallery.html and gallery.css. It holds no script and asks nobody
for anything but the batch's own files: its policy says so to the browser as well.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template

from orchestrator.domain.job import Job, Output, Role, StoredFile
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Stores
from orchestrator.domain.states import State
from orchestrator.services.explain import advise, describe
from orchestrator.services.views import Object, cost_object

EMBED_EACH_BYTES = 400_000  # a thumbnail-sized picture; a whole photograph stays a link
EMBED_ALL_BYTES = 20_000_000  # what a browser and a mail server still take as one page
TEXT_SHOWN_BYTES = 20_000
TITLE_CHARACTERS = 120
LONG_PROMPT = 300  # characters from which a prompt may scroll, and so has to be reached by the keyboard
MARK = b'<meta name="generator" content="orchestrator gallery">'
"""Stands near the beginning of each page, and in no other file."""
PAGE, STYLE = "gallery.html", "gallery.css"
LABELS = {Role.TRANSCRIPT_JSON: "transcript as JSON"}


@dataclass
class Frame:
    """Where the files of the page are found. `link` gives a file's address as the page must name it.

    `sources`: where the browser may load pictures and films from. `links_until`: when signed links stop working.
    """

    stores: Stores
    kinds: Mapping[str, Kind]
    link: Callable[[Job, StoredFile], str]
    sources: str
    links_until: datetime | None = None
    embeds: bool = False
    embedded_bytes: int = 0


@dataclass(frozen=True)
class Head:
    """The top of the page."""

    name: str
    summary: str
    stamp: str
    policy: str
    style: str


@dataclass(frozen=True)
class Medium:
    """One file as it is shown: `sort` is text, image, video, audio or link; `text` its words or its description."""

    sort: str
    text: str
    href: str = ""
    source: str = ""
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Card:
    """One line of the batch."""

    id: str
    state: str
    word: str
    title: str
    media: tuple[Medium, ...]
    prompt: str
    is_long: bool
    code: str | None
    trouble: str
    advice: str | None
    facts: str


def render_gallery(batch: Object, jobs: Iterable[Job], frame: Frame, *, now: datetime) -> Iterator[str]:
    """Yield the page in pieces: no batch is too long for it. `batch` is its batch object.

    Raises StepErrors of the archive where a transcript, or a picture to embed, cannot be read.
    """
    cards = (_make_card(job, frame, now=now) for job in jobs)
    return _load_page().generate(head=_make_head(batch, frame, now=now), cards=cards)


@cache
def _load_page() -> Template:
    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return engine.from_string(_read(PAGE))


def _read(name: str) -> str:
    return (resources.files("orchestrator.services") / name).read_text(encoding="utf-8")


def _make_head(batch: Object, frame: Frame, *, now: datetime) -> Head:
    style = _read(STYLE)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data: {frame.sources}; media-src {frame.sources}; style-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )
    stamp = f"{batch['id']}, as of {now:%Y-%m-%d %H:%M} UTC.{_until(frame)}"
    return Head(str(batch["name"]), _summary(batch), stamp, policy, style)


def _summary(batch: Object) -> str:
    counts, cost = batch["job_counts"], batch["cost"]
    assert isinstance(counts, Mapping)
    assert isinstance(cost, Mapping)
    states = ", ".join(f"{counts[state]} {_words(state)}" for state in State if counts.get(state))
    unknown = f" and {cost['unknown_count']} unknown" if cost["unknown_count"] else ""
    return f"{states or 'no jobs'}; cost {cost['final']} {cost['currency']}{unknown}"


def _until(frame: Frame) -> str:
    if frame.links_until is None:
        return ""
    return f" Its links work until {frame.links_until:%Y-%m-%d %H:%M} UTC; make the page again after that."


def _make_card(job: Job, frame: Frame, *, now: datetime) -> Card:
    prompt = str(job.input.get("prompt") or "")
    is_good = job.state is State.SUCCEEDED
    return Card(
        id=job.id,
        state=str(job.state),
        word=_words(job.state),
        title=job.custom_id or job.id,
        media=tuple(medium for output in job.outputs if (medium := _make_medium(job, output, frame))),
        prompt=prompt,
        is_long=len(prompt) > LONG_PROMPT or "\n" in prompt,
        code=None if is_good else job.failure_code,
        trouble="" if is_good else describe(job, now=now),
        advice=None if is_good else advise(job, frame.kinds),
        facts=f"{job.kind}, {job.model}; {_cost(job)}",
    )


def _make_medium(job: Job, output: Output, frame: Frame) -> Medium | None:
    file = output.kept
    if file is None or _is_poster(job, output):
        return None
    if output.role is Role.TRANSCRIPT:
        return Medium("text", _read_text(job, file, frame))
    href, sort = frame.link(job, file), file.content_type.partition("/")[0]
    if sort == "image":
        size = (file.width, file.height) if file.width and file.height else None
        return Medium("image", _title(job), href, _show_small(job, file, frame), size)
    if sort == "video":
        return Medium("video", _title(job), href, _find_poster(job, file, frame))
    if sort == "audio":
        return Medium("audio", _title(job), href)
    return Medium("link", LABELS.get(output.role, str(output.role)), href)


def _is_poster(job: Job, output: Output) -> bool:
    """A film's cover is shown in its player, not beside it."""
    return output.role is Role.COVER and any(o.role is Role.VIDEO and o.kept for o in job.outputs)


def _find_poster(job: Job, film: StoredFile, frame: Frame) -> str:
    cover = next((o.kept for o in job.outputs if o.role is Role.COVER and o.kept), None)
    if cover is None and film.small is None:
        return ""
    return _show_small(job, cover or film, frame)


def _show_small(job: Job, file: StoredFile, frame: Frame) -> str:
    """Return the address of the thumbnail, or of the picture itself where it has none."""
    small = file.small or file
    return _embed(job, small, frame) or frame.link(job, small)


def _embed(job: Job, file: StoredFile, frame: Frame) -> str:
    """Return a small picture as a data: address, nothing where that is not wanted or would grow too long."""
    if not frame.embeds or file.byte_count > EMBED_EACH_BYTES:
        return ""
    if frame.embedded_bytes + file.byte_count > EMBED_ALL_BYTES:
        return ""
    frame.embedded_bytes += file.byte_count
    data = b"".join(frame.stores.open(job.archive_url).read_chunks(file.key))
    return f"data:{file.content_type};base64,{base64.b64encode(data).decode()}"


def _read_text(job: Job, file: StoredFile, frame: Frame) -> str:
    data = bytearray()
    for chunk in frame.stores.open(job.archive_url).read_chunks(file.key):
        data += chunk
        if len(data) > TEXT_SHOWN_BYTES:
            return data[:TEXT_SHOWN_BYTES].decode("utf-8", "replace") + " ..."
    return data.decode("utf-8", "replace")


def _cost(job: Job) -> str:
    cost = cost_object(job)
    if cost.get("charge"):
        return "charge unknown"
    if cost["final"] is not None:
        return f"{cost['final']} {cost['currency'] or ''}".strip()
    return f"about {cost['estimate']} {cost['currency']}" if cost["estimate"] is not None else "no table price"


def _title(job: Job) -> str:
    return str(job.input.get("prompt") or job.custom_id or job.id)[:TITLE_CHARACTERS]


def _words(state: object) -> str:
    return "held" if state == State.NEEDS_REVIEW else str(state)

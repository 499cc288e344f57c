"""One self-contained page of a batch: pictures, players, transcripts, prompt, cost and state per line.

Everything that somebody wrote goes through `_esc`. The page holds no script and asks nobody for anything but the
batch's own files: its policy says so to the browser as well.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources

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
STYLE = "gallery.css"
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


def render_gallery(batch: Object, jobs: Iterable[Job], frame: Frame, *, now: datetime) -> Iterator[str]:
    """Yield the page in pieces, one per job: no batch is too long for it. `batch` is its batch object.

    Raises StepErrors of the archive where a transcript, or a picture to embed, cannot be read.
    """
    yield _head(batch, frame, now=now)
    for job in jobs:
        yield _card(job, frame, now=now)
    yield "</main>\n</body>\n</html>\n"


def _head(batch: Object, frame: Frame, *, now: datetime) -> str:
    style = (resources.files("orchestrator.services") / STYLE).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data: {frame.sources}; media-src {frame.sources}; style-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'"
    )
    name = _esc(batch["name"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_esc(policy)}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{name}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{name}</h1>
<p>{_summary(batch)}</p>
<p class="quiet">{_esc(batch["id"])}, as of {now:%Y-%m-%d %H:%M} UTC.{_until(frame)}</p>
</header>
<main>
"""


def _summary(batch: Object) -> str:
    counts, cost = batch["job_counts"], batch["cost"]
    assert isinstance(counts, Mapping)
    assert isinstance(cost, Mapping)
    states = ", ".join(f"{counts[state]} {_words(state)}" for state in State if counts.get(state))
    unknown = f" and {cost['unknown_count']} unknown" if cost["unknown_count"] else ""
    return _esc(f"{states or 'no jobs'}; cost {cost['final']} {cost['currency']}{unknown}")


def _until(frame: Frame) -> str:
    if frame.links_until is None:
        return ""
    return f" Its links work until {frame.links_until:%Y-%m-%d %H:%M} UTC; make the page again after that."


def _card(job: Job, frame: Frame, *, now: datetime) -> str:
    title = _esc(job.custom_id or job.id)
    prompt = job.input.get("prompt")
    text = f'<p class="prompt">{_esc(prompt)}</p>' if prompt else ""
    return f"""<article class="{_esc(job.state)}" id="{_esc(job.id)}">
<h2>{title} <span class="state">{_esc(_words(job.state))}</span></h2>
{"".join(_media(job, output, frame) for output in job.outputs)}
{text}{_trouble(job, frame, now=now)}
<p class="quiet">{_esc(job.kind)}, {_esc(job.model)}; {_esc(_cost(job))}<br>{_esc(job.id)}</p>
</article>
"""


def _media(job: Job, output: Output, frame: Frame) -> str:
    file = output.stored
    if file is None or _is_poster(job, output):
        return ""
    if output.role is Role.TRANSCRIPT:
        return f'<blockquote tabindex="0">{_esc(_read_text(job, file, frame))}</blockquote>'
    href = _esc(frame.link(job, file))
    if file.content_type.startswith("image/"):
        size = f' width="{file.width}" height="{file.height}"' if file.width and file.height else ""
        source = _esc(_embed(job, file, frame)) or href
        return f'<a href="{href}"><img src="{source}" alt="{_esc(_title(job))}"{size} loading="lazy"></a>'
    if file.content_type.startswith("video/"):
        return f'<video src="{href}" controls preload="metadata"{_poster(job, frame)} aria-label="{_esc(_title(job))}"></video>'
    if file.content_type.startswith("audio/"):
        return f'<audio src="{href}" controls preload="metadata"></audio>'
    return f'<p><a href="{href}">{_esc(LABELS.get(output.role, output.role))}</a></p>'


def _is_poster(job: Job, output: Output) -> bool:
    """A film's cover is shown in its player, not beside it."""
    return output.role is Role.COVER and any(o.role is Role.VIDEO and o.stored for o in job.outputs)


def _poster(job: Job, frame: Frame) -> str:
    cover = next((o.stored for o in job.outputs if o.role is Role.COVER and o.stored), None)
    if cover is None:
        return ""
    return f' poster="{_esc(_embed(job, cover, frame) or frame.link(job, cover))}"'


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


def _trouble(job: Job, frame: Frame, *, now: datetime) -> str:
    if job.state is State.SUCCEEDED:
        return ""
    advice = advise(job, frame.kinds)
    hint = f"<br>{_esc(advice)}" if advice else ""
    code = f"<b>{_esc(job.failure_code)}</b>: " if job.failure_code else ""
    return f'<p class="trouble">{code}{_esc(describe(job, now=now, kinds=frame.kinds))}{hint}</p>'


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


def _esc(value: object) -> str:
    """Text that is nothing but text, in an element and in a quoted attribute alike."""
    return escape(str(value), quote=True)

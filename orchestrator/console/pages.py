"""Pages from templates: everything that somebody wrote is escaped, and the browser is told to run nothing but our files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.console import words
from orchestrator.console.guard import Visitor
from orchestrator.console.static_files import address_of

TEMPLATES = Environment(
    loader=PackageLoader("orchestrator.console"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
TEMPLATES.filters.update(words.FILTERS)
TEMPLATES.globals.update(address_of=address_of, urlencode=urlencode)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{sources}; media-src 'self'{sources}; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Page:
    """What every page says of itself. `cli`: the command lines that repeat it. `sources`: where media may come from."""

    template: str
    title: str
    here: str = ""
    cli: Sequence[str] = ()
    sources: frozenset[str] = frozenset()
    status: int = 200
    values: Mapping[str, object] = field(default_factory=dict)


def show(request: Request, page: Page, visitor: Visitor | None = None) -> HTMLResponse:
    """Return a page, or the part of one that its template is."""
    text = TEMPLATES.get_template(page.template).render(
        {
            **page.values,
            "base": base_of(request),
            "title": page.title,
            "here": page.here,
            "cli": page.cli,
            "visitor": visitor,
            "now": request.app.state.desk.app.clock.now(),
        }
    )
    return HTMLResponse(text, status_code=page.status, headers=headers_of(page.sources))


def headers_of(sources: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the headers of a page; the gate adds nosniff and no-store. An Origin is sent with its forms: not no-referrer."""
    listed = "".join(f" {source}" for source in sorted(sources))
    return {
        "Content-Security-Policy": POLICY.format(sources=listed),
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def base_of(request: Request) -> str:
    """Return where the console is mounted."""
    return str(request.scope.get("root_path", ""))


def is_fragment(request: Request) -> bool:
    """Say whether a page asks for a part of itself."""
    return request.headers.get("hx-request") == "true"


def quoted(word: str) -> str:
    """Return a word as a shell takes it, on a line that somebody copies; one line whatever the word holds."""
    return quote(" ".join(word.split()))

"""The OpenAPI document as one page for people: no script, nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; } summary { cursor: pointer; padding: .3rem 0; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } a { color: #8bf; } }
"""
_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ info.title }} API</title><style>{{ style }}</style></head><body>
<h1>{{ info.title }} {{ info.version }}</h1><p>{{ info.description }}</p>
<p>The whole document for programs: <a href="openapi.json">openapi.json</a></p>
{% for tag, operations in groups %}<h2>{{ tag }}</h2>
{% for one in operations %}<details><summary><code><span class="method">{{ one.method }}</span>{{ one.path }}</code>
{{ one.summary }}</summary><p>{{ one.description }}</p>
<ul>{% for name, words in one.parameters %}<li><code>{{ name }}</code> {{ words }}</li>{% endfor %}</ul>
<ul>{% for status, words in one.answers %}<li><code>{{ status }}</code> {{ words }}</li>{% endfor %}</ul></details>
{% endfor %}{% endfor %}</body></html>
"""
)


def draw_page(document: dict[str, Any]) -> str:
    """Return the page."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_show(path, method, operation))
    return _PAGE.render(info=document["info"], style=_STYLE, groups=groups.items())


def _show(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [(one["name"], one.get("description", "")) for one in operation.get("parameters", ())]
    answers = [(status, one["description"]) for status, one in operation["responses"].items()]
    return {
        "path": path,
        "method": method.upper(),
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": parameters,
        "answers": answers,
    }

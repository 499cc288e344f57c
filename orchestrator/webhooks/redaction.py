"""What a receiver may echo of our request and must not be kept: the URL's query, our secrets and signatures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import unescape
from urllib.parse import unquote, unquote_plus, urlsplit

from orchestrator.domain.ports import Sending
from orchestrator.domain.redact import redact_links, redact_secrets
from orchestrator.webhooks.signing import PREFIX, SIGNATURE

STRUCK = "[redacted]"
SHORTEST_TOKEN = 6
"""A shorter value of a query keeps nobody out, and would be found everywhere."""
_JSON_ESCAPE = re.compile(r"\\(?:u00([0-9a-fA-F]{2})|(/))")
_CREDENTIALS = re.compile(
    r"(authorization[\"'\\]*\s*[:=]\s*[\"'\\\[]*(?:[a-z]{1,20}\s+)?|\bbearer\s+(?=[^\s\"'<>,]{16}))[^\s\"'<>,\\\]]+",
    re.IGNORECASE,
)
"""What a receiver's proxy adds and an echo of the headers shows."""


def redact_echo(text: str, sending: Sending, headers: Mapping[str, str]) -> str:
    """Return an answer without what lets a reader in somewhere. Where a secret is written in escapes (JSON's, `%2f`,
    `&amp;`) the whole text is kept unescaped: there it can be found.
    """
    hidden = _hidden_of(sending, headers)
    plain = _unescaped(text)
    if any(part in plain for part in hidden) and plain != text:
        text = plain
    for part in hidden:
        text = text.replace(part, STRUCK)
    return _CREDENTIALS.sub(rf"\1{STRUCK}", redact_secrets(redact_links(text)))


def _unescaped(text: str) -> str:
    """JSON, then HTML, then percent forms; each once."""
    return unquote(unescape(_JSON_ESCAPE.sub(lambda found: chr(int(found[1] or "2f", 16)), text)))


def _hidden_of(sending: Sending, headers: Mapping[str, str]) -> list[str]:
    """Everything to strike out, as it is written and as a receiver reads it; the longest first."""
    written = [
        *_values_in(sending.url),
        *sending.secrets,
        *(secret.removeprefix(PREFIX) for secret in sending.secrets),
        *(signature.partition(",")[2] for signature in headers.get(SIGNATURE, "").split(" ")),
    ]
    read = {form for part in written for form in (part, unquote(part), unquote_plus(part))}
    return sorted(read - {""}, key=lambda part: (-len(part), part))


def _values_in(url: str) -> Iterable[str]:
    query = urlsplit(url).query
    yield query
    for pair in query.split("&"):
        value = pair.partition("=")[2]
        if len(value) >= SHORTEST_TOKEN:
            yield value

"""What a receiver may echo of our request and must not be kept: the URL's query, our secrets and signatures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
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
_TELLTALE = re.compile(r"https?:|whsec_|authorization|bearer", re.IGNORECASE)
"""What links, secrets and credentials begin with: most answers hold none of it, and are looked through once."""
_SIGNATURE_LENGTH = 44
"""A shorter answer, however it is escaped, holds no signature."""
REMEMBERED = 512
"""Endpoints whose words to strike out are kept: each is sent to again and again."""


def redact_echo(text: str, sending: Sending, headers: Mapping[str, str]) -> str:
    """Return an answer without what lets a reader in somewhere. Where a secret is written in escapes (JSON's, `%2f`,
    `&amp;`) the whole text is kept unescaped: there it can be found.
    """
    hidden = [part for part in _hidden_of(text, sending, headers) if len(part) <= len(text)]
    plain = _unescaped(text) if hidden else text
    if any(part in plain for part in hidden) and plain != text:
        text = plain
    for part in hidden:
        text = text.replace(part, STRUCK)
    if _TELLTALE.search(text) is None:
        return text
    return _CREDENTIALS.sub(rf"\1{STRUCK}", redact_secrets(redact_links(text)))


def _unescaped(text: str) -> str:
    """JSON, then HTML, then percent forms; each once. Never longer than `text`."""
    if "\\" not in text and "&" not in text and "%" not in text:
        return text
    return unquote(unescape(_JSON_ESCAPE.sub(lambda found: chr(int(found[1] or "2f", 16)), text)))


def _hidden_of(text: str, sending: Sending, headers: Mapping[str, str]) -> Iterable[str]:
    """Everything to strike out of `text`, as it is written and as a receiver reads it; the longest first."""
    lasting = _lasting(sending.url, sending.secrets)
    if len(text) < _SIGNATURE_LENGTH:
        return lasting
    signatures = [signature.partition(",")[2] for signature in headers.get(SIGNATURE, "").split(" ")]
    return _longest_first({*lasting, *_forms(signatures)})


@lru_cache(maxsize=REMEMBERED)
def _lasting(url: str, secrets: tuple[str, ...]) -> tuple[str, ...]:
    """What is to be struck out of every answer of an endpoint."""
    bare = [secret.removeprefix(PREFIX) for secret in secrets]
    return tuple(_longest_first(_forms([*_values_in(url), *secrets, *bare])))


def _forms(written: Iterable[str]) -> set[str]:
    return {form for part in written for form in (part, unquote(part), unquote_plus(part))} - {""}


def _longest_first(parts: Iterable[str]) -> list[str]:
    return sorted(parts, key=lambda part: (-len(part), part))


def _values_in(url: str) -> Iterable[str]:
    query = urlsplit(url).query
    yield query
    for pair in query.split("&"):
        value = pair.partition("=")[2]
        if len(value) >= SHORTEST_TOKEN:
            yield value

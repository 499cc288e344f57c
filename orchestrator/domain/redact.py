"""What must not stay in texts of the other side that are kept as evidence: signed links, secrets (promise 13)."""

from __future__ import annotations

import re

_LINK = re.compile(r"https?:(?:\\?/){2}[^\s\"'<>]+", re.IGNORECASE)
"""Takes every link whole, so that no text makes it begin again inside one."""
_QUERY = re.compile(r"[?#].+")
_SECRET = re.compile(r"whsec_(?:[A-Za-z0-9+/=_-]|\\/|%2[bf]|%3d)*", re.IGNORECASE)
"""Its base64 also with the escapes of JSON and of URLs."""


def redact_links(text: str) -> str:
    """Return the text with the query of every link struck out: who holds a signed link can fetch the file."""
    return _LINK.sub(lambda link: _QUERY.sub("?[redacted]", link[0]), text)


def redact_secrets(text: str) -> str:
    """Return the text with every webhook secret struck out."""
    return _SECRET.sub("whsec_[redacted]", text)


def inert(text: str, *, keep: str = "\n") -> str:
    """Return text whose control characters cannot do anything to a terminal (fault I13), but for those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)

"""What must not stay in texts of the other side that are kept as evidence: the signed part of links (promise 13)."""

from __future__ import annotations

import re

_SIGNED_LINK = re.compile(r"(https?:(?:\\?/){2}[^\s\"'<>?#]+)[?#][^\s\"'<>]+", re.IGNORECASE)


def redact_links(text: str) -> str:
    """Return the text with the query of every link struck out: who holds a signed link can fetch the file."""
    return _SIGNED_LINK.sub(r"\1?[redacted]", text)


def inert(text: str, *, keep: str = "\n") -> str:
    """Return text whose control characters cannot do anything to a terminal (fault I13), but for those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)

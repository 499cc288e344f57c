"""Going on with a download that was cut: only where the server proves that the rest belongs to the same bytes.

Proof is a strong ETag, asked for with If-Range and given again, and a Content-Range that says exactly what was asked. A weak
ETag or a date allow other bytes under the same name: such a download begins again (E12, E13).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

STRONG = re.compile(r'"[\x21\x23-\x7e]+"')
"""RFC 9110, section 8.8.3, without empty tags and without bytes beyond ASCII: a tag that W/ precedes is weak."""
RESTARTED = frozenset({206, 412, 416})
"""Answers to a range that are no such range: what is asked for next is the whole."""


@dataclass(frozen=True)
class Mark:
    """What names the bytes that have begun to come: their strong ETag, and how many there are in all."""

    etag: str
    total: int

    def headers_from(self, start: int) -> Mapping[str, str]:
        """Return the headers that ask for the rest, from byte `start` on."""
        return {"Range": f"bytes={start}-", "If-Range": self.etag}

    def is_continued_by(self, answer: aiohttp.ClientResponse, start: int) -> bool:
        """True when the answer is exactly the rest of these bytes."""
        headers = answer.headers
        return (
            answer.status == 206
            and headers.getall("ETag", []) == [self.etag]
            and headers.getall("Content-Range", []) == [f"bytes {start}-{self.total - 1}/{self.total}"]
            and headers.get("Content-Encoding", "identity").strip().lower() in ("", "identity")
            and headers.get("Content-Length") in (None, str(self.total - start))
        )


def find_mark(answer: aiohttp.ClientResponse, declared: int | None) -> Mark | None:
    """Return what a whole answer can be gone on with; None where nothing is proof."""
    tags = answer.headers.getall("ETag", [])
    if declared is None or len(tags) != 1 or not STRONG.fullmatch(tags[0].strip()):
        return None
    if answer.headers.get("Accept-Ranges", "bytes").strip().lower() == "none":
        return None
    return Mark(tags[0].strip(), declared)

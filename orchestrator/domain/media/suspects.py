"""Codes that say: the link answered, and what it gave was not the file. A fresh link is the remedy, not patience.

Fetching (egress) and inspecting (here) raise them; the archive service asks `is_suspect` and needs to know neither.
"""

from __future__ import annotations

WRONG_CONTENT_TYPE = "wrong_content_type"
"""HTML, JSON, XML or SVG where a file was promised: by header or by content (E5)."""
CONTENT_ENCODED = "content_encoded"
"""A Content-Encoding that we had refused in advance (E9)."""
EMPTY_BODY = "empty_body"
"""A success without a byte (E4)."""
TOO_LARGE = "too_large"
"""Declared or actual length over the cap (E10, E23)."""
REDIRECTED = "redirected"
"""A redirect that leads nowhere: too often on, out of TLS, or without a link (E8)."""
UNEXPECTED_STATUS = "unexpected_status"
"""A 2xx that is not the whole file: 206, 202 ... (E13)."""
EGRESS_REFUSED = "egress_refused"
"""A link that the guard does not open: it never will, another one may (E8, D6)."""
MEDIA_INCOMPLETE = "media_incomplete"
"""A known container that ends too early or is damaged (E2)."""
MEDIA_UNRECOGNISED = "media_unrecognised"
"""No container that we know."""

NOT_SUSPECT_STATUSES = frozenset({403, 404, 408, 410, 425, 429})
"""403, 404 and 410 are dead links (Gone); the others ask for patience."""

SUSPECT_CODES = frozenset(
    {
        WRONG_CONTENT_TYPE,
        CONTENT_ENCODED,
        EMPTY_BODY,
        TOO_LARGE,
        REDIRECTED,
        UNEXPECTED_STATUS,
        EGRESS_REFUSED,
        MEDIA_INCOMPLETE,
        MEDIA_UNRECOGNISED,
        *(f"http_{status}" for status in range(400, 500) if status not in NOT_SUSPECT_STATUSES),
    }
)


def is_suspect(code: str) -> bool:
    """Return True when `code` says that the link answered with something that is not the file."""
    return code in SUSPECT_CODES

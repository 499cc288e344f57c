"""Which keys a store takes. They are made from our ids and hashes; this keeps a mistake from leaving the archive."""

from __future__ import annotations

import re

from orchestrator.domain.errors import Permanent

MAX_KEY_BYTES = 900
"""S3 allows 1,024 with the prefix; a file name in a directory 255."""
MAX_SEGMENT_BYTES = 200
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def check_key(key: str) -> str:
    """Return `key`. Raises Permanent(`store_bad_key`) for one that is empty, absolute, climbs or cannot be named."""
    segments = key.split("/")
    if FORBIDDEN.search(key) or any(segment in ("", ".", "..") for segment in segments):
        raise Permanent("store_bad_key", f"{key[:100]!r} is no key of an archive")
    if len(key.encode()) > MAX_KEY_BYTES or max(len(segment.encode()) for segment in segments) > MAX_SEGMENT_BYTES:
        raise Permanent("store_bad_key", f"a key of {len(key)} characters is too long")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix`, the beginning of keys: empty, or a key that may end in a slash."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix

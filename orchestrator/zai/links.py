"""Result links: which are usable at all, and when they say that they die (zai-api.md 4.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

LONGEST_URL = 8192
"""Signed links run to about a thousand characters; eight times that is no link any more."""
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
LONGEST_LIFE_SECONDS = 10 * 365 * 86400

_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")


def is_usable_link(value: object) -> bool:
    """Say whether `value` is an http(s) link with a host. `data:`, `javascript:` and the like are not."""
    if not isinstance(value, str) or len(value) > LONGEST_URL or _BLANK_OR_CONTROL.search(value):
        return False
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname)
        parts.port  # noqa: B018 - reading it is what raises on port 99999
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and has_host


def find_expiry(url: str) -> datetime | None:
    """Return when the link itself says it expires, None when it does not say: `Expires` is absolute Unix seconds,
    `X-Amz-Date` + `X-Amz-Expires` a start and a life in seconds.
    """
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return None
    if "x-amz-date" in query and "x-amz-expires" in query:
        return _amazon_expiry(query["x-amz-date"], query["x-amz-expires"])
    return _unix_expiry(query["expires"]) if "expires" in query else None


def _amazon_expiry(start: str, life: str) -> datetime | None:
    seconds = _digits(life)
    if seconds is None or seconds > LONGEST_LIFE_SECONDS:
        return None
    try:
        signed_at = datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return _plausible(signed_at + timedelta(seconds=seconds))
    except (ValueError, OverflowError):  # no date, or one that ends after the year 9999
        return None


def _unix_expiry(text: str) -> datetime | None:
    seconds = _digits(text)
    if seconds is None or seconds > LATEST.timestamp():
        return None
    return _plausible(datetime.fromtimestamp(seconds, UTC))


def _plausible(moment: datetime) -> datetime | None:
    return moment if EARLIEST <= moment <= LATEST else None


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None

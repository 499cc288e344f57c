"""Judge an answer by its head, before a byte of the body is read."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import aiohttp

from orchestrator.domain.errors import Gone, Permanent, Transient
from orchestrator.domain.media import suspects

DEAD = frozenset({403, 404, 410})
LATER = frozenset({408, 425, 429})
ONWARD = frozenset({301, 302, 303, 307, 308})
DOCUMENT = re.compile(r"(text/(html|xml|json)|application/(xhtml\+xml|json|xml|problem\+json))|[^;]*\+(json|xml)")
LONGEST_WAIT = timedelta(hours=1)
"""A Retry-After above it is a mistake or an attack; the link would die meanwhile."""


def read_onward(status: int, location: str | None, url: str) -> str | None:
    """Return the link that a redirect of `url` names; None when the answer is none. The guard has not seen it yet.

    Raises Permanent for one that leaves TLS.
    """
    if status not in ONWARD or not location:
        return None
    onward = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(onward).scheme != "https":
        raise Permanent(suspects.REDIRECTED, f"the link answered {status}: it leads on without TLS")
    return onward


def check_answer(answer: aiohttp.ClientResponse, *, max_bytes: int) -> int | None:
    """Return the declared length, None when there is none. Raises what a fetch raises (see GuardedFetch.fetch)."""
    _check_status(answer)
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Permanent(suspects.CONTENT_ENCODED, f"the answer is encoded ({encoding[:20]!r}) though none was accepted")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if DOCUMENT.fullmatch(kind):
        raise Permanent(suspects.WRONG_CONTENT_TYPE, f"the answer is a document ({kind[:60]}), not a file")
    return _read_length(answer, max_bytes)


def _check_status(answer: aiohttp.ClientResponse) -> None:
    status = answer.status
    if status == 200:
        return
    code, message = f"http_{status}", f"the link answered {status}"
    if status in DEAD:
        raise Gone(code, message)
    if 300 <= status < 400:
        raise Permanent(suspects.REDIRECTED, f"{message}, and names no other link")
    if status in LATER or status >= 500:
        raise Transient(code, message, retry_after=read_retry_after(answer))
    if status < 200:
        raise Transient("bad_answer", message)
    raise Permanent(suspects.UNEXPECTED_STATUS if status < 300 else code, message)


def _read_length(answer: aiohttp.ClientResponse, max_bytes: int) -> int | None:
    """Return Content-Length. The client has refused conflicting and negative ones; here it is compared with the cap."""
    if "Content-Length" not in answer.headers:
        return None
    text = answer.headers["Content-Length"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Transient("bad_answer", "the declared length is no number")
    if int(text) > max_bytes:
        raise Permanent(suspects.TOO_LARGE, f"{int(text)} bytes declared, {max_bytes} allowed")
    return int(text)


def read_retry_after(answer: aiohttp.ClientResponse) -> timedelta | None:
    """Return Retry-After, at most LONGEST_WAIT; None when absent, past or unreadable.

    A date is measured against the answer's own Date: our clock has no part in it.
    """
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_WAIT) if int(text[:9]) else None
    until, sent = _read_date(text), _read_date(answer.headers.get("Date", ""))
    if until is None or sent is None or until <= sent:
        return None
    return min(until - sent, LONGEST_WAIT)


def _read_date(text: str) -> datetime | None:
    try:
        value = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return value if value.tzinfo is not None else None

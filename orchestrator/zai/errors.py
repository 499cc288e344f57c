"""From error answers and client exceptions to StepErrors (design sections 7 and 10). Pure."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import aiohttp
import httpx

from orchestrator.domain.errors import Account, Gone, Permanent, StepError, Throttled, Transient, Uncertain
from orchestrator.domain.outcomes import CallEvidence
from orchestrator.zai.codes import CODES, Refusal, refusal_of

QUOTA_PAUSE = timedelta(minutes=15)
"""How long a used-up quota is left alone when the answer does not name its reset."""
LONGEST_RESET = timedelta(days=35)
"""The longest window is a month; a reset further away is a misread date."""
LONGEST_MESSAGE = 500
"""What is kept of a foreign message: enough for a person, bounded for the database."""
BEIJING = timezone(timedelta(hours=8))
"""Reset times carry no zone; those seen with a second source beside them were Beijing time, as the ids are (1.6)."""
PROXY_ERRORS = (httpx.ProxyError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)
MISSING_TASK_CODES = frozenset({"1214", "1222"})
"""zai-api.md 4.6: what a poll answers for an id that is not known."""
MISSING_TASK_STATUSES = frozenset({404, 410})

_RESET = re.compile(r"(20\d\d)-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


@dataclass(frozen=True)
class ErrorAnswer:
    """What an answer says went wrong. `code` is digits (zai-api.md 9.1) or None."""

    code: str | None
    message: str | None


def submit_error(error: ErrorAnswer | None, evidence: CallEvidence) -> StepError:
    """Return the error that a refused or doubtful answer to a paid call means."""
    http_status = evidence.http_status
    refusal = refusal_of(error.code if error else None, http_status)
    code, message = _code(error, http_status), _message(error, http_status)
    match refusal:
        case Refusal.NOW | Refusal.UNTIL:
            return _throttled(refusal, code, message, evidence.answered_at, evidence)
        case Refusal.ACCOUNT:
            return Account(code=code, message=message, evidence=evidence)
        case Refusal.REJECTED:
            return Permanent(code=code, message=message, evidence=evidence)
        case Refusal.UNKNOWN:
            return Uncertain(code=code, message=message, evidence=evidence)


def poll_error(error: ErrorAnswer | None, http_status: int, *, is_readable: bool, now: datetime) -> StepError:
    """Return the error that an answer to a poll means. It never harms the job: whatever is not clear is Transient.

    `is_readable` says that the body was JSON: only then is a 404 the provider's word about the task.
    """
    code, message = _code(error, http_status), _message(error, http_status)
    if error is not None and error.code in MISSING_TASK_CODES:
        return Gone(code=code, message=message)
    refusal = refusal_of(error.code if error else None, http_status)
    if refusal in (Refusal.NOW, Refusal.UNTIL):
        return _throttled(refusal, code, message, now, None)
    if refusal is Refusal.ACCOUNT:
        return Account(code=code, message=message)
    if http_status in MISSING_TASK_STATUSES and is_readable:
        return Gone(code=code, message=message)
    return Transient(code=code, message=message)


def find_reset(message: str | None, now: datetime | None) -> datetime | None:
    """Return the reset time that a message names ("... reset at 2026-09-12 00:35:41"), None when it names none.

    A time without a zone is Beijing time. One that is past or over 35 days ahead of `now` is not believed.
    """
    found = _RESET.search(message or "")
    if found is None:
        return None
    year, month, day, hour, minute, second, zone = found.groups(default="")
    try:
        written = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}")
        moment = written.replace(tzinfo=_zone(zone)).astimezone(UTC)
    except ValueError:
        return None
    if now is not None and not now < moment <= now + LONGEST_RESET:
        return None
    return moment


def describe_failure(error: BaseException, *, was_sent: bool) -> tuple[str, str]:
    """Return (code, message) for whatever a client raised. The code names the phase as far as the cause tells it."""
    causes = list(_causes(error))
    message = clean(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    is_timeout = any(isinstance(cause, TimeoutError | httpx.TimeoutException) for cause in causes)
    if was_sent:
        return ("answer_timeout" if is_timeout else "answer_lost"), message
    if is_timeout:
        return "connect_timeout", message
    if any(isinstance(cause, PROXY_ERRORS) for cause in causes):
        return "proxy_failed", message
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "tls_failed", message
    if any(isinstance(cause, socket.gaierror | socket.herror) for cause in causes):
        return "name_not_found", message
    is_network = any(isinstance(cause, OSError | httpx.TransportError) for cause in causes)
    return ("connect_failed" if is_network else "client_error"), message


def clean(text: str) -> str:
    """Return a foreign text fit for a log line and a database: one line, printable, bounded."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text[: LONGEST_MESSAGE * 2])
    return " ".join(printable.split())[:LONGEST_MESSAGE]


def _throttled(
    refusal: Refusal, code: str, message: str, now: datetime | None, evidence: CallEvidence | None
) -> Throttled:
    if refusal is Refusal.NOW:
        return Throttled(code=code, message=message, evidence=evidence)
    until = find_reset(message, now)
    pause = QUOTA_PAUSE if until is None else None
    return Throttled(code=code, message=message, retry_after=pause, until=until, evidence=evidence)


def _code(error: ErrorAnswer | None, http_status: int | None) -> str:
    return error.code if error is not None and error.code is not None else f"http_{http_status}"


def _message(error: ErrorAnswer | None, http_status: int | None) -> str:
    if error is not None and error.message:
        return clean(error.message)
    if error is not None and error.code is not None and error.code in CODES:
        return CODES[error.code].meaning
    return f"the provider answered HTTP {http_status} and no error that we know"


def _zone(text: str) -> timezone:
    if not text:
        return BEIJING
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes))


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(found) < 20:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found

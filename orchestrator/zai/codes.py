"""Every business code of zai-api.md 9.4: what it means, what follows after a paid call, what a person should do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """What follows an error answer to a paid POST (the table of design section 7)."""

    NOW = "refused now"
    UNTIL = "refused until"
    ACCOUNT = "account"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CodeFacts:
    """One business code. `http_status` is documented or inferred (zai-api.md 9.4, italic there)."""

    code: str
    http_status: int
    refusal: Refusal
    meaning: str
    advice: str


OVERLOAD_CODES = frozenset({"1305"})
"""zai-api.md 13: lasts minutes; needs a longer backoff than a rate refusal."""
CONTENT_CODES = frozenset({"1300", "1301"})
"""zai-api.md 9.4: refused for what the request shows or says."""
LANDED_CODES = frozenset({"1231"})
"""zai-api.md 9.4: this request id was used before, so an earlier try probably landed."""

_NEW_KEY = "Check ORCHESTRATOR_ZAI_API_KEY and that it belongs to the platform of ORCHESTRATOR_ZAI_BASE_URL."
_SUPPORT = "Look at the account in the provider's console or ask its support; jobs wait meanwhile."
_FIX_FIELD = "Correct the named field and submit the job again; the refused try was not charged."
_LANDED = "Look for the task in the provider's console: attach its id, or resubmit if it is not there."
_WAIT = "Nothing to do: the model pauses until the limit resets, then the jobs go on."
_SLOWER = "Nothing to do: the job is sent again shortly; lower ORCHESTRATOR_LIMITS if it happens often."
_PLAN = "Renew or change the plan in the provider's console, or use a key with a balance; jobs wait meanwhile."
_NOT_MEDIA = "A code of the web search API: look at the raw answer; it says nothing about this job."

_ROWS: tuple[tuple[str, int, Refusal, str, str], ...] = (
    ("500", 500, Refusal.UNKNOWN, "internal error of the provider", _LANDED),
    ("1000", 401, Refusal.ACCOUNT, "authentication failed", _NEW_KEY),
    ("1001", 401, Refusal.ACCOUNT, "the request carried no key", _NEW_KEY),
    ("1002", 401, Refusal.ACCOUNT, "the key is not valid", _NEW_KEY),
    ("1003", 401, Refusal.ACCOUNT, "the key has expired", _NEW_KEY),
    ("1004", 401, Refusal.ACCOUNT, "the key could not be checked", _NEW_KEY),
    ("1005", 401, Refusal.ACCOUNT, "the account needs a second factor", _SUPPORT),
    ("1100", 500, Refusal.UNKNOWN, "the provider could not read or write the account", _LANDED),
    ("1110", 429, Refusal.ACCOUNT, "the account is not active", _SUPPORT),
    ("1111", 429, Refusal.ACCOUNT, "the account does not exist", _NEW_KEY),
    ("1112", 429, Refusal.ACCOUNT, "the account is locked", _SUPPORT),
    ("1113", 429, Refusal.ACCOUNT, "the account's balance is empty", "Top up the account; jobs wait meanwhile."),
    ("1120", 500, Refusal.UNKNOWN, "the account cannot be reached for now", _LANDED),
    ("1121", 429, Refusal.ACCOUNT, "the account is locked for irregular activity", _SUPPORT),
    ("1200", 500, Refusal.UNKNOWN, "the call failed inside the provider", _LANDED),
    ("1210", 400, Refusal.REJECTED, "wrong parameters", _FIX_FIELD),
    ("1211", 400, Refusal.REJECTED, "the model does not exist", "Choose a model that this platform serves."),
    ("1212", 400, Refusal.REJECTED, "the model does not support this call", "Choose another model or kind."),
    ("1213", 400, Refusal.REJECTED, "a required field is missing", _FIX_FIELD),
    ("1214", 400, Refusal.REJECTED, "a field is not valid", _FIX_FIELD),
    ("1215", 400, Refusal.REJECTED, "two fields exclude each other", _FIX_FIELD),
    ("1220", 403, Refusal.REJECTED, "no permission for this API", "Ask the provider to open this API for the account."),
    ("1221", 400, Refusal.REJECTED, "the API was withdrawn", "Choose another model."),
    ("1222", 400, Refusal.REJECTED, "the API does not exist", "Check ORCHESTRATOR_ZAI_BASE_URL."),
    ("1230", 500, Refusal.UNKNOWN, "an error while the call ran", _LANDED),
    ("1231", 400, Refusal.UNKNOWN, "this request id was used before: an earlier try probably landed", _LANDED),
    ("1234", 500, Refusal.UNKNOWN, "network error inside the provider", _LANDED),
    ("1261", 400, Refusal.REJECTED, "the prompt is too long", "Shorten the prompt and submit the job again."),
    ("1300", 400, Refusal.REJECTED, "blocked by policy", "Change the prompt or the picture; it was refused as it is."),
    ("1301", 400, Refusal.REJECTED, "unsafe content", "Change the prompt or the picture; it was refused as it is."),
    ("1302", 429, Refusal.NOW, "the account's limit of concurrent requests", _SLOWER),
    ("1303", 429, Refusal.NOW, "requests come too often", _SLOWER),
    ("1304", 429, Refusal.UNTIL, "the daily limit is reached", _WAIT),
    (
        "1305",
        429,
        Refusal.NOW,
        "the model is overloaded; not your quota",
        "Nothing to do: it is sent again in minutes.",
    ),
    ("1308", 429, Refusal.UNTIL, "the usage limit is reached", _WAIT),
    ("1309", 429, Refusal.ACCOUNT, "the coding plan has expired", _PLAN),
    ("1310", 429, Refusal.UNTIL, "the weekly or monthly limit is reached", _WAIT),
    ("1311", 429, Refusal.ACCOUNT, "the plan does not include this model", _PLAN),
    ("1313", 429, Refusal.ACCOUNT, "restricted for fair use", _SUPPORT),
    ("1314", 429, Refusal.ACCOUNT, "the enterprise plan has expired", _PLAN),
    ("1315", 429, Refusal.ACCOUNT, "the key is for the enterprise coding plan only", _PLAN),
    ("1316", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1317", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1318", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1319", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1320", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1321", 429, Refusal.UNTIL, "a five-hour or seven-day limit is reached", _WAIT),
    ("1701", 429, Refusal.UNKNOWN, "web search: too many at once", _NOT_MEDIA),
    ("1702", 500, Refusal.UNKNOWN, "web search: no engine", _NOT_MEDIA),
    ("1703", 500, Refusal.UNKNOWN, "web search: no data", _NOT_MEDIA),
)

CODES: Mapping[str, CodeFacts] = {row[0]: CodeFacts(*row) for row in _ROWS}

ACCOUNT_STATUSES = frozenset({401, 403, 434})
"""HTTP statuses that mean the key or the account when the body names no code (zai-api.md 9.3)."""


def refusal_of(code: str | None, http_status: int | None) -> Refusal:
    """Return what follows an error answer: the business code decides before the HTTP status does."""
    if code is not None and code in CODES:
        return CODES[code].refusal
    if http_status in ACCOUNT_STATUSES:
        return Refusal.ACCOUNT
    if code is None:
        return Refusal.UNKNOWN
    if http_status == 429 and len(code) == 4 and code.startswith("13"):
        return Refusal.UNTIL
    if http_status == 429 and len(code) == 4 and code.startswith("11"):
        return Refusal.ACCOUNT
    return Refusal.UNKNOWN

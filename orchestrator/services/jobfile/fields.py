"""The fields of one request around its body: who it is, what kind, and our own options (surfaces section 3).

The same checks serve a line of a job file and a single request; faults carry a path, `request` adds line and column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches

from orchestrator.domain.errors import Fault, RequestError
from orchestrator.domain.job import Json
from orchestrator.domain.kind import Kind

FIELDS = ("custom_id", "method", "url", "kind", "body", "tags", "priority", "not_before", "webhook", "depends_on")

MAX_CUSTOM_ID = 128
MAX_TAGS = 32  # as many as anybody filters by; each is shown and searched
MAX_TAG_NAME = 64
MAX_TAG_VALUE = 256
DEFAULT_PRIORITY = 5
MAX_PRIORITY = 9
MAX_DEPENDS_ON = 100  # as many as anybody writes; each is a row, and is counted whenever one of them ends

Judge = Callable[[str], None]
"""The egress guard's look at a URL that a stranger wrote, a webhook's or an input's. Raises RequestError; asks no server."""
_VERSION = re.compile(r"(?:/[a-z0-9_-]+)*/v[0-9]+/")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def check_names(fields: Iterable[str]) -> list[Fault]:
    """Return a fault for every top-level field that we do not know."""
    faults: list[Fault] = []
    for name in fields:
        if name not in FIELDS:
            near = get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"fields are {', '.join(FIELDS)}"
            faults.append(Fault("unknown_field", name, f"there is no field {show(name)}", hint))
    return faults


def check_custom_id(value: object) -> list[Fault]:
    """1-128 characters, none of them a control character; invisible ones are told."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_CUSTOM_ID:
        what = "is missing" if value is None else f"is {show(value)}"
        return [Fault("invalid_custom_id", "custom_id", f"custom_id {what}; 1-{MAX_CUSTOM_ID} characters are allowed")]
    if value.isascii() and value.isprintable():
        return []
    classes = {unicodedata.category(sign) for sign in value}
    if classes & {"Cc", "Zl", "Zp"}:
        return [Fault("invalid_custom_id", "custom_id", f"custom_id {show(value)} holds a control character")]
    if "Cf" in classes:
        message = f"custom_id {show(value)} holds invisible characters; they count"
        return [Fault("invisible_characters", "custom_id", message, is_warning=True)]
    return []


def check_method(value: object) -> list[Fault]:
    """Absent, or POST."""
    if value in (None, "POST"):
        return []
    return [Fault("invalid_method", "method", f"method is {show(value)}; only POST is allowed", "POST")]


def find_kind(fields: Json, kinds: Mapping[str, Kind]) -> tuple[Kind | None, list[Fault]]:
    """Return the kind that `kind` or `url` names, and what is wrong with them."""
    name, url = fields.get("kind"), fields.get("url")
    if name is None and url is None:
        allowed = ", ".join(sorted(kinds))
        return None, [Fault("missing_kind", "kind", "neither kind nor url is given", f'add "kind": one of {allowed}')]
    faults: list[Fault] = []
    by_name = kinds.get(name) if isinstance(name, str) else None
    by_url = _kind_of_url(url, kinds) if isinstance(url, str) else None
    if name is not None and by_name is None:
        near = get_close_matches(name[:200], kinds, n=1) if isinstance(name, str) else []
        hint = f"did you mean {near[0]}?" if near else None
        allowed = ", ".join(sorted(kinds))
        faults.append(Fault("unknown_kind", "kind", f"kind is {show(name)}; {allowed} are allowed", hint))
    if url is not None and by_url is None:
        routes = sorted(f"/v1/{alias}" for kind in kinds.values() for alias in kind.url_aliases)
        near = get_close_matches(url[:200], routes, n=1) if isinstance(url, str) else []
        hint = f"did you mean {near[0]}?" if near else None
        faults.append(Fault("unknown_url", "url", f"url is {show(url)}; {', '.join(routes)} are allowed", hint))
    if by_name and by_url and by_name is not by_url:
        message = f"kind says {by_name.name}, url says {by_url.name}"
        faults.append(Fault("kind_mismatch", "url", message, "leave one of them out"))
    return (by_name or by_url), faults


def _kind_of_url(url: str, kinds: Mapping[str, Kind]) -> Kind | None:
    """A route is a version prefix, whatever it is called, and the kind's own spelling."""
    for kind in kinds.values():
        for alias in kind.url_aliases:
            head = url.rstrip("/").removesuffix(alias)
            if head != url.rstrip("/") and _VERSION.fullmatch(head):
                return kind
    return None


def check_tags(value: object) -> tuple[Mapping[str, str], list[Fault]]:
    """An object of text to text, capped in number and size (H19)."""
    if value is None:
        return {}, []
    if not isinstance(value, Mapping):
        return {}, [Fault("invalid_tags", "tags", f"tags is {show(value)}; an object of text to text is allowed")]
    if len(value) > MAX_TAGS:
        return {}, [Fault("invalid_tags", "tags", f"tags holds {len(value)} names; at most {MAX_TAGS} are allowed")]
    faults = [fault for name, text in value.items() for fault in _check_tag(str(name), text)]
    return ({} if faults else {str(name): str(text) for name, text in value.items()}), faults


def _check_tag(name: str, text: object) -> list[Fault]:
    param = f"tags.{name}"
    if not 1 <= len(name) <= MAX_TAG_NAME or not name.isprintable():
        message = f"the tag name {show(name)} is not 1-{MAX_TAG_NAME} printable characters"
        return [Fault("invalid_tags", param, message)]
    if not isinstance(text, str):
        return [Fault("invalid_tags", param, f"the tag {show(name)} is {show(text)}; text is allowed", "quote it")]
    if len(text) > MAX_TAG_VALUE:
        message = f"the tag {show(name)} has {len(text)} characters; at most {MAX_TAG_VALUE} are allowed"
        return [Fault("invalid_tags", param, message)]
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text):  # no text of a database
        message = f"the tag {show(name)} holds NUL or half a surrogate pair"
        return [Fault("invalid_text", param, message, "write the character itself")]
    return []


def check_priority(value: object) -> tuple[int, list[Fault]]:
    """0-9, 9 first; 5 when absent."""
    if value is None:
        return DEFAULT_PRIORITY, []
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PRIORITY:
        return value, []
    message = f"priority is {show(value)}; a whole number 0-{MAX_PRIORITY} is allowed"
    near = str(min(max(value, 0), MAX_PRIORITY)) if isinstance(value, int) and not isinstance(value, bool) else None
    return DEFAULT_PRIORITY, [Fault("invalid_priority", "priority", message, near)]


def check_not_before(value: object) -> tuple[datetime | None, list[Fault]]:
    """An RFC 3339 time, kept in UTC."""
    if value is None:
        return None, []
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC), []
        except (ValueError, OverflowError):
            pass
    message = f"not_before is {show(value)}; an RFC 3339 time is allowed"
    return None, [Fault("invalid_time", "not_before", message, "for example 2026-11-30T08:00:00Z")]


def check_webhook(value: object) -> tuple[str | None, list[Fault]]:
    """Text; whether that URL may be called is the guard's to say (`judge_webhook`)."""
    if value is None or isinstance(value, str):
        return value, []
    return None, [Fault("invalid_webhook", "webhook", f"webhook is {show(value)}; a URL is allowed")]


def judge_webhook(url: str | None, judge: Judge | None) -> list[Fault]:
    """Return what the guard has against a webhook's URL: refused at intake, not at the first delivery (H18)."""
    if url is None or judge is None:
        return []
    try:
        judge(url)
    except RequestError as error:
        return [Fault("invalid_webhook", "webhook", printable(error.message), error.hint)]
    return []


def check_depends_on(value: object) -> tuple[tuple[str, ...], list[Fault]]:
    """A custom_id of the same file, or a list of different ones."""
    if value is None:
        return (), []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        message = f"depends_on is {show(value)}; a custom_id or a list of them is allowed"
        return (), [Fault("invalid_depends_on", "depends_on", message)]
    if len(names) > MAX_DEPENDS_ON:
        message = f"depends_on holds {len(names)} names; at most {MAX_DEPENDS_ON} are allowed"
        return (), [Fault("invalid_depends_on", "depends_on", message)]
    faults = [
        Fault("invalid_depends_on", _param_of_name(value, place), _refuse_name(name, names[:place]))
        for place, name in enumerate(names)
        if _refuse_name(name, names[:place])
    ]
    return (() if faults else tuple(str(name) for name in names)), faults


def _param_of_name(value: object, place: int) -> str:
    return "depends_on" if isinstance(value, str) else f"depends_on.{place}"


def _refuse_name(name: object, before: list[object]) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_CUSTOM_ID:
        return f"depends_on names {show(name)}; a custom_id of 1-{MAX_CUSTOM_ID} characters is allowed"
    return f"depends_on names {show(name)} twice" if name in before else ""


def show(value: object) -> str:
    """Return a value as it may stand in a message: short, printable, quoted when it is text."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f'"{printable(text)}"' if isinstance(value, str) else text


def printable(text: str) -> str:
    """Return text that cannot act on a terminal or a log: what is no printable character is escaped (I13)."""
    return text if text.isprintable() else "".join(s if s.isprintable() else f"\\u{ord(s):04x}" for s in text)

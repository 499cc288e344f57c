"""Reading the provider's answers: tolerant where nothing is at stake, strict where a task id is (zai-api.md 3.4, 4).

An answer to a paid call is believed only when it is plain: one JSON object, one id. An answer to a poll may be odd in
every way that was ever seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from orchestrator.domain.job import Json
from orchestrator.zai.errors import ErrorAnswer, clean

SUCCESS, FAIL = "SUCCESS", "FAIL"
NO_STATUS = "(no status)"
NO_REASON = "the provider gave no reason"
BYTE_ORDER_MARK = "\ufeff"

_TASK_ID = re.compile(r"[\x21-\x7e]{1,200}")
"""Ids are opaque (1.6); those seen have 18 to 32 characters. What is longer, blank or unprintable is no id."""


class Unreadable(Exception):
    """The answer is not what any answer of this provider looks like; the text says why."""


def read_object(text: str | None, *, is_strict: bool) -> Json:
    """Return the answer's JSON object or raise Unreadable. Strict refuses a byte-order mark and a name given twice
    with different values (two ids).
    """
    if not text:
        raise Unreadable("the answer is empty")
    if not is_strict:
        text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        value = json.loads(text, object_pairs_hook=_unique if is_strict else dict, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the answer is not JSON: {clean(str(error))}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"the answer is a JSON {type(value).__name__}, not an object")
    return value


def read_task_id(answer: Json) -> str:
    """Return the id to poll by (1.6: always `id`, never `request_id`) or raise Unreadable."""
    value = answer.get("id")
    if value is None:
        raise Unreadable("the answer holds no id")
    if not isinstance(value, str):
        raise Unreadable(f"the id is a {type(value).__name__}, not a string")
    if not _TASK_ID.fullmatch(value) or not value.strip("."):
        raise Unreadable(f"the id has {len(value)} characters and is not one we would trust")
    return value


def read_error(answer: Json) -> ErrorAnswer | None:
    """Return what the answer says went wrong: `error{code,message}` (9.1) or top-level `code` and `message`."""
    error = answer.get("error")
    if isinstance(error, Mapping):
        return ErrorAnswer(_read_code(error.get("code")), _read_text(error, "message", "msg"))
    if isinstance(error, str) and error:
        return ErrorAnswer(None, clean(error))
    code = _read_code(answer.get("code"))
    return ErrorAnswer(code, _read_text(answer, "message", "msg")) if code is not None else None


def read_status(answer: Json) -> str:
    """Return the status word; numbers and missing ones become words that no case matches (fault D5)."""
    status = answer.get("task_status")
    if status is None or status == "":
        return NO_STATUS
    return status if isinstance(status, str) else clean(str(status))[:40]


def read_failure(answer: Json) -> tuple[str | None, str]:
    """Return (code, reason) of a FAIL; none is documented, three shapes are looked for (zai-api.md 4.5)."""
    error = read_error(answer)
    message = (error.message if error else None) or _read_text(answer, "message", "msg")
    return (error.code if error else None), message or NO_REASON


def items_of(value: object) -> list[Json]:
    """Return the result objects of a field that should be a list and may be one object or nothing (4.3)."""
    if isinstance(value, Mapping):
        return [value]
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"the name {name!r} stands there twice with different values")
        found[name] = value
    return found


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _read_code(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**9 else ""
    return text if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _read_text(holder: Json, *names: str) -> str | None:
    for name in names:
        value = holder.get(name)
        if isinstance(value, str) and value.strip():
            return clean(value)
    return None

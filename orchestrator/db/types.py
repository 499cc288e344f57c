"""Column types that mean the same on SQLite and PostgreSQL: UTC times, JSON, and text that came from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

UTC_TEXT_LENGTH = len("2026-01-02T03:04:05.000006Z")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED_UNSTORABLE = re.compile(r"\\u(0000|d[89a-f][0-9a-f]{2})", re.IGNORECASE)


def format_utc(moment: datetime) -> str:
    """Return fixed-width text that sorts like the time. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class Utc(TypeDecorator[datetime]):
    """Aware in, aware UTC out, to the microsecond; sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(UTC_TEXT_LENGTH))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | datetime | None:
        if value is None:
            return None
        text = format_utc(value)
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        assert isinstance(value, datetime)
        return value.astimezone(UTC)


JsonColumn = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def clean_text(text: str) -> str:
    """Return text that both databases can hold: NUL and lone surrogates become U+FFFD.

    For words of the other side (answers, error messages); what a user hands in is refused at intake instead.
    """
    return _UNSTORABLE.sub("\ufffd", text)


def dump_json(value: object, *, default: Callable[[Any], object] | None = None) -> str:
    """Return JSON that both databases can hold; strings in it are cleaned as by `clean_text`.

    `default` spells what JSON does not know, as of `json.dumps`.
    """
    text = json.dumps(value, separators=(",", ":"), default=default)
    if _ESCAPED_UNSTORABLE.search(text) is None:
        return text
    return json.dumps(_clean_strings(value), separators=(",", ":"), default=default)


def _clean_strings(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): _clean_strings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_strings(item) for item in value]
    return value

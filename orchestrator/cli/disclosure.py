"""Settings as people may see them: each with where it came from, and no secret anywhere in what is printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote

from pydantic import SecretStr

from orchestrator.config import MAY_HOLD_SECRETS, SECRETS, Settings, variable_of

HIDDEN = "***"
# Greedy to the last @: a password may hold every sign that ends one.
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)(\S*)@", re.IGNORECASE)
_PASSWORD = re.compile(r"([?&;](?:[a-z_]*(?:pass|secret|token|key)[a-z_]*)=)([^&;\s]*)", re.IGNORECASE)
SHORTEST = 4
"""A shorter part would be found in half of all words; where it stands in a URL it is hidden all the same."""


@dataclass(frozen=True)
class SettingLine:
    """One setting as people may see it: its variable, its value with secrets hidden, and where that came from."""

    name: str
    value: str
    source: str


def describe_settings(settings: Settings, sources: Mapping[str, str]) -> list[SettingLine]:
    """Return every setting in the order of docs/settings.md, secrets hidden, and the default addresses filled in."""
    filled = {"database_url": settings.database, "archive_url": settings.archive}
    values = {name: filled.get(name, getattr(settings, name)) for name in Settings.model_fields}
    return [
        SettingLine(variable_of(name), hide_secrets(_show(value), settings), sources.get(name, "default"))
        for name, value in values.items()
    ]


def hide_secrets(text: str, settings: Settings) -> str:
    """Return text without any secret of the settings: passwords in URLs, and whatever else of them stands in it."""
    keys = {_bare(getattr(settings, name)) for name in SECRETS}
    urls = {_bare(getattr(settings, name)) for name in MAY_HOLD_SECRETS} - keys
    passwords = {part for url in urls for part in _find_passwords(url)}
    parts = {*keys, *(key.rpartition(".")[2] for key in keys), *passwords}
    for part in sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(rf"\g<1>{HIDDEN}@", text))


def _find_passwords(url: str) -> set[str]:
    """Everything in a URL that a password may be, as written and as meant."""
    found = {match[2].rpartition(":")[2] for match in _USERINFO.finditer(url)}
    found |= {match[2].partition(":")[2] for match in _USERINFO.finditer(url)}
    found |= {match[2] for match in _PASSWORD.finditer(url)}
    return found | {unquote(each) for each in found}


def _bare(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")


def _show(value: object) -> str:
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_show(each)}" for name, each in value.items())
    if isinstance(value, tuple):
        is_range = bool(value) and isinstance(value[0], float)
        return ("..".join(f"{each:g}" for each in value)) if is_range else ",".join(value)
    return f"{value.total_seconds():g}s" if isinstance(value, timedelta) else str(value)

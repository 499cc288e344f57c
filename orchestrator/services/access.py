"""Keys of the HTTP API: made, listed, revoked, and checked on every request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from orchestrator.domain.access import (
    EVERYONE,
    AccessDenied,
    ApiKey,
    AuditEntry,
    Principal,
    Role,
    hash_secret,
    is_same,
    make_secret,
    read_key,
    spell_key,
)
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.ports import Keys

_NOBODY = "0" * 64
"""Stands for the digest of a key that does not exist: an unknown id costs the same work as a wrong secret."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


def create_key(
    keys: Keys,
    *,
    name: str,
    role: Role,
    owner: str | None = None,
    life: timedelta | None = None,
    server_key: bytes,
    rng: Random,
    actor: str,
    reason: str = "",
) -> tuple[ApiKey, str]:
    """Make a key; return it and its text, which nobody can ever show again. Without `owner` its name is one.

    Raises InvalidParams for a name or an owner that is no plain word, and for a submit key of everybody.
    """
    owner = name if owner is None else owner
    _check_names(name, owner, role)
    if life is not None and life <= timedelta():
        raise InvalidParams([Fault("invalid_expiry", "expires", "a key is good for longer than nothing")])
    key_id, secret = make_secret(rng)

    def make(now: datetime) -> ApiKey:
        kept = hash_secret(key_id, secret, server_key)
        return ApiKey(key_id, name, role, owner, kept, now, actor, now + life if life is not None else None)

    entry = AuditEntry(actor, "key.create", key_id, owner, reason)
    return keys.add(make, entry), spell_key(key_id, secret)


def list_keys(keys: Keys, *, limit: int, after: str | None = None) -> Sequence[ApiKey]:
    """Return a page of keys, revoked ones included."""
    return keys.list_keys(limit=limit, after=after)


def revoke_key(keys: Keys, key_id: str, *, actor: str, reason: str = "") -> ApiKey:
    """Revoke a key for good. Raises NotFound."""
    return keys.revoke(key_id, AuditEntry(actor, "key.revoke", key_id, EVERYONE, reason))


def revoke_named(keys: Keys, name: str, *, actor: str, reason: str) -> int:
    """Revoke every key of this name; return how many were good."""
    count, after = 0, None
    while page := keys.list_keys(limit=100, after=after):
        for key in page:
            if key.name == name and key.revoked_at is None:
                revoke_key(keys, key.id, actor=actor, reason=reason)
                count += 1
        after = page[-1].id
    return count


def authenticate(keys: Keys, text: str, *, server_key: bytes) -> Principal:
    """Return whose key it is. Raises AccessDenied, the same for whatever is wrong with it."""
    key_id, secret = split_key(text)
    key, now = keys.find(key_id)
    return prove(key, now, key_id, secret, server_key=server_key)


def split_key(text: str) -> tuple[str, str]:
    """Return the id and the secret of what may be a key. Raises AccessDenied."""
    given = read_key(text)
    if given is None:
        raise AccessDenied
    return given


def prove(key: ApiKey | None, now: datetime, key_id: str, secret: str, *, server_key: bytes) -> Principal:
    """Return whom a key stands for that was looked up by its id at `now`. Raises AccessDenied."""
    is_right = is_same(key.secret_hmac if key else _NOBODY, hash_secret(key_id, secret, server_key))
    if key is None or not is_right or not key.is_good(now):
        raise AccessDenied
    return key.principal


def find_principal(keys: Keys, key_id: str) -> Principal | None:
    """Return whom a key stands for as long as it is good: for whoever has proven it before. None once it is not."""
    key, now = keys.find(key_id)
    return key.principal if key is not None and key.is_good(now) else None


def _check_names(name: str, owner: str, role: Role) -> None:
    for param, text in (("name", name), ("owner", owner)):
        if not _NAME.fullmatch(text) and not (param == "owner" and text == EVERYONE):
            message = f"{param} has 1-64 letters, digits and ._@-, and begins with a letter or a digit"
            raise InvalidParams([Fault("invalid_name", param, message)])
    if owner == EVERYONE and role is Role.SUBMIT:
        message = "a submit key belongs to one owner"
        raise InvalidParams([Fault("invalid_owner", "owner", message, "--owner NAME")])

"""Who may do what over HTTP: roles, keys and the people or programs behind them. Pure.

A key reads `ok_<id>_<secret>`: found by its id, proven by an HMAC-SHA256 of its secret that is compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from random import Random

from orchestrator.domain.errors import RequestError

EVERYONE = "*"
"""The owner of keys that see the things of every owner; what they create belongs to LOCAL."""
LOCAL = "local"
SECRET_BYTES = 32
ID_BYTES = 8
_KEY = re.compile(r"ok_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)


class Role(StrEnum):
    """What a key is for."""

    SUBMIT = "submit"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Capability(StrEnum):
    """One thing that a role may or may not do; every route of the API names the one it needs."""

    CREATE = "create"  # jobs, batches and files: what costs money
    READ = "read"  # jobs, batches, outputs, files and events of its owner
    CANCEL = "cancel"  # stop what is not paid for yet
    INSPECT = "inspect"  # models and their limits, error codes
    DECIDE = "decide"  # retry, attach, resubmit, write off, adopt: what may charge again, or gives a paid call up
    SUBSCRIBE = "subscribe"  # webhook endpoints of its owner: add, change, test, send again
    MEASURE = "measure"  # figures over every owner
    STEER = "steer"  # limits and pauses of models, which hold for every owner
    ADMINISTER = "administer"  # keys and the audit log


CAPABILITIES: Mapping[Role, frozenset[Capability]] = {
    Role.SUBMIT: frozenset({Capability.CREATE, Capability.READ, Capability.CANCEL, Capability.INSPECT}),
    Role.VIEWER: frozenset({Capability.READ, Capability.INSPECT, Capability.MEASURE}),
    Role.OPERATOR: frozenset(Capability) - {Capability.ADMINISTER},
    Role.ADMIN: frozenset(Capability),
}
"""A viewer creates nothing: whoever only looks must not be able to spend. docs/api.md shows the same table."""
OF_EVERY_OWNER = frozenset({Capability.MEASURE, Capability.STEER})
"""Only for keys that see the things of every owner, for it is about all of them."""


class AccessDenied(RequestError):
    """No key, or none that is good; every such answer is the same, so that nothing can be learnt from it."""

    status = 401
    code = "invalid_key"

    def __init__(self) -> None:
        super().__init__("a valid key is needed: Authorization: Bearer ok_...", hint="orchestrator keys create NAME")


class NotAllowed(RequestError):
    """The key is good and its role does not allow this."""

    status = 403
    code = "not_allowed"


@dataclass(frozen=True)
class Principal:
    """Whoever a request comes from."""

    key_id: str
    name: str
    owner: str
    role: Role

    @property
    def actor(self) -> str:
        """How the history and the audit log call them."""
        return f"key:{self.key_id}"

    @property
    def scope(self) -> str | None:
        """The owner whose things they see; None: everybody's."""
        return None if self.role is Role.ADMIN or self.owner == EVERYONE else self.owner

    @property
    def creates_for(self) -> str:
        """The owner of what they create."""
        return LOCAL if self.owner == EVERYONE else self.owner

    def may(self, capability: Capability) -> bool:
        """Say whether the role allows it; what is about every owner is for those who see every owner."""
        if capability in OF_EVERY_OWNER and self.scope is not None:
            return False
        return capability in CAPABILITIES[self.role]

    def require(self, capability: Capability) -> None:
        """Raise NotAllowed unless the role allows it."""
        if not self.may(capability):
            raise NotAllowed(f"the role {self.role} of this key does not allow this ({capability})")

    def sees(self, owner: str) -> bool:
        """Say whether things of this owner exist for them."""
        return self.scope in (None, owner)


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept: never its secret."""

    id: str
    name: str
    role: Role
    owner: str
    secret_hmac: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return Principal(self.id, self.name, self.owner, self.role)


@dataclass(frozen=True)
class AuditEntry:
    """A mutation that somebody asked for; `count` is how many things it touches."""

    actor: str
    action: str
    subject: str
    owner: str
    reason: str = ""
    count: int = 1
    id: str = ""
    at: datetime | None = None


def make_secret(rng: Random) -> tuple[str, str]:
    """Return (id, secret) of a new key; `rng` must be the system's, tests excepted."""
    secret = base64.urlsafe_b64encode(rng.randbytes(SECRET_BYTES)).rstrip(b"=").decode()
    return rng.randbytes(ID_BYTES).hex(), secret


def spell_key(key_id: str, secret: str) -> str:
    """Return the key as its holder writes it."""
    return f"ok_{key_id}_{secret}"


def read_key(text: str) -> tuple[str, str] | None:
    """Return (id, secret) of what may be a key, None for what cannot be one."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def hash_secret(key_id: str, secret: str, server_key: bytes) -> str:
    """Return what is kept of a secret: useless to a thief of the database who lacks the server's key."""
    return hmac.new(server_key, f"api-key:{key_id}:{secret}".encode(), hashlib.sha256).hexdigest()


def is_same(kept: str, given: str) -> bool:
    """Compare digests; how long it takes says nothing of where they differ."""
    return hmac.compare_digest(kept.encode(), given.encode())

"""Who is at the browser: a signed value with an end, in a cookie. Never the key itself, and worth nothing once that is revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from orchestrator.domain.access import is_same

COOKIE = "orchestrator_console"
LIFE = timedelta(hours=12)
"""A working day: whoever comes back tomorrow logs in again."""
NONCE_BYTES = 16
_VALUE = re.compile(r"([0-9a-f]{16})\.([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Session:
    """A login: by which key, until when. `nonce` makes each one different."""

    key_id: str
    expires_at: int
    nonce: str

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.key_id}.{self.expires_at}.{self.nonce}"


def begin_session(key_id: str, *, now: datetime, rng: Random) -> Session:
    """Return a new session; `rng` must be the system's, tests excepted."""
    return Session(key_id, int((now + LIFE).timestamp()), rng.randbytes(NONCE_BYTES).hex())


def seal(session: Session, server_key: bytes) -> str:
    """Return the cookie's value: only this installation can make it."""
    return f"{session.text}.{_sign('console-session', session, server_key)}"


def unseal(value: str, server_key: bytes, *, now: datetime) -> Session | None:
    """Return the session of a cookie's value; None when it is not ours, or over."""
    found = _VALUE.fullmatch(value)
    if found is None:
        return None
    session = Session(found[1], int(found[2]), found[3])
    if not is_same(_sign("console-session", session, server_key), found[4]):
        return None
    return session if now.astimezone(UTC).timestamp() < session.expires_at else None


def csrf_token(session: Session, server_key: bytes) -> str:
    """Return what every form of this session carries, and no other site can know."""
    return _sign("console-csrf", session, server_key)


def _sign(purpose: str, session: Session, server_key: bytes) -> str:
    return hmac.new(server_key, f"{purpose}:{session.text}".encode(), hashlib.sha256).hexdigest()

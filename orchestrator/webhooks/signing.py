"""Signatures as Standard Webhooks 1.0 has them. What is signed are the bytes that are sent, never a text of them."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from orchestrator.domain.errors import RequestError

PREFIX = "whsec_"
SIGNATURE = "webhook-signature"
SECRET_BYTES = 32
SHORTEST, LONGEST = 24, 64
"""The bounds that the specification sets for the bytes of a secret."""
TOLERANCE = timedelta(minutes=5)
"""How far a timestamp may lie from the receiver's clock; the specification's libraries use the same."""
REMEMBERED = 512
"""Secrets whose key schedule is kept: an endpoint is signed for again and again."""


def make_secret(random_bytes: bytes) -> str:
    """Return a new secret of 32 random bytes, drawn by the caller. Raises ValueError for another number of them."""
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"a secret is made of {SECRET_BYTES} bytes")
    return encode_secret(random_bytes)


def encode_secret(key: bytes) -> str:
    """Return the written form of a secret's bytes."""
    return PREFIX + b64encode(key).decode("ascii")


@lru_cache(maxsize=REMEMBERED)
def decode_secret(secret: str) -> bytes:
    """Return the bytes of a secret. Raises RequestError that does not repeat it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not SHORTEST <= len(key) <= LONGEST:
        hint = f"{PREFIX} and the base64 of {SHORTEST} to {LONGEST} bytes"
        raise RequestError("this is no webhook secret", param="secret", hint=hint)
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature, with its version before it."""
    return f"v1,{b64encode(_digest(key, message_id, str(timestamp), body)).decode('ascii')}"


def signed_headers(secrets: Iterable[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt: a signature by each secret, in their order. Raises RequestError for none."""
    timestamp = int(at.timestamp())
    signatures = [sign(decode_secret(secret), message_id, timestamp, body) for secret in secrets]
    if not signatures:
        raise RequestError("nothing is sent unsigned", param="secret")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        SIGNATURE: " ".join(signatures),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str | None:
    """Return None for a message that was signed with `secret` within the tolerance, else what is wrong with it.

    `headers` are by lower-case name. For our own local receiver: other people's use a library of theirs.
    """
    names = ("webhook-id", "webhook-timestamp", SIGNATURE)
    missing = [name for name in names if not headers.get(name)]
    if missing:
        return f"no header {missing[0]}"
    message_id, timestamp, signatures = (headers[name] for name in names)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return "the timestamp is no number of seconds"
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        return "the timestamp is more than 5 minutes away from this clock"
    expected = b64encode(_digest(decode_secret(secret), message_id, timestamp, body))
    given = [part.partition(",") for part in signatures.split(" ")]
    matches = [hmac.compare_digest(expected, text.encode()) for version, _, text in given if version == "v1"]
    return None if any(matches) else "no signature fits this secret"


def _digest(key: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
    signer = _signer(key).copy()
    signer.update(f"{message_id}.{timestamp}.".encode() + body)
    return signer.digest()


@lru_cache(maxsize=REMEMBERED)
def _signer(key: bytes) -> hmac.HMAC:
    """Return the beginning of every signature by this key; to be copied, never written to."""
    return hmac.new(key, digestmod="sha256")

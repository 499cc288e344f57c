"""Endpoint secrets at rest: sealed with a key made of ORCHESTRATOR_SECRET_KEY, each for its own endpoint only."""

from __future__ import annotations

import binascii
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.domain.errors import ConfigError
from orchestrator.webhooks.signing import SECRET_BYTES, encode_secret, make_secret

SETTING = "ORCHESTRATOR_SECRET_KEY"
VERSION = "v1"
SEALING_LABEL = b"orchestrator/webhooks/sealing/v1"
DEFAULT_LABEL = b"orchestrator/webhooks/default-secret/v1"
"""Labels keep the two keys apart: neither tells anything about the other."""
KEY_BYTES = 32
NONCE_BYTES = 12
"""Random for every sealing: AES-GCM's own length. 2^32 sealings under one key are safe, far more than endpoints."""


class SecretBox:
    """What `secret_key` opens and closes. It is at least 32 characters of chance (config sees to it)."""

    def __init__(self, secret_key: str) -> None:
        self._cipher = AESGCM(_derive(secret_key, SEALING_LABEL, KEY_BYTES))
        self._default_secret = encode_secret(_derive(secret_key, DEFAULT_LABEL, SECRET_BYTES))

    @property
    def default_secret(self) -> str:
        """The project's secret: it signs for endpoints that a job or a batch named. The same key, the same secret."""
        return self._default_secret

    def new_secret(self) -> str:
        """Return a fresh secret, to be shown once and sealed."""
        return make_secret(os.urandom(SECRET_BYTES))

    def seal(self, secret: str, *, endpoint_id: str) -> str:
        """Return the text to store. It opens for this endpoint's id alone, so rows cannot be swapped."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret.encode(), endpoint_id.encode())
        return f"{VERSION}.{urlsafe_b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str, *, endpoint_id: str) -> str:
        """Return the secret. Raises ConfigError naming the setting when the key, or the row, is another one."""
        version, _, text = sealed.partition(".")
        if version != VERSION:
            raise ConfigError(
                SETTING, f"the secret of {endpoint_id} was sealed in a form that this version cannot read"
            )
        try:
            raw = urlsafe_b64decode(text)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], endpoint_id.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise ConfigError(
                SETTING,
                f"it does not open the secret of {endpoint_id}, which was sealed with another key: put that key back, "
                f"or give the endpoint a new secret (`orchestrator webhooks rotate {endpoint_id}`)",
            ) from None


def _derive(secret_key: str, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret_key.encode())

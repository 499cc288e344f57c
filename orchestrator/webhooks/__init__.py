"""Webhooks by Standard Webhooks 1.0: secrets, signatures, sealing at rest, and one attempt to deliver.

The guarded way out is handed in by wiring; the rules of trying again are `orchestrator.domain.deliveries`.
"""

from __future__ import annotations

from orchestrator.webhooks.keyfile import read_or_make_key
from orchestrator.webhooks.sealing import SecretBox
from orchestrator.webhooks.sender import WebhookSender
from orchestrator.webhooks.signing import decode_secret, encode_secret, make_secret, sign, signed_headers, verify

__all__ = [
    "SecretBox",
    "WebhookSender",
    "decode_secret",
    "encode_secret",
    "make_secret",
    "read_or_make_key",
    "sign",
    "signed_headers",
    "verify",
]

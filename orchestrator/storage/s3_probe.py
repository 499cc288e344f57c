"""Find out what a store really does, by asking it to do the wrong thing (E18). Correctness never hangs on the answer:
where a capability is missing, reading back takes its place.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from orchestrator.domain.errors import StepError
from orchestrator.storage.s3_errors import classify, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROBE_KEY = ".probe/capabilities"
"""Always the same key, so that a store that forbids deleting keeps one tiny object and no more."""
PROBE_BODY = b"media-orchestrator capability probe\n"
REFUSALS = frozenset(range(400, 500)) | {501}
TROUBLE = frozenset({"store_credentials", "store_denied", "store_bucket_missing", "store_clock_skew", "store_busy"})
"""Refusals that say nothing about the capability asked for."""


@dataclass(frozen=True)
class Capabilities:
    """What a bucket proved. `verifies_sha256`: it refused a wrong SHA-256 and gives the right one back on HEAD."""

    verifies_sha256: bool
    honours_if_none_match: bool


def encode_sha256(hex_digest: str) -> str:
    """Return a SHA-256 as S3 writes it: base64 of the raw digest."""
    return base64.b64encode(bytes.fromhex(hex_digest)).decode()


def decode_sha256(checksum: str | None) -> str | None:
    """Return S3's SHA-256 as hexadecimal; None for none and for a composite one (`...-3`), which hashes hashes."""
    if not checksum or "-" in checksum:
        return None
    with suppress(ValueError):
        raw = base64.b64decode(checksum, validate=True)
        return raw.hex() if len(raw) == hashlib.sha256().digest_size else None
    return None


def probe(client: S3Client, bucket: str, prefix: str) -> Capabilities:
    """Ask the store. Raises StepErrors when it cannot be asked; then nothing is known and nothing is remembered."""
    key = f"{prefix}{PROBE_KEY}"
    with translated("probe", f"{bucket}/{key}"):
        client.put_object(Bucket=bucket, Key=key, Body=PROBE_BODY)
        capabilities = Capabilities(_verifies_sha256(client, bucket, key), _honours_if_none_match(client, bucket, key))
        with suppress(ClientError):  # a write-only store keeps the probe
            client.delete_object(Bucket=bucket, Key=key)
    return capabilities


def _verifies_sha256(client: S3Client, bucket: str, key: str) -> bool:
    right = encode_sha256(hashlib.sha256(PROBE_BODY).hexdigest())
    wrong = encode_sha256(hashlib.sha256(b"something else").hexdigest())
    try:
        client.put_object(Bucket=bucket, Key=key, Body=PROBE_BODY, ChecksumSHA256=wrong)
    except ClientError as error:
        _raise_trouble(error)
    else:
        return False
    try:
        client.put_object(Bucket=bucket, Key=key, Body=PROBE_BODY, ChecksumSHA256=right)
        answer = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:  # refuses the header altogether
        _raise_trouble(error)
        return False
    return answer.get("ChecksumSHA256") == right


def _honours_if_none_match(client: S3Client, bucket: str, key: str) -> bool:
    try:
        client.put_object(Bucket=bucket, Key=key, Body=PROBE_BODY, IfNoneMatch="*")
    except ClientError as error:
        _raise_trouble(error)
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412
    return False


def _raise_trouble(error: ClientError) -> None:
    """Raise unless the store refused what was asked, as opposed to being out of order."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    outcome: StepError = classify(error, "probe", "the store")
    if status not in REFUSALS or outcome.code in TROUBLE:
        raise outcome from error

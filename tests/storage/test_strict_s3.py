"""The strict server is strict: what is not signed, not whole or not as its checksum says is refused. Else its tests prove nothing."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.storage.s3 import S3Store
from orchestrator.storage.s3_probe import Capabilities
from tests.fixtures.strict_s3 import KEY_ID, REGION, SECRET, StrictS3, running_strict_s3

BODY = b"a film"


def encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def put(server: StrictS3, headers: Mapping[str, str], *, secret: str = SECRET, sent: bytes = BODY) -> int:
    """Sign a PUT of BODY with these headers, send `sent`; return the status."""
    url = f"{server.address.endpoint_url}/strict/key"
    request = AWSRequest(method="PUT", url=url, data=BODY, headers=dict(headers))
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(KEY_ID, secret), "s3", REGION).add_auth(request)
    with httpx.Client(trust_env=False) as client:
        return client.put(url, content=sent, headers=dict(request.headers.items())).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-MD5": encode(hashlib.md5(BODY).digest())}, 200),  # noqa: S324 - the protocol's
        ({"Content-MD5": encode(hashlib.md5(b"x").digest())}, 400),  # noqa: S324 - the protocol's
        ({"x-amz-checksum-sha256": encode(hashlib.sha256(BODY).digest())}, 200),
        ({"x-amz-checksum-sha256": encode(hashlib.sha256(b"x").digest())}, 400),
        ({"x-amz-checksum-crc32": encode(zlib.crc32(BODY).to_bytes(4, "big"))}, 200),
        ({"x-amz-checksum-crc32": encode(bytes(4))}, 400),
        ({"x-amz-checksum-unheard-of": "AAAA"}, 400),
    ],
)
def test_every_checksum_is_verified(headers: Mapping[str, str], status: int) -> None:
    """E16: of any kind that it knows; one that it does not know is refused."""
    with running_strict_s3() as server:
        assert put(server, headers) == status
        assert bool(server.objects) is (status == 200)


def test_signatures_and_the_bytes_under_them_are_verified() -> None:
    """E16: another key, and another body than the one signed."""
    with running_strict_s3() as server:
        assert put(server, {}, secret="another") == 403
        assert put(server, {}, sent=b"a bomb") == 400
        url = f"{server.address.endpoint_url}/strict/key"
        assert httpx.put(url, content=BODY, trust_env=False).status_code == 403
        assert server.refused == ["SignatureDoesNotMatch", "XAmzContentSHA256Mismatch", "SignatureDoesNotMatch"]
        assert server.objects == {}


def test_both_generations_are_told_apart(strict_store_new: S3Store, strict_store_old: S3Store) -> None:
    """E18: the probe finds what each can do."""
    assert strict_store_new.capabilities() == Capabilities(verifies_sha256=True, honours_if_none_match=True)
    assert strict_store_old.capabilities() == Capabilities(verifies_sha256=False, honours_if_none_match=False)

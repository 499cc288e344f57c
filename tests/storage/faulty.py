"""Answers that the test server does not give: put in place of its own, just before a request would be sent."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = Callable[[AWSPreparedRequest], AWSResponse | None]
"""What to say instead; None lets the request through."""


def say(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with these bytes and nothing else."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(request: AWSPreparedRequest) -> AWSResponse:
        raw = HTTPResponse(io.BytesIO(body), headers=fields, status=status, preload_content=False)
        return AWSResponse(str(request.url), status, HTTPHeaders.from_dict(fields), raw)

    return answer


def say_error(status: int, code: str) -> Answer:
    """Answer as S3 does: the code in XML."""
    return say(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode())


def replace_answer(client: S3Client, operation: str, answer: Answer) -> list[str]:
    """Let `answer` stand in for every answer to `operation`; return a list that grows by one entry per request."""
    asked: list[str] = []

    def hook(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        asked.append(str(request.method))
        return answer(request)

    events: Any = client.meta.events  # its stubs forget that a hook may answer
    events.register_first(f"before-send.s3.{operation}", hook)
    return asked


def note_order(client: S3Client, notes: list[str]) -> None:
    """Write down every operation as it is sent."""

    def hook(event_name: str, **_: object) -> None:
        notes.append(event_name.rpartition(".")[2])

    client.meta.events.register_first("before-send.s3", hook)


def verify_sha256(client: S3Client) -> None:
    """Turn the test server into one that refuses a wrong x-amz-checksum-sha256 and gives a right one back."""

    def check(request: AWSPreparedRequest) -> AWSResponse | None:
        wanted = request.headers.get("x-amz-checksum-sha256")
        if wanted is None:
            return None
        request.headers["x-amz-sdk-checksum-algorithm"] = "SHA256"  # without it the server forgets the checksum
        actual = base64.b64encode(hashlib.sha256(_read(request)).digest()).decode()
        return None if actual in str(wanted) else say_error(400, "BadDigest")(request)

    replace_answer(client, "PutObject", check)


def _read(request: AWSPreparedRequest) -> bytes:
    body: Any = request.body
    if isinstance(body, bytes):
        return body
    data: bytes = body.read()
    body.seek(0)
    return data

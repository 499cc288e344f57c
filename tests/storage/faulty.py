"""Answers that the test server does not give: put in place of its own, just before a request would be sent.

A store sends in two ways, control through boto3 and bytes through its wire; what is said here is said on both.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse
from urllib3.response import BaseHTTPResponse

from orchestrator.storage.s3 import S3Store


@dataclass(frozen=True)
class Request:
    """What is about to be sent. Names of headers are lower case."""

    operation: str
    url: str
    headers: Mapping[str, str]
    body: Any


Answer = Callable[[Request], HTTPResponse | None]
"""What to say instead; None lets the request through."""


def say(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with these bytes and nothing else."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: HTTPResponse(io.BytesIO(body), headers=fields, status=status, preload_content=False)


def say_error(status: int, code: str) -> Answer:
    """Answer as S3 does: the code in XML."""
    return say(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode())


def replace_answer(store: S3Store, operation: str, answer: Answer) -> list[str]:
    """Let `answer` stand in for every answer to `operation`; return a list that grows by one entry per request."""
    asked: list[str] = []

    def ask(request: Request) -> HTTPResponse | None:
        if request.operation != operation:
            return None
        asked.append(operation)
        return answer(request)

    _listen(store, ask)
    return asked


def note_order(store: S3Store, notes: list[str]) -> None:
    """Write down every operation as it is sent."""
    _listen(store, lambda request: notes.append(request.operation))


def verify_sha256(store: S3Store) -> None:
    """Turn the test server into one that refuses a wrong x-amz-checksum-sha256 and gives a right one back."""

    def check(request: Request) -> HTTPResponse | None:
        wanted = request.headers.get("x-amz-checksum-sha256")
        if wanted is None:
            return None
        actual = base64.b64encode(hashlib.sha256(_read(request.body)).digest()).decode()
        return None if actual == wanted else say_error(400, "BadDigest")(request)

    replace_answer(store, "PutObject", check)


class Pool(urllib3.PoolManager):
    """The wire's own pool, with somebody listening."""

    def __init__(self, real: urllib3.PoolManager, ask: Answer) -> None:
        super().__init__()
        self._real = real
        self._ask = ask

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:  # type: ignore[override]  # noqa: ANN401 - as the real one's
        headers = {name.lower(): value for name, value in kw["headers"].items()}
        asked = Request(_operation_of(method, url), url, headers, kw.get("body"))
        return self._ask(asked) or self._real.urlopen(method, url, redirect=redirect, **kw)


def _operation_of(method: str, url: str) -> str:
    if method == "PUT" and "partNumber" in parse_qs(urlsplit(url).query):
        return "UploadPart"
    return f"{method.capitalize()}Object"


def _listen(store: S3Store, ask: Callable[[Request], HTTPResponse | None]) -> None:
    def hook(request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse | None:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        said = ask(Request(event_name.rpartition(".")[2], str(request.url), headers, request.body))
        if said is None:
            if "x-amz-checksum-sha256" in headers:
                request.headers["x-amz-sdk-checksum-algorithm"] = "SHA256"  # else the server forgets the checksum
            return None
        return AWSResponse(str(request.url), said.status, HTTPHeaders.from_dict(dict(said.headers)), said)

    events: Any = store.client.meta.events  # its stubs forget that a hook may answer
    events.register_first("before-send.s3", hook)
    wire: Any = store.bucket.wire
    wire._pool = Pool(wire._pool, ask)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _read(body: Any) -> bytes:  # noqa: ANN401 - bytes or a file
    if isinstance(body, bytes):
        return body
    data: bytes = body.read()
    body.seek(0)
    return data

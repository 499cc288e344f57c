"""The bytes of objects: HEAD, GET and PUT signed by botocore and sent without the rest of it (decision 0007).

Every header that we set is part of the signature, and so is the body's SHA-256, which we know beforehand: a store that
verifies signatures refuses a body that is not the one we hashed. Errors come out as botocore's ClientError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote, urlencode

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, NoCredentialsError
from urllib3.exceptions import MaxRetryError
from urllib3.response import BaseHTTPResponse

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")
ERROR_BYTES = 16 * 1024
"""S3's error documents have a few hundred."""
ONE_REPETITION = urllib3.Retry(total=1, redirect=0, status=0, allowed_methods=None, respect_retry_after_header=False)
"""Over a kept connection that broke; everything longer is the lane's backoff. All of these requests may be repeated."""
Body = bytes | IO[bytes]


class Wire:
    """One bucket's objects at one address. Safe to share between threads."""

    def __init__(
        self, pool: urllib3.PoolManager, base_url: str, *, region: str, credentials: Credentials | None
    ) -> None:
        self._pool = pool
        self._base_url = base_url
        self._region = region
        self._credentials = credentials

    def put(
        self,
        name: str,
        body: Body,
        *,
        size: int,
        sha256: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, str]:
        """Send `size` bytes whose SHA-256 is known; return the answer's headers."""
        headers = {"Content-Length": str(size), **headers}
        with self._ask("PUT", name, headers, sha256=sha256, body=body, query=query) as answer:
            answer.drain_conn()
            return answer.headers

    def head(self, name: str) -> Mapping[str, str]:
        """Return what the store says of an object."""
        with self._ask("HEAD", name, {"x-amz-checksum-mode": "ENABLED"}) as answer:
            return answer.headers

    @contextmanager
    def get(self, name: str) -> Iterator[BaseHTTPResponse]:
        """Give an answer whose body is to be read; left before its end, its connection is closed."""
        with self._ask("GET", name, {}) as answer:
            yield answer

    @contextmanager
    def _ask(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str],
        *,
        sha256: str = EMPTY_SHA256,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        url = f"{self._base_url}/{quote(name, safe='/~')}" + (f"?{urlencode(query)}" if query else "")
        signed = self._sign(AWSRequest(method=method, url=url, headers=headers), sha256)
        try:
            answer = self._pool.urlopen(
                method, url, body=body, headers=signed, preload_content=False, redirect=False, retries=ONE_REPETITION
            )
        except MaxRetryError as error:
            raise error.reason or error from error
        try:
            _raise_refusal(answer, method)
            yield answer
        except BaseException:
            answer.close()
            raise
        answer.release_conn()

    def _sign(self, request: AWSRequest, sha256: str) -> dict[str, str]:
        if self._credentials is None:
            raise NoCredentialsError
        _KnownPayload(self._credentials, self._region, sha256).add_auth(request)
        return dict(request.headers.items())


class _KnownPayload(S3SigV4Auth):
    """Signs the SHA-256 that it is told instead of reading the body for it."""

    def __init__(self, credentials: Credentials, region: str, sha256: str) -> None:
        super().__init__(credentials.get_frozen_credentials(), "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:
        return self._sha256


def _raise_refusal(answer: BaseHTTPResponse, method: str) -> None:
    if 200 <= answer.status < 300:
        return
    found = CODE.search(answer.read(ERROR_BYTES))
    code = found[1].decode("ascii", "replace") if found else str(answer.status)
    raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": answer.status}}, method)  # type: ignore[typeddict-item]

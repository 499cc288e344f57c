"""An archive in an S3-compatible bucket. ETags are never trusted: they are no hash of anything we know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.domain.errors import Gone, Transient
from orchestrator.domain.ports import ObjectFacts
from orchestrator.storage.disposition import attachment
from orchestrator.storage.keys import check_key, check_prefix
from orchestrator.storage.options import StoreOptions
from orchestrator.storage.s3_client import make_client
from orchestrator.storage.s3_errors import translated
from orchestrator.storage.s3_probe import Capabilities, decode_sha256, encode_sha256, probe
from orchestrator.storage.s3_upload import PartUpload
from orchestrator.storage.spool import open_spool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, PutObjectRequestTypeDef

CHUNK_BYTES = 1 << 20
LONGEST_LINK = timedelta(days=7)
"""SigV4 allows no longer."""


class S3Store:
    """A bucket, or a prefix in one, as an archive."""

    def __init__(self, url: str, bucket: str, prefix: str, options: StoreOptions) -> None:
        self._url = url
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._lock = Lock()
        self._capabilities: Capabilities | None = None

    @property
    def url(self) -> str:
        return self._url

    @cached_property
    def client(self) -> S3Client:
        """The client of every call but signing; clients are safe to share between threads."""
        with translated("open", self._bucket):
            return make_client(self._options, endpoint_url=self._options.endpoint_url)

    @cached_property
    def _signer(self) -> S3Client:
        public = self._options.public_endpoint_url
        if public is None:
            return self.client
        with translated("open", self._bucket):
            return make_client(self._options, endpoint_url=public)

    def capabilities(self) -> Capabilities:
        """Return what the store was found to do; asks it once per process."""
        client = self.client
        with self._lock:
            if self._capabilities is None:
                self._capabilities = probe(client, self._bucket, self._prefix)
            return self._capabilities

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str],
        remember_upload: Callable[[str], None],
    ) -> None:
        """One PUT up to the threshold, parts above it. A store that verifies SHA-256 is given ours."""
        name = self._name(key)
        size = _size_of(path)
        with open_spool(path) as source, translated("store", self._describe(key)):
            if size <= self._options.multipart_threshold:
                self._put_whole(name, source, size, sha256, content_type, metadata)
                return
            upload = self.client.create_multipart_upload(
                Bucket=self._bucket, Key=name, ContentType=content_type, Metadata=dict(metadata)
            )
        parts = PartUpload(self.client, self._bucket, name, upload["UploadId"])
        parts.send_file(path, size, self._options.part_bytes, remember=remember_upload)
        self._check_length(key, size)

    def _put_whole(
        self, name: str, source: BinaryIO, size: int, sha256: str, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        facts: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": name,
            "Body": source,
            "ContentLength": size,
            "ContentType": content_type,
            "Metadata": metadata,
        }
        if self.capabilities().verifies_sha256:
            facts["ChecksumSHA256"] = encode_sha256(sha256)
        self.client.put_object(**facts)

    def _check_length(self, key: str, size: int) -> None:
        """Some stores answer a Complete with 200 and an error, or with success and nothing behind it (E15)."""
        found = self.find(key)
        if found is None or found.byte_count != size:
            raise Transient("store_incomplete", f"{self._describe(key)}: the parts were not put together")

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        with translated("store", self._describe(key)):
            self.client.put_object(Bucket=self._bucket, Key=self._name(key), Body=data, ContentType=content_type)

    def read_back(self, key: str) -> ObjectFacts:
        """Ask a store that verifies SHA-256 for its own; read and hash everything from any other."""
        if self.capabilities().verifies_sha256:
            facts = self.find(key)
            if facts is None:
                raise Gone("store_key_missing", f"read back {self._describe(key)}")
            if facts.sha256 is not None:
                return facts
        digest, count = hashlib.sha256(), 0
        for chunk in self.read_chunks(key):
            digest.update(chunk)
            count += len(chunk)
        return ObjectFacts(key, count, digest.hexdigest())

    def find(self, key: str) -> ObjectFacts | None:
        try:
            with translated("look at", self._describe(key)):
                answer = self.client.head_object(Bucket=self._bucket, Key=self._name(key), ChecksumMode="ENABLED")
        except Gone:
            return None
        return self._facts(key, answer)

    def _facts(self, key: str, answer: HeadObjectOutputTypeDef) -> ObjectFacts:
        is_proven = self._capabilities is not None and self._capabilities.verifies_sha256
        sha256 = decode_sha256(answer.get("ChecksumSHA256")) if is_proven else None
        return ObjectFacts(key, answer["ContentLength"], sha256, answer.get("ContentType"), answer["Metadata"])

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content. A body that ends before its length is Transient, out of the iterator."""
        with translated("read", self._describe(key)):
            answer = self.client.get_object(Bucket=self._bucket, Key=self._name(key))
            left = answer["ContentLength"]
            with answer["Body"] as body:
                while chunk := body.read(CHUNK_BYTES):
                    left -= len(chunk)
                    yield chunk
        if left:
            raise Transient("store_short_read", f"{self._describe(key)}: {left} bytes are missing")

    def delete(self, key: str) -> None:
        try:
            with translated("delete", self._describe(key)):
                self.client.delete_object(Bucket=self._bucket, Key=self._name(key))
        except Gone:
            return

    def list_keys(self, prefix: str) -> Iterator[str]:
        check_prefix(prefix)
        with translated("list", self._describe(prefix)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"].removeprefix(self._prefix)

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        """Return a link that serves the object as a download (I9), for at most seven days."""
        seconds = int(min(max(expires, timedelta(seconds=1)), LONGEST_LINK).total_seconds())
        name = self._name(key)
        with translated("sign", self._describe(key)):
            return self._signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": name,
                    "ResponseContentDisposition": attachment(file_name or key.rpartition("/")[2]),
                },
                ExpiresIn=seconds,
            )

    def abort_stale_uploads(self, *, before: datetime) -> int:
        """Abort the uploads below our prefix that began before `before`; one that has just ended does not count."""
        count = 0
        with translated("sweep", self._bucket):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].astimezone(UTC) < before:
                        count += self._abort(upload["Key"], upload["UploadId"])
        return count

    def _abort(self, name: str, upload_id: str) -> bool:
        try:
            with translated("abort", f"{self._bucket}/{name}"):
                self.client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload_id)
        except Transient as error:
            if error.code != "store_upload_missing":
                raise
            return False
        return True

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _describe(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise Transient("spool_unreadable", f"{path.name}: {error.strerror}") from error

"""An archive in an S3-compatible bucket. ETags are never trusted: they are no hash of anything we know."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.errors import Gone, Transient
from orchestrator.domain.ports import ObjectFacts
from orchestrator.storage.disposition import attachment
from orchestrator.storage.keys import check_key, check_prefix
from orchestrator.storage.s3_bucket import Bucket
from orchestrator.storage.s3_errors import translated
from orchestrator.storage.s3_probe import Capabilities, decode_sha256, encode_sha256
from orchestrator.storage.s3_upload import PartUpload
from orchestrator.storage.spool import open_spool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 1 << 20
META = "x-amz-meta-"
LONGEST_LINK = timedelta(days=7)
"""SigV4 allows no longer."""


class S3Store:
    """A bucket, or a prefix in one, as an archive."""

    def __init__(self, url: str, bucket: Bucket, prefix: str) -> None:
        self._url = url
        self.bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @property
    def url(self) -> str:
        return self._url

    @property
    def has_public_links(self) -> bool:
        """True for an address that the operator gave for others, and for the cloud's own; an endpoint of ours may be
        reached by us alone.
        """
        options = self.bucket.options
        return options.public_endpoint_url is not None or options.endpoint_url is None

    @property
    def client(self) -> S3Client:
        """The bucket's boto3 client."""
        return self.bucket.client

    def capabilities(self) -> Capabilities:
        """Return what the store was found to do; asks it once per process and bucket."""
        return self.bucket.capabilities(self._prefix)

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
        """One PUT up to the threshold, parts above it. The SHA-256 is signed; a store that verifies checksums is given
        it as one too.
        """
        name = self._name(key)
        facts = {"Content-Type": content_type, **{f"x-amz-meta-{word}": text for word, text in metadata.items()}}
        with open_spool(path) as source:
            size = os.fstat(source.fileno()).st_size
            if size <= self.bucket.options.multipart_threshold:
                with translated("store", self._describe(key)):
                    self.bucket.wire.put(name, source, size=size, sha256=sha256, headers=facts | self._checksum(sha256))
                return
            with translated("store", self._describe(key)):
                upload = self.client.create_multipart_upload(
                    Bucket=self.bucket.name, Key=name, ContentType=content_type, Metadata=dict(metadata)
                )
            parts = PartUpload(self.bucket, name, upload["UploadId"])
            parts.send_file(source, size, self.bucket.options.part_bytes, remember=remember_upload)
        self._check_length(key, size)

    def _checksum(self, sha256: str) -> dict[str, str]:
        if not self.capabilities().verifies_sha256:
            return {}
        return {"x-amz-checksum-sha256": encode_sha256(sha256), "x-amz-sdk-checksum-algorithm": "SHA256"}

    def _check_length(self, key: str, size: int) -> None:
        """Some stores answer a Complete with 200 and an error, or with success and nothing behind it (E15)."""
        found = self.find(key)
        if found is None or found.byte_count != size:
            raise Transient("store_incomplete", f"{self._describe(key)}: the parts were not put together")

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        name, sha256 = self._name(key), hashlib.sha256(data).hexdigest()
        with translated("store", self._describe(key)):
            self.bucket.wire.put(name, data, size=len(data), sha256=sha256, headers={"Content-Type": content_type})

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
        name = self._name(key)
        try:
            with translated("look at", self._describe(key)):
                return self._facts(key, self.bucket.wire.head(name))
        except Gone:
            return None

    def _facts(self, key: str, headers: Mapping[str, str]) -> ObjectFacts:
        """Read an answer's headers. Names of metadata come back capitalised from some stores."""
        known = self.bucket.known_capabilities
        checksum = headers.get("x-amz-checksum-sha256")
        sha256 = decode_sha256(checksum) if known is not None and known.verifies_sha256 else None
        lowered = {name.lower(): text for name, text in headers.items()}
        metadata = {name.removeprefix(META): text for name, text in lowered.items() if name.startswith(META)}
        return ObjectFacts(key, _length_of(headers), sha256, headers.get("Content-Type"), metadata)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content. A body that ends before its length is Transient, out of the iterator."""
        name = self._name(key)
        with translated("read", self._describe(key)), self.bucket.wire.get(name) as answer:
            left = _length_of(answer.headers)
            while chunk := answer.read(CHUNK_BYTES):
                left -= len(chunk)
                yield chunk
        if left:
            raise Transient("store_short_read", f"{self._describe(key)}: {left} bytes are missing")

    def delete(self, key: str) -> None:
        try:
            with translated("delete", self._describe(key)):
                self.client.delete_object(Bucket=self.bucket.name, Key=self._name(key))
        except Gone:
            return

    def list_keys(self, prefix: str) -> Iterator[str]:
        check_prefix(prefix)
        with translated("list", self._describe(prefix)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket.name, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"].removeprefix(self._prefix)

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        """Return a link that serves the object as a download (I9), for at most seven days."""
        seconds = int(min(max(expires, timedelta(seconds=1)), LONGEST_LINK).total_seconds())
        name = self._name(key)
        with translated("sign", self._describe(key)):
            return self.bucket.signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket.name,
                    "Key": name,
                    "ResponseContentDisposition": attachment(file_name or key.rpartition("/")[2]),
                },
                ExpiresIn=seconds,
            )

    def abort_stale_uploads(self, *, before: datetime) -> int:
        """Abort the uploads below our prefix that began before `before`; one that has just ended does not count."""
        count = 0
        with translated("sweep", self.bucket.name):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket.name, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].astimezone(UTC) < before:
                        count += self._abort(upload["Key"], upload["UploadId"])
        return count

    def _abort(self, name: str, upload_id: str) -> bool:
        try:
            with translated("abort", f"{self.bucket.name}/{name}"):
                self.client.abort_multipart_upload(Bucket=self.bucket.name, Key=name, UploadId=upload_id)
        except Transient as error:
            if error.code != "store_upload_missing":
                raise
            return False
        return True

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _describe(self, key: str) -> str:
        return f"s3://{self.bucket.name}/{self._prefix}{key}"


def _length_of(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length", "")
    if not text.isascii() or not text.isdigit():
        raise Transient("store_unavailable", "the store did not say how long the object is")
    return int(text)

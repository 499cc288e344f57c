"""The parts of a multipart upload, one after the other, straight from the file: no part is held in memory (E20)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import StepError
from orchestrator.storage.s3_bucket import Bucket
from orchestrator.storage.s3_errors import translated
from orchestrator.storage.spool import FilePart

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MAX_PARTS = 10_000
"""S3's limit; larger files get larger parts."""


class PartUpload:
    """One multipart upload that has been created and holds nothing yet."""

    def __init__(self, bucket: Bucket, name: str, upload_id: str) -> None:
        self._bucket = bucket
        self._name = name
        self._upload_id = upload_id

    def send_file(self, source: BinaryIO, size: int, part_bytes: int, *, remember: Callable[[str], None]) -> None:
        """Tell `remember` the upload's id, send every part, complete. Whatever goes wrong, the upload is aborted
        before the error goes on; what a killed process leaves is for the sweep, which is why the id comes first.
        """
        try:
            reach(CrashPoint.UPLOAD_BEGUN)
            remember(self._upload_id)
            reach(CrashPoint.UPLOAD_REMEMBERED)
            with translated("store", f"{self._bucket.name}/{self._name}"):
                self._complete(self._send(source, size, max(part_bytes, -(-size // MAX_PARTS))))
        except BaseException:
            self._abort()
            raise

    def _send(self, source: BinaryIO, size: int, part_bytes: int) -> list[CompletedPartTypeDef]:
        parts: list[CompletedPartTypeDef] = []
        for number, start in enumerate(range(0, size, part_bytes), start=1):
            part = FilePart(source, start, min(part_bytes, size - start))
            answer = self._bucket.wire.put(
                self._name,
                cast("IO[bytes]", part),
                size=len(part),
                sha256=part.sha256(),
                headers={},
                query={"partNumber": str(number), "uploadId": self._upload_id},
            )
            reach(CrashPoint.PART_SENT)
            parts.append({"PartNumber": number, "ETag": answer.get("ETag", "")})
        return parts

    def _complete(self, parts: list[CompletedPartTypeDef]) -> None:
        self._bucket.client.complete_multipart_upload(
            Bucket=self._bucket.name, Key=self._name, UploadId=self._upload_id, MultipartUpload={"Parts": parts}
        )
        reach(CrashPoint.UPLOAD_COMPLETED)

    def _abort(self) -> None:
        with suppress(StepError), translated("abort", f"{self._bucket.name}/{self._name}"):
            self._bucket.client.abort_multipart_upload(
                Bucket=self._bucket.name, Key=self._name, UploadId=self._upload_id
            )

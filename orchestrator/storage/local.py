"""An archive in a local directory: whole files appear by rename, nothing half-written ever has a key.

Content types and metadata are not kept beside the files: the manifest of a job says both, and a directory stays what a
person expects to find in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from errno import EDQUOT, EFBIG, ENOSPC, EROFS
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import Gone, Permanent, StepError, Transient
from orchestrator.domain.ports import ObjectFacts
from orchestrator.storage.keys import check_key, check_prefix
from orchestrator.storage.spool import open_spool

CHUNK_BYTES = 1 << 20
UPLOADS = ".uploads"
"""Where files are written before they have a name: inside the archive, so that the rename stays on one filesystem."""
FULL = frozenset({ENOSPC, EDQUOT})


class LocalStore:
    """A directory as an archive."""

    def __init__(self, url: str, root: Path) -> None:
        self._url = url
        self._root = root

    @property
    def url(self) -> str:
        return self._url

    @property
    def has_public_links(self) -> bool:
        """A path leads nobody else anywhere."""
        return False

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
        """Copy, sync, compare the SHA-256 of what was copied, rename. A source that has changed is Transient."""
        with open_spool(path) as source, _translated(key, missing=Transient):
            self._put(key, iter(lambda: source.read(CHUNK_BYTES), b""), sha256)

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        with _translated(key, missing=Transient):
            self._put(key, iter((data,)), None)

    def read_back(self, key: str) -> ObjectFacts:
        digest, count = hashlib.sha256(), 0
        for chunk in self.read_chunks(key):
            digest.update(chunk)
            count += len(chunk)
        return ObjectFacts(key, count, digest.hexdigest())

    def find(self, key: str) -> ObjectFacts | None:
        path = self._path(key)
        with _translated(key):
            try:
                return ObjectFacts(key, path.stat().st_size, None) if path.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_chunks(self, key: str) -> Iterator[bytes]:
        path = self._path(key)
        with _translated(key), path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                yield chunk

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _translated(key):
            try:
                path.unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):  # no such key either
                return

    def list_keys(self, prefix: str) -> Iterator[str]:
        folder = check_prefix(prefix).rpartition("/")[0]
        with _translated(prefix):
            for base, folders, files in os.walk(self._root / folder, onerror=_raise):
                folders[:] = sorted(name for name in folders if name != UPLOADS)
                for name in sorted(files):
                    key = (Path(base) / name).relative_to(self._root).as_posix()
                    if key.startswith(prefix):
                        yield key

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        """Return the file's own address; whoever may read the directory may read it, for as long as it is there."""
        return self._path(key).as_uri()

    def abort_stale_uploads(self, *, before: datetime) -> int:
        count = 0
        with _translated(UPLOADS):
            for path in self._uploads():
                try:
                    begun = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    if begun < before:
                        path.unlink()
                        count += 1
                except FileNotFoundError:  # its writer has finished meanwhile
                    continue
        return count

    def _uploads(self) -> list[Path]:
        folder = self._root / UPLOADS
        return list(folder.iterdir()) if folder.is_dir() else []

    def _path(self, key: str) -> Path:
        """Return the file of `key`; a link inside the archive that leads out of it is refused."""
        path = self._root / check_key(key)
        if key.split("/", maxsplit=1)[0] == UPLOADS or not path.resolve().is_relative_to(self._root.resolve()):
            raise Permanent("store_bad_key", f"{key[:100]!r} lies outside the archive")
        return path

    def _put(self, key: str, chunks: Iterator[bytes], sha256: str | None) -> None:
        target = self._path(key)
        uploads = self._root / UPLOADS
        _make_folder(uploads)
        partial = uploads / f"{uuid4().hex}.part"
        try:
            with partial.open("xb") as sink:
                digest = _copy(chunks, sink)
            if sha256 is not None and digest != sha256:
                raise Transient("store_checksum_mismatch", f"{key}: the file is not the one that was hashed")
            _make_folder(target.parent)
            reach(CrashPoint.FILE_COPIED)
            partial.replace(target)
            reach(CrashPoint.FILE_NAMED)
            _sync_folder(target.parent)
        finally:
            partial.unlink(missing_ok=True)


def _copy(chunks: Iterator[bytes], sink: BinaryIO) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        sink.write(chunk)
        digest.update(chunk)
    sink.flush()
    os.fsync(sink.fileno())
    return digest.hexdigest()


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents and sync each new name, so that a power cut cannot take the path away."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _raise(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


@contextmanager
def _translated(key: str, missing: type[StepError] = Gone) -> Iterator[None]:
    """Turn what the operating system raises into what happens next; `missing` is what an absent file means here."""
    try:
        yield
    except OSError as error:
        raise _classify(error, key, missing) from error


def _classify(error: OSError, key: str, missing: type[StepError]) -> StepError:
    message = f"{key}: {error.strerror or type(error).__name__}"
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return missing("store_key_missing" if missing is Gone else "store_unavailable", message)
    if error.errno in FULL:
        return Transient("store_full", message)
    if isinstance(error, PermissionError) or error.errno == EROFS:
        return Permanent("store_denied", message)
    if error.errno == EFBIG:
        return Permanent("store_too_large", message)
    return Transient("store_unavailable", message)

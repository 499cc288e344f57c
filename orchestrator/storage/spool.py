"""The file that is about to be stored, and parts of it, without ever holding it in memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.domain.errors import Transient

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HASH_BYTES = 1 << 20


@contextmanager
def open_spool(path: Path) -> Iterator[BinaryIO]:
    """Open a file to store. Raises Transient(`spool_unreadable`): it is ours, and fetching again makes it again."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise Transient("spool_unreadable", f"{path.name}: {error.strerror}") from error
    with source:
        yield source


class FilePart(io.RawIOBase):
    """A window on an open file that reads and seeks like a file of its own: the body of one part of an upload."""

    def __init__(self, source: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._source = source
        self._start = start
        self._length = length
        self._position = 0

    def __len__(self) -> int:
        return self._length

    def sha256(self) -> str:
        """Return the part's SHA-256, and stand at its beginning again."""
        digest = hashlib.sha256()
        while chunk := self.read(HASH_BYTES):
            digest.update(chunk)
        self.seek(0)
        return digest.hexdigest()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = min(max(base + offset, 0), self._length)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._length - self._position)
        self._source.seek(self._start + self._position)
        data = self._source.read(count)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

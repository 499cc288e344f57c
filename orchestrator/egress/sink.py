"""Where a download goes: a new file, written and hashed away from the event loop, removed unless it was finished."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Self, TypeVar

from orchestrator.domain.errors import Transient

BLOCK_BYTES = 1 << 20
"""Written at once: enough that changing threads costs nothing, little enough to hold two of for many downloads."""
FULL = frozenset({ENOSPC, EDQUOT, EFBIG})
T = TypeVar("T")


class SpoolSink:
    """Takes chunks; while one block is hashed and written, the next one fills. Raises Transient `spool_full` or
    `spool_failed`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._flushing: asyncio.Future[None] | None = None
        self._handle = -1
        self._is_ours = False
        self._is_finished = False
        self.byte_count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flushing is not None:  # an error above: what is being written no longer matters, but it must end
            await asyncio.wait([self._flushing])
            self._flushing.exception()  # looked at, so that it is not reported as forgotten
        if not self._is_finished:
            await self._off_loop(self._discard)

    async def write(self, chunk: bytes) -> None:
        """Take a chunk; now and then wait until the block before is on disk."""
        self.byte_count += len(chunk)
        self._block.append(chunk)
        self._block_bytes += len(chunk)
        if self._block_bytes >= BLOCK_BYTES:
            await self._start_flush()

    async def restart(self) -> None:
        """Forget what came so far: other bytes follow, from their beginning."""
        await self._end_flush()
        self._block, self._block_bytes, self.byte_count = [], 0, 0
        self._digest = hashlib.sha256()
        await self._off_loop(self._empty)

    async def finish(self) -> str:
        """Write the rest, keep the file, return its SHA-256."""
        await self._start_flush(is_last=True)
        await self._end_flush()
        self._is_finished = True
        return self._digest.hexdigest()

    async def _start_flush(self, *, is_last: bool = False) -> None:
        await self._end_flush()
        block, self._block, self._block_bytes = self._block, [], 0
        self._flushing = asyncio.get_running_loop().run_in_executor(None, self._flush, block, is_last)

    async def _end_flush(self) -> None:
        if self._flushing is None:
            return
        try:
            await asyncio.shield(self._flushing)
        except OSError as error:
            raise self._translate(error) from error
        self._flushing = None

    async def _off_loop(self, work: Callable[[], None]) -> None:
        try:
            await _finish_even_if_cancelled(work)
        except OSError as error:
            raise self._translate(error) from error

    def _translate(self, error: OSError) -> Transient:
        code = "spool_full" if error.errno in FULL else "spool_failed"
        return Transient(code, f"{self._path.name}: {error.strerror or type(error).__name__}")

    def _flush(self, block: list[bytes], is_last: bool) -> None:  # noqa: FBT001 - executors pass no keywords
        if not self._is_ours:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._handle = os.open(self._path, flags, 0o600)
            self._is_ours = True
        for chunk in block:
            self._digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._handle, view) :]
        if is_last:
            self._close()

    def _empty(self) -> None:
        if self._is_ours:
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _discard(self) -> None:
        self._close()
        if self._is_ours:
            self._path.unlink(missing_ok=True)


async def _finish_even_if_cancelled(work: Callable[[], T]) -> T:
    """Run `work` in a thread and never leave before it is over: a cancelled caller must not close a file in use."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        future.exception()  # looked at, so that it is not reported as forgotten
        raise

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
"""Written at once: enough that changing threads costs nothing, little enough to hold for many downloads."""
FULL = frozenset({ENOSPC, EDQUOT, EFBIG})
T = TypeVar("T")


class SpoolSink:
    """Takes chunks, keeps at most one block. Raises Transient `spool_full` or `spool_failed`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self._handle = -1
        self._is_finished = False
        self.byte_count = 0

    async def __aenter__(self) -> Self:
        try:
            await self._off_loop(self._open)
        except BaseException:  # cancelled after the file was opened: nobody else would close it
            await self._off_loop(self._close)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._off_loop(self._close)

    async def write(self, chunk: bytes) -> None:
        """Take a chunk; now and then wait until a block is on disk."""
        self.byte_count += len(chunk)
        self._block += chunk
        if len(self._block) >= BLOCK_BYTES:
            await self._off_loop(self._flush)

    async def finish(self) -> str:
        """Write the rest, keep the file, return its SHA-256."""
        await self._off_loop(self._flush)
        self._is_finished = True
        return self._digest.hexdigest()

    async def _off_loop(self, work: Callable[[], None]) -> None:
        try:
            await _finish_even_if_cancelled(work)
        except OSError as error:
            code = "spool_full" if error.errno in FULL else "spool_failed"
            raise Transient(code, f"{self._path.name}: {error.strerror or type(error).__name__}") from error

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = os.open(self._path, flags, 0o600)

    def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        self._digest.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(self._handle, view) :]

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)
            if not self._is_finished:
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

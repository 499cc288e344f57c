"""Bodies that are files: they go to the spool as they come, never into memory, and are gone when the request is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import IO, Any

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from orchestrator.domain.errors import Fault, InvalidParams, Transient

FULL = frozenset({ENOSPC, EDQUOT})
MULTIPART = "multipart/form-data"
FILE_PART: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}


@dataclass(frozen=True)
class Received:
    """A file that has come in whole."""

    path: Path
    name: str


@asynccontextmanager
async def received(request: Request, spool: Path, *, plain_types: tuple[str, ...] = ()) -> AsyncIterator[Received]:
    """Give the file of a request: the part `file` of a form or, with one of `plain_types`, the body itself.

    Raises InvalidParams, and HTTPException (415) for a body of another type.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with _spooling(spool), tempfile.NamedTemporaryFile(dir=spool, prefix="upload-") as copy:
        if content_type == MULTIPART:
            name = await _take_part(request, copy.file)
        elif content_type in plain_types:
            name = await _take_body(request, copy.file)
        else:
            raise HTTPException(415, f"Content-Type is {', '.join((MULTIPART, *plain_types))}")
        yield Received(Path(copy.name), name)


@contextmanager
def _spooling(spool: Path) -> Iterator[None]:
    """Make the folder; a disk that is full passes by itself, or by an operator's hand (row C11)."""
    try:
        spool.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise Transient("spool_full", f"the upload found no room: {error.strerror}") from error


async def _take_part(request: Request, target: IO[bytes]) -> str:
    async with request.form(max_files=1, max_fields=10) as form:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidParams([Fault("missing_file", "file", "the form has no file called file")])
        await run_in_threadpool(_copy, part.file, target)
        return part.filename or "upload"


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    shutil.copyfileobj(source, target, 1 << 20)
    target.flush()


async def _take_body(request: Request, target: IO[bytes]) -> str:
    async for chunk in request.stream():
        if chunk:
            await run_in_threadpool(target.write, chunk)
    await run_in_threadpool(target.flush)
    return "body"

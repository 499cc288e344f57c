"""Inputs that came over HTTP: kept in the archive under their SHA-256, and named by an id in requests, never by a path."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import BinaryIO

from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.ids import FILE, make_id
from orchestrator.domain.kind import InputSlot, input_key
from orchestrator.domain.ports import Store, Upload, Uploads
from orchestrator.domain.references import looks_like_reference
from orchestrator.services.inputs import InputReader, Measured, measure_input
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.inline import UNKNOWN_TYPE, InputRefused, JudgeLink, is_inline, is_link, param_of
from orchestrator.services.jobfile.paths import Roots

UPLOAD_ID = re.compile(rf"{FILE}_[0-9a-f]{{32}}", re.ASCII)
MAX_NAME = 255
_PATH_HINT = "upload the file with POST /v1/files and write its id here"


class UploadReader(InputReader):
    """Reads the inputs of requests that came over HTTP: uploads of one owner, links and inline data; never a path."""

    def __init__(self, find: Callable[[str], Upload | None], judge_link: JudgeLink | None = None) -> None:
        super().__init__(Roots.make(None), judge_link)
        self._find_upload = find

    def find_input(self, slot: InputSlot) -> Measured | None:
        param, value = param_of(slot), slot.value
        if looks_like_reference(value) or is_link(value) or is_inline(value, param):
            return super().find_input(slot)
        if not UPLOAD_ID.fullmatch(value):
            message = f"{param} is {show(value)}: requests over HTTP name uploaded files by their id, never a path"
            raise InputRefused(Fault("path_refused", param, message, _PATH_HINT))
        return self.remember(value, lambda: self._measure_upload(value, param))

    def open_path(self, text: str, param: str) -> tuple[BinaryIO, int]:
        """An upload whose bytes the archive no longer has cannot be had again from anywhere."""
        message = f"{param} is {show(text)}: the archive does not hold it any more"
        raise InputRefused(Fault("input_missing", param, message, "upload it again"))

    def _measure_upload(self, upload_id: str, param: str) -> Measured:
        upload = self._find_upload(upload_id)
        if upload is None:
            message = f"{param} is {upload_id}: there is no such file"
            raise InputRefused(Fault("input_missing", param, message, _PATH_HINT))
        facts = upload.facts
        digest = bytes.fromhex(upload.sha256)
        return Measured(digest, facts.byte_count, facts.content_type, facts.width, facts.height, facts.duration_seconds)


def keep_upload(
    uploads: Uploads, store: Store, path: Path, *, name: str, owner: str, actor: str, rng: Random
) -> Upload:
    """Look at an uploaded file, keep its bytes in the archive unless they are there, and return it under a new id.

    What is no picture and no recording is refused before it is stored. Raises InvalidParams, StepErrors of the store.
    """
    with path.open("rb") as stream:
        try:
            measured = measure_input(stream, path.stat().st_size, "file")
        except InputRefused as refused:
            raise InvalidParams([refused.fault]) from refused
    if measured.content_type is None:
        message = "the file is neither a picture nor a recording that we know"
        raise InvalidParams([Fault("unsupported_format", "file", message, "JPEG, PNG, WAV, MP3 ...")])
    _store_once(store, path, measured)
    sha256 = measured.sha256.hex()

    def make(at: datetime) -> Upload:
        return Upload(make_id(FILE, now=at, rng=rng), owner, _plain(name), sha256, measured.facts, store.url, at)

    return uploads.add(make, actor=actor)


def _store_once(store: Store, path: Path, measured: Measured) -> None:
    key = input_key(measured.sha256.hex())
    present = store.find(key)
    if present is not None and present.byte_count == measured.byte_count:
        return
    store.put_file(
        key,
        path,
        sha256=measured.sha256.hex(),
        content_type=measured.content_type or UNKNOWN_TYPE,
        metadata={},
        remember_upload=_forget,
    )


def _plain(name: str) -> str:
    """A name is shown and never opened; folders and what cannot be printed are left out."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in last if sign.isprintable())[:MAX_NAME] or "upload"


def _forget(upload_id: str) -> None:
    """The sweep of stale uploads ends one that was cut off."""

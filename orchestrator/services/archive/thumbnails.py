"""Thumbnails beside archived outputs. Whatever goes wrong with one is noted and over: it is never the job's trouble."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import StepError
from orchestrator.domain.job import Job, Output, StoredFile
from orchestrator.domain.ports import Store
from orchestrator.domain.ports.thumbnails import Thumbnails
from orchestrator.domain.thumbnails import THUMBNAIL_TYPE, Thumbnail, thumbnail_key
from orchestrator.services.lanes.context import LaneContext

log = logging.getLogger(__name__)


def add_thumbnail(
    context: LaneContext, store: Store, job: Job, output: Output, file: StoredFile, path: Path
) -> StoredFile:
    """Return `file`, which is archived and of which `path` is a copy, with a thumbnail beside it; or as it is, where none
    can be made or stored. One try: nothing waits for another.
    """
    if context.thumbnails is None or thumbnail_key(file.key) is None:
        return file
    try:
        thumbnail = store_thumbnail(context.thumbnails, store, file, path)
    except StepError as error:
        log.warning("thumbnail_failed", extra={"job_id": job.id, "output_id": output.id, "error": str(error)})
        return file
    reach(CrashPoint.THUMBNAIL_STORED)
    return replace(file, thumbnail=thumbnail)


def store_thumbnail(thumbnails: Thumbnails, store: Store, file: StoredFile, path: Path) -> Thumbnail:
    """Make it of the bytes at `path` and store it under its own key. Raises StepErrors of both."""
    key = thumbnail_key(file.key)
    assert key is not None
    made = thumbnails.make(path, file.content_type)
    store.put_bytes(key, made.data, content_type=THUMBNAIL_TYPE)
    return Thumbnail(len(made.data), hashlib.sha256(made.data).hexdigest(), made.width, made.height)

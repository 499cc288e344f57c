"""Thumbnails beside archived outputs. Whatever goes wrong with one is noted and over: it is never the job's trouble."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import Conflict, StepError, Transient
from orchestrator.domain.job import Job, Output, StoredFile
from orchestrator.domain.ports import Store
from orchestrator.domain.ports.audit import Audit
from orchestrator.domain.ports.thumbnails import Thumbnails
from orchestrator.domain.thumbnails import THUMBNAIL_TYPE, Thumbnail, thumbnail_key
from orchestrator.services.archive.manifest import make_manifest, manifest_key
from orchestrator.services.archive.spooled import copy_back
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


def list_missing(audit: Audit) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each job of which an archived output could have a thumbnail and has none, with the ids of those outputs."""
    for job in audit.iter_archived():
        lacking = [i for i, file in job.files.items() if file.thumbnail is None and thumbnail_key(file.key) is not None]
        if lacking:
            yield job.id, lacking


def make_anew(context: LaneContext, job_id: str, output_id: str) -> Thumbnail:
    """Make the thumbnail of an archived output of the bytes in the archive; store it, then say so in papers and row: who
    dies between leaves a file that nobody misses. One output of a job at a time, since they share their papers.
    Raises StepErrors, NotFound, Conflict (nothing is archived any more).
    """
    filed = context.papers.load_filed(job_id)
    output = next(output for output in filed.job.outputs if output.id == output_id)
    file, store = output.kept, context.stores.open(filed.job.archive_url)
    if file is None or context.thumbnails is None:
        raise Conflict(f"{output_id} has nothing to make a thumbnail of, or nothing here makes any")
    mine = f"{context.rng.getrandbits(64):016x}"  # another process may be at the same output
    spool = context.spool / f"{output_id}.{mine}.part"
    try:
        copy = copy_back(store, file.key, spool)
        if copy.sha256 != file.sha256:
            raise Transient("archive_differs", f"{file.key} is not as it was stored")
        thumbnail = store_thumbnail(context.thumbnails, store, file, spool)
    except OSError as error:
        raise Transient("spool_failed", f"the spool: {error.strerror}") from error
    finally:
        spool.unlink(missing_ok=True)
    papers = manifest_key(filed.job)
    if store.find(papers) is not None:
        files = {output_id: replace(file, thumbnail=thumbnail)}
        text = make_manifest(filed, written_at=context.clock.now(), tool_version=context.tool_version, files=files)
        store.put_bytes(papers, text, content_type="application/json")
    if not context.papers.set_thumbnail(output_id, thumbnail, made_from_sha256=file.sha256):
        store.delete(papers)  # retention came first: what was just written would keep a prompt alive
        store.delete(str(thumbnail_key(file.key)))
        raise Conflict(f"{output_id} was taken away meanwhile")
    return thumbnail

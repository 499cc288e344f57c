"""Archive one job's outputs: fetch to the spool, check in order, store under the final key, read back, then report.

Source and sink never share a call; nothing is held in memory whole (design section 8).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import Gone, StepError, Transient
from orchestrator.domain.job import Job, Output, Role, StoredFile
from orchestrator.domain.media import MediaFacts, MediaRefused, Unrecognised, inspect, is_suspect
from orchestrator.domain.outcomes import ArchiveStep, OutputFailed, OutputLinkDead, OutputResult, OutputStored
from orchestrator.domain.ports import Store
from orchestrator.services.archive.at_risk import host_of
from orchestrator.services.archive.manifest import job_folder, make_manifest, manifest_key
from orchestrator.services.archive.spooled import Spooled, copy_back
from orchestrator.services.archive.thumbnails import add_thumbnail
from orchestrator.services.lanes.context import LaneContext

log = logging.getLogger(__name__)

TEXT_TYPES = {Role.TRANSCRIPT: ("text/plain; charset=utf-8", "txt"), Role.TRANSCRIPT_JSON: ("application/json", "json")}
MEDIA_OF_ROLE = {Role.IMAGE: "image/", Role.COVER: "image/", Role.VIDEO: "video/"}


async def archive_outputs(context: LaneContext, job: Job) -> ArchiveStep:
    """Archive what is not archived yet, then write the papers once every mandatory output is there."""
    try:
        store = context.stores.open(job.archive_url)
    except StepError as error:
        return ArchiveStep((), error=str(error))
    pending = [output for output in job.outputs if not output.is_settled]
    results = await asyncio.gather(*(_archive_one(context, store, job, output) for output in pending))
    files = {o.id: o.stored for o in job.outputs if o.stored} | {
        r.output_id: r.file for r in results if isinstance(r, OutputStored)
    }
    if any(output.id not in files for output in job.outputs if not output.is_optional):
        return ArchiveStep(tuple(results))
    stored = [result for result in results if isinstance(result, OutputStored)]
    try:
        await asyncio.get_running_loop().run_in_executor(
            context.storing, partial(_file_papers, context, store, job, stored)
        )
    except StepError as error:
        return ArchiveStep(tuple(results), error=f"manifest.json could not be stored: {error}")
    reach(CrashPoint.PAPERS_STORED)
    return ArchiveStep(tuple(results))


def _file_papers(context: LaneContext, store: Store, job: Job, stored: Sequence[OutputStored]) -> None:
    """Write manifest.json from what the table says now and what this pass has stored."""
    papers = make_manifest(
        context.papers.load_filed(job.id),
        written_at=context.clock.now(),
        tool_version=context.tool_version,
        files={result.output_id: result.file for result in stored},
        hosts={result.output_id: result.source_host for result in stored if result.source_host},
    )
    store.put_bytes(manifest_key(job), papers, content_type="application/json")


async def _archive_one(context: LaneContext, store: Store, job: Job, output: Output) -> OutputResult:
    spool = context.spool / f"{output.id}.{job.lease_token}.part"
    loop = asyncio.get_running_loop()
    try:
        try:
            spooled = await _bring(context, output, spool)
        except Gone as error:
            left = await loop.run_in_executor(context.storing, _find_left, store, job, output, spool)
            if left is None:
                return OutputLinkDead(output.id, _digest(output.source_url or ""), error.message)
            log.info("output_found_in_archive", extra={"job_id": job.id, "output_id": output.id, "key": left.key})
            file = left
        else:
            reach(CrashPoint.OUTPUT_FETCHED)
            file = await loop.run_in_executor(context.storing, _check_and_store, context, store, job, output, spooled)
        file = await loop.run_in_executor(context.storing, add_thumbnail, context, store, job, output, file, spool)
        return OutputStored(output.id, file, host_of(output))
    except StepError as error:
        return OutputFailed(output.id, error.code, error.message, error.retry_after, is_suspect=is_suspect(error.code))
    except OSError as error:
        return OutputFailed(output.id, "spool_failed", f"the spool: {error.strerror}")
    finally:
        await asyncio.to_thread(spool.unlink, missing_ok=True)


async def _bring(context: LaneContext, output: Output, spool: Path) -> Spooled:
    """Put the output's bytes into the spool file."""
    if output.text is not None:
        return await asyncio.to_thread(_write_text, spool, output.text.encode())
    if output.source_url is None:
        raise Gone("no_link", "its link is not known any more")
    limits = context.limits
    fetched = await context.fetch.fetch(
        output.source_url, spool, max_bytes=limits.output_max_bytes, deadline=limits.fetch_deadline
    )
    return Spooled(spool, fetched.byte_count, fetched.sha256)


def _find_left(store: Store, job: Job, output: Output, spool: Path) -> StoredFile | None:
    """Return what a run that died between the store and the row has left in the archive: its link may be dead by now, and
    then these are the only bytes that were paid for. The key names their SHA-256; they are read whole and walked.
    """
    for key in store.list_keys(f"{job_folder(job)}/{output.index}-{output.role}-"):
        try:
            file = _describe(job, output, copy_back(store, key, spool))
        except MediaRefused:
            continue
        if file.key == key:
            return file
    return None


def _write_text(path: Path, text: bytes) -> Spooled:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return Spooled(path, len(text), hashlib.sha256(text).hexdigest())


def _check_and_store(context: LaneContext, store: Store, job: Job, output: Output, spooled: Spooled) -> StoredFile:
    file = _describe(job, output, spooled)
    if store.find(file.key) is not None and _is_stored(store, file):
        return file  # a run that died between the store and the row has done it already (fault E22)
    metadata = object_metadata(context, job, output, file)
    store.put_file(
        file.key,
        spooled.path,
        sha256=file.sha256,
        content_type=file.content_type,
        metadata=metadata,
        remember_upload=lambda upload_id: context.jobs.remember_upload(output.id, upload_id),
    )
    reach(CrashPoint.OUTPUT_PUT)
    if not _is_stored(store, file):
        raise Transient("read_back_differs", f"the store does not hold what was sent as {file.key}")
    reach(CrashPoint.OUTPUT_VERIFIED)
    return file


def object_metadata(context: LaneContext, job: Job, output: Output, file: StoredFile) -> dict[str, str]:
    """Return what an object says of itself where the store keeps such facts: whose it is, and its SHA-256."""
    return {
        "job-id": job.id,
        "output-id": output.id,
        "kind": job.kind,
        "role": str(output.role),
        "sha256": file.sha256,
        "tool-version": context.tool_version,
    }


def _describe(job: Job, output: Output, spooled: Spooled) -> StoredFile:
    """Check the container to its end and return the file as it is to be stored."""
    sha256, size = spooled.sha256, spooled.byte_count
    if output.role in TEXT_TYPES:
        content_type, extension = TEXT_TYPES[output.role]
        return StoredFile(_key(job, output, sha256, extension), size, sha256, content_type)
    facts = _walk(spooled.path, size, output.role)
    return StoredFile(
        _key(job, output, sha256, facts.extension),
        size,
        sha256,
        facts.content_type,
        width=facts.width,
        height=facts.height,
        duration_seconds=facts.duration_seconds,
        codec=facts.codec,
        notes=facts.notes,
    )


def _walk(spool: Path, size: int, role: Role) -> MediaFacts:
    with spool.open("rb") as stream:
        facts = inspect(stream, size)
    if not facts.content_type.startswith(MEDIA_OF_ROLE[role]):
        reason = f"a {role} was expected and the bytes are {facts.content_type}"
        raise Unrecognised(reason, content_type=facts.content_type)
    return facts


def _is_stored(store: Store, file: StoredFile) -> bool:
    """Read the object back from the store and compare length and SHA-256."""
    try:
        found = store.read_back(file.key)
    except Gone:
        return False
    return found.byte_count == file.byte_count and found.sha256 == file.sha256


def _key(job: Job, output: Output, sha256: str, extension: str) -> str:
    return f"{job_folder(job)}/{output.index}-{output.role}-{sha256[:12]}.{extension}"


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()

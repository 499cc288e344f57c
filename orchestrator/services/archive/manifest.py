"""The papers of a job: manifest.json beside its outputs, enough to rebuild its rows without the database.

Written from, and read into, the values of domain.papers: what is written is what is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import Job, Output, StoredFile
from orchestrator.domain.kind import FrozenInput, input_key
from orchestrator.domain.papers import (
    MANIFEST_VERSION,
    CostPaper,
    Filed,
    InputPaper,
    JobPaper,
    Manifest,
    OutputPaper,
    SubmissionPaper,
    ThumbnailPaper,
)
from orchestrator.domain.retention import Kept
from orchestrator.domain.thumbnails import thumbnail_key

MANIFEST = "manifest.json"
MANIFEST_KEY = re.compile(rf"\d{{4}}/\d{{2}}/\d{{2}}/(?P<job_id>job_[0-9a-f]{{32}})/{re.escape(MANIFEST)}", re.ASCII)
MOST_BYTES = 64 << 20
"""A manifest that is longer is none: bodies are capped far below."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DamagedManifest(Exception):
    """What lies there is no manifest that can be used; the message says why, in words."""


def job_folder(job: Job | Kept) -> str:
    """Return the key prefix of a job's outputs: `<yyyy>/<mm>/<dd>/<job id>`, of created_at in UTC."""
    return f"{job.created_at:%Y/%m/%d}/{job.id}"


def manifest_key(job: Job | Kept) -> str:
    """Return the key of a job's manifest."""
    return f"{job_folder(job)}/{MANIFEST}"


def manifest_beside(key: str) -> str:
    """Return the key of the manifest that lies beside an output's object."""
    return f"{key.rpartition('/')[0]}/{MANIFEST}"


def make_manifest(
    filed: Filed,
    *,
    written_at: datetime,
    tool_version: str,
    files: Mapping[str, StoredFile] | None = None,
    hosts: Mapping[str, str] | None = None,
) -> bytes:
    """Return manifest.json of a job. `files` and `hosts`, by output id: what this pass has stored, and from where; the
    table does not say so yet.
    """
    fresh, known_hosts = files or {}, {**filed.hosts, **(hosts or {})}
    outputs = sorted(filed.job.outputs, key=lambda output: output.index)
    value = Manifest(
        manifest_version=MANIFEST_VERSION,
        tool_version=tool_version,
        written_at=written_at,
        job=_job_paper(filed),
        batch=filed.batch,
        submissions=tuple(_submission_paper(record) for record in filed.submissions),
        outputs=tuple(
            _output_paper(
                output,
                fresh.get(output.id) or output.stored,
                announced_at=filed.announced[output.id],
                host=known_hosts.get(output.id),
                archived_at=output.archived_at or written_at,
            )
            for output in outputs
        ),
    )
    return _adapter().dump_json(value, indent=2) + b"\n"


def read_manifest(data: bytes, key: str) -> Manifest:
    """Return the manifest in `data`, which lies at `key`. Raises DamagedManifest with the first thing that is wrong."""
    if b"\\u0000" in data:
        raise DamagedManifest("it holds a NUL, which no job can")
    try:
        value = _adapter().validate_json(data, strict=True)
    except ValidationError as error:
        raise DamagedManifest(_first_fault(error)) from error
    if value.manifest_version != MANIFEST_VERSION:
        raise DamagedManifest(f"manifest_version is {value.manifest_version} and not {MANIFEST_VERSION}")
    for fault in _find_faults(value, key):
        raise DamagedManifest(fault)
    return value


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _first_fault(error: ValidationError) -> str:
    """Pydantic's first finding: where, and what; not the value, which may be long."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _find_faults(value: Manifest, key: str) -> Iterator[str]:
    """Papers speak for one folder: they can claim no object elsewhere, and no other job."""
    folder = key.rpartition("/")[0]
    if not folder.endswith(f"/{value.job.id}"):
        yield f"it is of {value.job.id}, and lies in {folder}"
    for output in value.outputs:
        if not output.is_archived:
            continue
        if output.key is None or output.bytes is None or output.content_type is None or output.archived_at is None:
            yield f"outputs.{output.index}: archived, and its key, bytes, content_type or archived_at is missing"
        elif output.key.rpartition("/")[0] != folder:
            yield f"outputs.{output.index}.key: {output.key} lies outside {folder}"
        if _SHA256.fullmatch(output.sha256 or "") is None:
            yield f"outputs.{output.index}.sha256: not 64 hexadecimal digits"
        if output.thumbnail is not None and output.thumbnail.key != thumbnail_key(output.key or ""):
            yield f"outputs.{output.index}.thumbnail.key: {output.thumbnail.key} is not the one beside {output.key}"
    if all(not output.is_archived for output in value.outputs):
        yield "outputs: none is archived"
    if value.batch is not None and value.batch.id != value.job.batch_id:
        yield f"batch.id: {value.batch.id} is not the job's batch"
    if value.batch is None or value.job.line_number is None:
        yield "batch, job.line_number: every job has both"


def _job_paper(filed: Filed) -> JobPaper:
    job = filed.job
    return JobPaper(
        id=job.id,
        kind=job.kind,
        model=job.model,
        archive_class=filed.archive_class,
        owner=job.owner,
        credential=job.credential,
        batch_id=job.batch_id,
        line_number=job.line_number,
        custom_id=job.custom_id,
        tags=dict(job.tags),
        priority=job.priority,
        input=dict(job.input),
        body=dict(job.body),
        body_sha256=job.body_sha256,
        inputs=tuple(_find_inputs(job.body)),
        parents=filed.parents,
        provider_task_id=job.provider_task_id,
        created_at=job.created_at,
        not_before=job.not_before,
        submitted_at=job.submitted_at,
        cancel_requested_at=job.cancel_requested_at,
        submission_count=job.submission_count,
        poll_count=job.poll_count,
        cost=_cost_paper(job),
    )


def _find_inputs(value: object, param: str = "") -> Iterator[InputPaper]:
    """Yield the files that a frozen body names, with the parameter that each stands in."""
    file = FrozenInput.from_json(value)
    if file is not None:
        archive, key = file.kept_at or (None, input_key(file.sha256))
        yield InputPaper(param, file.name, file.byte_count, file.content_type, file.sha256, archive, key)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _find_inputs(inner, f"{param}.{name}" if param else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _find_inputs(inner, f"{param}.{place}")


def _cost_paper(job: Job) -> CostPaper | None:
    if job.price is None:
        return None
    return CostPaper(
        currency=job.price.currency,
        estimate_micros=job.price.micros,
        final_micros=job.cost_final_micros,
        price_version=job.price.version,
    )


def _submission_paper(record: SubmissionRecord) -> SubmissionPaper:
    submission, price = record.submission, record.price
    return SubmissionPaper(
        id=submission.id,
        number=submission.number,
        origin=str(submission.origin),
        process=record.process,
        credential=record.credential,
        model=record.model,
        body_sha256=record.body_sha256,
        price_micros=price.micros if price else None,
        price_currency=price.currency if price else None,
        price_version=price.version if price else None,
        intent_at=submission.intent_at,
        moment=record.moment,
        sent_at=record.sent_at,
        answered_at=record.answered_at,
        http_status=record.http_status,
        verdict=str(submission.verdict) if submission.verdict else None,
        verdict_at=record.verdict_at,
        provider_code=submission.provider_code,
        message=submission.message,
        task_id=submission.task_id,
        final_answer=str(submission.final_answer) if submission.final_answer else None,
        final_at=submission.final_at,
        superseded_at=submission.superseded_at,
        slot_released_at=record.slot_released_at,
        assumed_life_until=record.assumed_life_until,
        decided_by=record.decided_by,
        decided_why=record.decided_why,
    )


def _output_paper(
    output: Output, file: StoredFile | None, *, announced_at: datetime, host: str | None, archived_at: datetime
) -> OutputPaper:
    return OutputPaper(
        id=output.id,
        index=output.index,
        role=output.role,
        is_archived=file is not None,
        announced_at=announced_at,
        source_host=host,
        source_expires_at=output.source_expires_at,
        is_expiry_assumed=output.is_expiry_assumed,
        key=file.key if file else None,
        bytes=file.byte_count if file else None,
        sha256=file.sha256 if file else None,
        content_type=file.content_type if file else None,
        width=file.width if file else None,
        height=file.height if file else None,
        duration_seconds=file.duration_seconds if file else None,
        codec=file.codec if file else None,
        notes=file.notes if file else (),
        archived_at=archived_at if file else None,
        thumbnail=_thumbnail_paper(file) if file else None,
    )


def _thumbnail_paper(file: StoredFile) -> ThumbnailPaper | None:
    small = file.small
    if small is None or small.width is None or small.height is None:
        return None
    return ThumbnailPaper(
        key=small.key,
        bytes=small.byte_count,
        sha256=small.sha256,
        content_type=small.content_type,
        width=small.width,
        height=small.height,
        made_from_sha256=file.sha256,
    )

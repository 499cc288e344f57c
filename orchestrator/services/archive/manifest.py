"""The papers of a job: manifest.json beside its outputs, enough to rebuild its rows without the database."""

from __future__ import annotations

import json
from datetime import datetime

from orchestrator.domain.job import Job, Output, StoredFile
from orchestrator.domain.retention import Kept

VERSION = 1
MANIFEST = "manifest.json"


def job_folder(job: Job | Kept) -> str:
    """Return the key prefix of a job's outputs: `<yyyy>/<mm>/<dd>/<job id>`, of created_at in UTC."""
    return f"{job.created_at:%Y/%m/%d}/{job.id}"


def manifest_key(job: Job | Kept) -> str:
    """Return the key of a job's manifest."""
    return f"{job_folder(job)}/{MANIFEST}"


def manifest_beside(key: str) -> str:
    """Return the key of the manifest that lies beside an output's object."""
    return f"{key.rpartition('/')[0]}/{MANIFEST}"


def make_manifest(job: Job, files: dict[str, StoredFile], *, written_at: datetime, tool_version: str) -> bytes:
    """Return manifest.json for a job whose mandatory outputs are `files` (by output id)."""
    value = {
        "manifest_version": VERSION,
        "tool_version": tool_version,
        "written_at": _iso(written_at),
        "job": {
            "id": job.id,
            "kind": job.kind,
            "model": job.model,
            "owner": job.owner,
            "custom_id": job.custom_id,
            "batch_id": job.batch_id,
            "tags": dict(job.tags),
            "input": job.input,
            "body": job.body,
            "body_sha256": job.body_sha256,
            "credential": job.credential,
            "provider_task_id": job.provider_task_id,
            "submission_ids": [s.id for s in job.submissions],
            "created_at": _iso(job.created_at),
            "submitted_at": _iso(job.submitted_at),
            "cost": _cost(job),
        },
        "outputs": [_output(output, files.get(output.id)) for output in job.outputs],
    }
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=False) + "\n").encode()


def _cost(job: Job) -> dict[str, object] | None:
    if job.price is None:
        return None
    return {
        "currency": job.price.currency,
        "estimate_micros": job.price.micros,
        "final_micros": job.cost_final_micros,
        "price_version": job.price.version,
    }


def _output(output: Output, file: StoredFile | None) -> dict[str, object]:
    value: dict[str, object] = {"id": output.id, "index": output.index, "role": output.role}
    if file is None:
        return {**value, "is_archived": False}
    return {
        **value,
        "is_archived": True,
        "key": file.key,
        "bytes": file.byte_count,
        "sha256": file.sha256,
        "content_type": file.content_type,
        "width": file.width,
        "height": file.height,
        "duration_seconds": file.duration_seconds,
        "codec": file.codec,
        "notes": list(file.notes),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

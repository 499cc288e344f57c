"""The objects that people and programs are shown (surfaces sections 2 and 3), made from domain values.

Names and their order are a promise. Nothing secret stands in them: no source links, no credentials beyond their name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from orchestrator.domain.advice import Entry
from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import Job, JobEvent, Output
from orchestrator.domain.kind import Kind
from orchestrator.domain.progress import AnyHold
from orchestrator.domain.states import State
from orchestrator.services.batches import show_micros
from orchestrator.services.explain import advise, describe, explain

__all__ = [
    "cost_object",
    "describe",
    "error_object",
    "event_object",
    "explain",
    "failure_object",
    "job_object",
    "not_there",
    "output_object",
    "results_line",
    "show_time",
    "submission_object",
]

Object = dict[str, object]
Sign = Callable[[Output], tuple[str, datetime]]
"""Gives an archived output a link and the time until which it works."""


def job_object(
    job: Job,
    *,
    now: datetime,
    kinds: Mapping[str, Kind],
    sign: Sign | None = None,
    sign_small: Sign | None = None,
    hold: AnyHold | None = None,
) -> Object:
    """Return the job object. Outputs carry links only with `sign`, thumbnails with `sign_small`. `hold`: a pause or budget known to keep it."""
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "model": job.model,
        "status": str(job.state),
        "status_reason": describe(job, now=now, kinds=kinds, hold=hold),
        "input": dict(job.input),
        "custom_id": job.custom_id,
        "batch_id": job.batch_id,
        "tags": dict(job.tags),
        "priority": job.priority,
        "provider_task_id": job.provider_task_id,
        "outputs": [output_object(output, sign=sign, sign_small=sign_small) for output in job.outputs],
        "failure": failure_object(job, kinds=kinds),
        "cost": cost_object(job),
        "submission_count": job.submission_count,
        "poll_count": job.poll_count,
        "created_at": show_time(job.created_at),
        "submitted_at": show_time(job.submitted_at),
        "finished_at": show_time(job.finished_at),
    }


def output_object(output: Output, *, sign: Sign | None = None, sign_small: Sign | None = None) -> Object:
    """Return the output object; facts are null until it is archived. `sign_small`: gives links to thumbnails."""
    stored = output.stored
    url, expires_at = sign(output) if sign is not None and output.kept is not None else (None, None)
    return {
        "id": output.id,
        "role": str(output.role),
        "key": output.kept.key if output.kept else None,
        "bytes": stored.byte_count if stored else None,
        "sha256": stored.sha256 if stored else None,
        "content_type": stored.content_type if stored else None,
        "width": stored.width if stored else None,
        "height": stored.height if stored else None,
        "duration_seconds": stored.duration_seconds if stored else None,
        "url": url,
        "url_expires_at": show_time(expires_at),
        "source_expires_at": show_time(output.source_expires_at),
        "archived_at": show_time(output.archived_at),
        "is_lost": output.is_lost,
        "erased_at": show_time(output.erased_at),
        "thumbnail": _thumbnail_object(output, sign_small),
    }


def _thumbnail_object(output: Output, sign: Sign | None) -> Object | None:
    small = output.kept.small if output.kept is not None else None
    if small is None:
        return None
    url, expires_at = sign(output) if sign is not None else (None, None)
    return {
        "key": small.key,
        "bytes": small.byte_count,
        "sha256": small.sha256,
        "content_type": small.content_type,
        "width": small.width,
        "height": small.height,
        "url": url,
        "url_expires_at": show_time(expires_at),
    }


def not_there(output: Output) -> str:
    """Return in words why an output has no bytes in the archive."""
    if output.erased_at is not None:
        return f"{output.id} was taken away by a retention rule on {output.erased_at:%Y-%m-%d}"
    return f"{output.id} is not archived"


def failure_object(job: Job, *, kinds: Mapping[str, Kind]) -> Object | None:
    """Return the failure of a failed job, None for any other."""
    if job.state is not State.FAILED:
        return None
    return {
        "code": job.failure_code,
        "message": job.failure_message,
        "advice": advise(job, kinds),
        "provider_code": job.provider_code,
    }


def cost_object(job: Job) -> Object:
    """Return the cost: `final` is the table price once accepted, 0 when surely refused, null while unknown.

    A charge that nobody can know is said so: `"charge": "unknown"`.
    """
    cost: Object = {
        "currency": job.price.currency if job.price else None,
        "estimate": show_micros(job.price.micros) if job.price else None,
        "final": show_micros(job.cost_final_micros) if job.cost_final_micros is not None else None,
        "price_version": job.price.version if job.price else None,
    }
    is_open = job.state in (State.FAILED, State.CANCELLED, State.NEEDS_REVIEW) and job.submission_count > 0
    if is_open and job.cost_final_micros is None:
        cost["charge"] = "unknown"
    return cost


def event_object(event: JobEvent) -> Object:
    """Return a row of the history."""
    return {
        "id": event.id,
        "object": "event",
        "job_id": event.job_id,
        "sequence": event.sequence,
        "type": event.type,
        "from_state": str(event.from_state) if event.from_state else None,
        "to_state": str(event.to_state) if event.to_state else None,
        "at": show_time(event.at),
        "actor": event.actor,
        "reason": event.reason,
        "data": dict(event.data),
    }


def submission_object(record: SubmissionRecord) -> Object:
    """Return one try at the paid call with every piece of evidence there is."""
    submission = record.submission
    return {
        "id": submission.id,
        "object": "submission",
        "job_id": submission.job_id,
        "number": submission.number,
        "origin": str(submission.origin),
        "credential": record.credential,
        "model": record.model,
        "process": record.process,
        "body_sha256": record.body_sha256,
        "price": show_micros(record.price.micros) if record.price else None,
        "intent_at": show_time(submission.intent_at),
        "moment": record.moment,
        "sent_at": show_time(record.sent_at),
        "answered_at": show_time(record.answered_at),
        "http_status": record.http_status,
        "verdict": str(submission.verdict) if submission.verdict else None,
        "verdict_at": show_time(record.verdict_at),
        "provider_code": submission.provider_code,
        "message": submission.message,
        "provider_task_id": submission.task_id,
        "final_answer": str(submission.final_answer) if submission.final_answer else None,
        "final_at": show_time(submission.final_at),
        "superseded_at": show_time(submission.superseded_at),
        "slot_released_at": show_time(record.slot_released_at),
        "assumed_life_until": show_time(record.assumed_life_until),
        "decided_by": record.decided_by,
        "decided_why": record.decided_why,
        "raw_answer": record.raw_answer,
    }


def results_line(
    job: Job,
    *,
    now: datetime,
    kinds: Mapping[str, Kind],
    sign: Sign | None = None,
    sign_small: Sign | None = None,
) -> Object:
    """Return the line of a results file: the job object of a success, the error of everything else."""
    is_success = job.state is State.SUCCEEDED
    body = job_object(job, now=now, kinds=kinds, sign=sign, sign_small=sign_small) if is_success else None
    return {
        "id": job.id,
        "custom_id": job.custom_id,
        "status": str(job.state),
        "response": {"status_code": 200, "body": body} if is_success else None,
        "error": None if is_success else _error(job, now=now, kinds=kinds),
    }


def error_object(entry: Entry) -> Object:
    """Return a row of the error catalogue: `then` is what happens next without anybody doing anything."""
    return {
        "code": entry.code,
        "object": "error",
        "source": str(entry.source),
        "then": str(entry.then),
        "meaning": entry.meaning,
        "advice": entry.advice,
    }


def show_time(moment: datetime | None) -> str | None:
    """Return RFC 3339 in UTC, to the millisecond."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(job: Job, *, now: datetime, kinds: Mapping[str, Kind]) -> Object:
    """A job that did not fail but did not succeed either is told by its state."""
    code = job.failure_code if job.state is State.FAILED else str(job.state)
    return {"code": code, "message": describe(job, now=now, kinds=kinds), "advice": advise(job, kinds)}

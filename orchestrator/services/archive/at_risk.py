"""What is not archived yet, by the time that is left: whose it is, where its link leads, and why it waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from orchestrator.domain.job import Job, Output
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports.unarchived import Unarchived, UnarchivedOutputs
from orchestrator.domain.states import FINAL, State
from orchestrator.services.explain import describe
from orchestrator.services.views import Object, show_time

PAGE = 500


def iter_unarchived(
    outputs: UnarchivedOutputs, *, now: datetime, within: timedelta | None = None
) -> Iterator[Unarchived]:
    """Yield what is not archived, those whose links die first; `within`: only whose links die so soon, or are over."""
    before = None if within is None else now + within
    last: Unarchived | None = None
    while page := outputs.list_unarchived(now=now, before=before, after=last, limit=PAGE):
        yield from page
        last = page[-1]


def risk_object(found: Unarchived, *, now: datetime, kinds: Mapping[str, Kind]) -> Object:
    """Return the row of one output. The link itself stays out of it: whoever holds it can fetch the file."""
    job, output = found.job, found.output
    expires_at = output.source_expires_at
    return {
        "id": output.id,
        "object": "unarchived_output",
        "job_id": job.id,
        "custom_id": job.custom_id,
        "status": str(job.state),
        "role": str(output.role),
        "host": host_of(output),
        "source_expires_at": show_time(expires_at),
        "is_assumed": output.is_expiry_assumed,
        "seconds_left": None if expires_at is None else round((expires_at - now).total_seconds()),
        "time_left": show_left(expires_at, now),
        "attempt_count": output.attempt_count,
        "message": _why(job, output, now, kinds),
    }


def host_of(output: Output) -> str | None:
    """Return the host that serves an output; None when it came inside the answer, or its link is not known."""
    return urlsplit(output.source_url).hostname if output.source_url else None


def show_left(expires_at: datetime | None, now: datetime) -> str:
    """Return the time left as `2d 4h`, `3h 20m`, `12m`; an assumed end may pass without harm."""
    if expires_at is None:
        return "no end known"
    minutes = int((expires_at - now).total_seconds() // 60)
    if minutes < 0:
        return "over"
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m"


def _why(job: Job, output: Output, now: datetime, kinds: Mapping[str, Kind]) -> str:
    trouble = f"{output.last_error}; " if output.last_error and output.last_error not in (job.last_error or "") else ""
    if job.state in FINAL:
        return f"{trouble}the job {_ended(job)}; orchestrator jobs retry {job.id} fetches it, nothing is paid"
    if job.state is State.PROCESSING:
        until = f" at {show_time(job.due_at)}" if job.due_at is not None and job.due_at > now else ""
        return f"{trouble}{job.last_error or 'its link is dead'}; the provider is asked{until}"
    return f"{trouble}{describe(job, now=now, kinds=kinds)}"


def _ended(job: Job) -> str:
    return f"failed ({job.failure_code})" if job.state is State.FAILED else "was cancelled"

"""The audit log as the command line writes it: before the thing is done, as the API and the console do."""

from __future__ import annotations

from orchestrator.domain.access import EVERYONE, AuditEntry
from orchestrator.wiring import App

ACTOR = "local"
"""Whoever works on the machine itself; who that was the system's own logs say."""


def note(app: App, action: str, subject: str, *, owner: str = EVERYONE, reason: str = "", count: int = 1) -> None:
    """Write the line of one thing that is asked for here."""
    app.audit_log.append(AuditEntry(ACTOR, action, subject, owner, reason, count))


def note_job(app: App, action: str, job_id: str, *, reason: str) -> None:
    """As `note`, about a job. Raises NotFound."""
    note(app, f"job.{action}", job_id, owner=app.history.get_job(job_id).owner, reason=reason)


def note_batch(app: App, action: str, batch_id: str, *, reason: str, count: int = 1) -> None:
    """As `note`, about a batch and so many of its jobs. Raises NotFound."""
    note(app, f"batch.{action}", batch_id, owner=app.batches.get(batch_id).owner, reason=reason, count=count)


def note_endpoint(app: App, action: str, endpoint_id: str, *, reason: str = "") -> None:
    """As `note`, about an endpoint. Raises NotFound."""
    note(app, f"webhook_endpoint.{action}", endpoint_id, owner=app.endpoints.get(endpoint_id).owner, reason=reason)

"""Objects that the HTTP API brought with it: keys, audit lines, files, models, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.access import ApiKey, AuditEntry
from orchestrator.domain.errors import Fault
from orchestrator.domain.figures import ModelPause
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Upload
from orchestrator.services.batches import show_micros
from orchestrator.services.jobfile.tally import Estimate
from orchestrator.services.views import Object, show_time


def key_object(key: ApiKey, *, text: str | None = None) -> Object:
    """Return a key; `text` is the key itself, shown once."""
    row: Object = {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "role": str(key.role),
        "owner": key.owner,
        "created_at": show_time(key.created_at),
        "created_by": key.created_by,
        "expires_at": show_time(key.expires_at),
        "revoked_at": show_time(key.revoked_at),
    }
    return row if text is None else {**row, "key": text}


def audit_object(entry: AuditEntry) -> Object:
    """Return a line of the audit log."""
    return {
        "id": entry.id,
        "object": "audit_entry",
        "at": show_time(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "owner": entry.owner,
        "reason": entry.reason,
        "count": entry.count,
    }


def file_object(upload: Upload) -> Object:
    """Return an uploaded input: its id is what requests name."""
    facts = upload.facts
    return {
        "id": upload.id,
        "object": "file",
        "name": upload.name,
        "bytes": facts.byte_count,
        "sha256": upload.sha256,
        "content_type": facts.content_type,
        "width": facts.width,
        "height": facts.height,
        "duration_seconds": facts.duration_seconds,
        "created_at": show_time(upload.created_at),
    }


def model_object(row: Object, kinds: Mapping[str, Kind], *, account: ModelPause | None, has_figures: bool) -> Object:
    """Return a model of `services.models.list_models` as the API shows it: with its price, and paused when the account is.

    Without `has_figures` what waits and runs of every owner is left out.
    """
    name = str(row["model"])
    kind = kinds.get(str(row["kind"]))
    model = kind.models.get(name) if kind else None
    price = model.price if model else None
    shown: Object = {
        "id": name,
        **row,
        "is_default": kind is not None and kind.default_model == name,
        "price": show_micros(price.micros) if price else None,
        "currency": price.currency if price else None,
        "price_version": price.version if price else None,
    }
    if not has_figures:
        shown |= dict.fromkeys(("queued", "processing", "archiving"))
    if account is not None and not row["is_paused"]:
        until = show_time(account.until)
        shown |= {
            "is_paused": True,
            "paused_until": until,
            "pause_code": account.code,
            "pause_message": account.message,
        }
    return shown


def check_object(
    estimate: Estimate,
    *,
    line_count: int,
    faults: Sequence[Fault],
    fault_count: int,
    warnings: Sequence[Fault],
    known_count: int = 0,
) -> Object:
    """Return what a check found: nothing of it is stored."""
    return {
        "object": "check",
        "valid": fault_count == 0,
        "line_count": line_count,
        "known_count": known_count,
        "price": show_micros(estimate.micros),
        "currency": estimate.currency,
        "unpriced_count": estimate.unpriced_count,
        "fault_count": fault_count,
        "faults": [fault.as_dict() for fault in faults],
        "warnings": [fault.as_dict() for fault in warnings],
    }

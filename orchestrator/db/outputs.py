"""Writes of outputs that belong to a decision. The caller has already won the guarded write of the job."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from random import Random

from sqlalchemy import Connection, Update, bindparam, func, select, update

from orchestrator.db.inserts import insert_or_refresh
from orchestrator.db.rows import JOBS, OUTPUTS, stored_columns
from orchestrator.db.rowset import UTC, encode_keys, encode_rows, is_among, make_rowset, type_of
from orchestrator.db.types import clean_text
from orchestrator.domain import ids
from orchestrator.domain.job import OutputDraft
from orchestrator.domain.outcomes import OutputFailed, OutputLinkDead, OutputResult, OutputStored

_UNARCHIVED = OUTPUTS.c.archived_at.is_(None)


def upsert_drafts(
    connection: Connection, drafts: Sequence[tuple[str, OutputDraft]], *, now: datetime, rng: Random
) -> None:
    """Write what the provider announced, by (job id, index): archived outputs stay, others get the fresh link.

    A loss was proven of the old link; whoever asked again, or paid again, is to have what the new one gives.
    """
    rows = [_draft_row(job_id, draft, now, rng) for job_id, draft in drafts]
    if rows:
        insert_or_refresh(
            connection,
            OUTPUTS,
            rows,
            key=("job_id", "index"),
            refresh=("role", "source_url", "text", "source_expires_at", "is_expiry_assumed", "lost_at"),
            once_per={"at_risk_at": "source_url"},
            where=_UNARCHIVED,
        )


def _draft_row(job_id: str, draft: OutputDraft, now: datetime, rng: Random) -> dict[str, object]:
    return {
        "id": ids.make_id(ids.OUTPUT, now=now, rng=rng),
        "job_id": job_id,
        "index": draft.index,
        "role": draft.role,
        "source_url": draft.url and clean_text(draft.url),
        "text": draft.text and clean_text(draft.text),
        "source_expires_at": draft.expires_at,
        "is_expiry_assumed": draft.is_expiry_assumed,
        "at_risk_at": draft.expires_at and now + (draft.expires_at - now) / 2,
        "attempt_count": 0,
        "ask_count": 0,
        "dead_links": [],
        "notes": [],
        "created_at": now,
        "lost_at": None,
    }


def write_results(connection: Connection, results: Iterable[OutputResult], *, now: datetime) -> None:
    """Apply what one pass over the outputs brought."""
    stored: list[dict[str, object]] = []
    for result in results:
        if isinstance(result, OutputStored):
            stored.append({"id": result.output_id, **stored_columns(result.file)})
        else:
            _write_trouble(connection, result)
    if stored:
        columns = tuple(stored[0])
        write = _stored_statement(columns, connection.dialect.name == "sqlite")
        connection.execute(write, {"stored": encode_rows(stored), "now": now})


@cache
def _stored_statement(columns: tuple[str, ...], is_sqlite: bool) -> Update:  # noqa: FBT001 - the cache's key
    types = {name: type_of(OUTPUTS.c[name].type, is_sqlite=is_sqlite) for name in columns}
    rows = make_rowset("stored", types, is_sqlite=is_sqlite)
    found = {name: rows.c[name] for name in columns if name != "id"}
    cleared = dict.fromkeys(("source_url", "upload_id", "last_error", "at_risk_at"))
    values = {**found, **cleared, "archived_at": bindparam("now", type_=UTC)}
    return update(OUTPUTS).where(OUTPUTS.c.id == rows.c.id, _UNARCHIVED).values(values)


def _write_trouble(connection: Connection, result: OutputFailed | OutputLinkDead) -> None:
    row = update(OUTPUTS).where(OUTPUTS.c.id == result.output_id, _UNARCHIVED)
    match result:
        case OutputFailed(code=code, message=message):
            row = row.values(attempt_count=OUTPUTS.c.attempt_count + 1, last_error=clean_text(f"{code}: {message}"))
        case OutputLinkDead(link_sha256=link, message=message):
            known = connection.execute(
                select(OUTPUTS.c.dead_links).where(OUTPUTS.c.id == result.output_id)
            ).scalar_one()
            row = row.values(dead_links=[*known, link], last_error=clean_text(message))
    connection.execute(row)


def forget_asks(connection: Connection, job_ids: Sequence[str]) -> None:
    """Let the unarchived outputs of these jobs ask for fresh links from the start; which links are dead stays known."""
    forget = update(OUTPUTS).where(OUTPUTS.c.job_id.in_(job_ids), _UNARCHIVED)
    connection.execute(forget.values(ask_count=0))


def count_asks(connection: Connection, output_ids: Collection[str]) -> None:
    """Count a fresh link asked for."""
    asked = update(OUTPUTS).where(OUTPUTS.c.id.in_(output_ids)).values(ask_count=OUTPUTS.c.ask_count + 1)
    connection.execute(asked)


def mark_lost(connection: Connection, output_ids: Collection[str], *, now: datetime) -> None:
    """Record proven losses, once."""
    lost = OUTPUTS.c.id.in_(output_ids) & OUTPUTS.c.lost_at.is_(None) & _UNARCHIVED
    connection.execute(update(OUTPUTS).where(lost).values(lost_at=now, at_risk_at=None))


def refresh_expiry(connection: Connection, job_ids: Collection[str]) -> None:
    """Set each job's source_expires_at to the earliest among its outputs that are still to be fetched."""
    connection.execute(_expiry_statement(connection.dialect.name == "sqlite"), {"touched": encode_keys(job_ids)})


@cache
def _expiry_statement(is_sqlite: bool) -> Update:  # noqa: FBT001 - the cache's key
    earliest = (
        select(func.min(OUTPUTS.c.source_expires_at))
        .where(OUTPUTS.c.job_id == JOBS.c.id, _UNARCHIVED, OUTPUTS.c.lost_at.is_(None))
        .scalar_subquery()
    )
    return update(JOBS).where(is_among(JOBS.c.id, "touched", is_sqlite=is_sqlite)).values(source_expires_at=earliest)

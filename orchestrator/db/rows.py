"""From rows to values and back: the only place that knows how both are spelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, inspect, select

from orchestrator.db.rowset import encode_keys, is_among
from orchestrator.db.tables import Base, JobRow, OutputRow, SubmissionRow
from orchestrator.domain.job import (
    FinalAnswer,
    Job,
    Origin,
    Output,
    OutputDraft,
    Price,
    Role,
    StoredFile,
    Submission,
    Verdict,
)
from orchestrator.domain.states import State
from orchestrator.domain.thumbnails import Thumbnail


def table_of(mapped: type[Base]) -> Table:
    """Return the table behind a mapped class."""
    table = inspect(mapped).local_table
    assert isinstance(table, Table)
    return table


JOBS = table_of(JobRow)
SUBMISSIONS = table_of(SubmissionRow)
OUTPUTS = table_of(OutputRow)

_JOB_SAME = {f.name for f in fields(Job)} - {"state", "price", "submissions", "outputs", "parents"}


def read_price(row: RowMapping) -> Price | None:
    """Return the price in a row's three columns."""
    micros, currency, version = row["price_micros"], row["price_currency"], row["price_version"]
    if micros is None:
        return None
    return Price(micros, str(currency), str(version))


def price_columns(price: Price | None) -> dict[str, object]:
    """Return the three columns of a price."""
    return {
        "price_micros": price.micros if price else None,
        "price_currency": price.currency if price else None,
        "price_version": price.version if price else None,
    }


def read_job(row: RowMapping, *, submissions: Sequence[Submission] = (), outputs: Sequence[Output] = ()) -> Job:
    """Return the job in a row that holds every column of `jobs`."""
    same = {name: row[name] for name in _JOB_SAME}
    return Job(
        **same,
        state=State(str(row["state"])),
        price=read_price(row),
        submissions=tuple(submissions),
        outputs=tuple(outputs),
    )


def read_submission(row: RowMapping | Mapping[str, Any], *, prefix: str = "") -> Submission:
    """Return the submission in a row that holds every column of `submissions`, their names behind `prefix`."""
    return Submission(
        id=row[f"{prefix}id"],
        job_id=row[f"{prefix}job_id"],
        number=row[f"{prefix}number"],
        intent_at=row[f"{prefix}intent_at"],
        origin=Origin(row[f"{prefix}origin"]),
        verdict=Verdict(row[f"{prefix}verdict"]) if row[f"{prefix}verdict"] else None,
        provider_code=row[f"{prefix}provider_code"],
        message=row[f"{prefix}message"],
        task_id=row[f"{prefix}task_id"],
        result=read_drafts(row[f"{prefix}result"]),
        final_at=row[f"{prefix}final_at"],
        final_answer=FinalAnswer(row[f"{prefix}final_answer"]) if row[f"{prefix}final_answer"] else None,
        superseded_at=row[f"{prefix}superseded_at"],
        decided_by=row[f"{prefix}decided_by"],
    )


def read_output(row: RowMapping) -> Output:
    """Return the output in a row that holds every column of `outputs`."""
    return Output(
        id=row["id"],
        job_id=row["job_id"],
        index=row["index"],
        role=Role(row["role"]),
        source_url=row["source_url"],
        text=row["text"],
        source_expires_at=row["source_expires_at"],
        attempt_count=row["attempt_count"],
        ask_count=row["ask_count"],
        dead_links=tuple(row["dead_links"]),
        stored=_read_stored(row),
        is_lost=row["lost_at"] is not None,
        archived_at=row["archived_at"],
        is_expiry_assumed=row["is_expiry_assumed"],
        last_error=row["last_error"],
        erased_at=row["erased_at"],
    )


def _read_stored(row: RowMapping) -> StoredFile | None:
    if row["archived_at"] is None:
        return None
    return StoredFile(
        key=row["key"],
        byte_count=row["byte_count"],
        sha256=row["sha256"],
        content_type=row["content_type"],
        width=row["width"],
        height=row["height"],
        duration_seconds=row["duration_seconds"],
        codec=row["codec"],
        notes=tuple(row["notes"]),
        thumbnail=_read_thumbnail(row),
    )


def _read_thumbnail(row: RowMapping) -> Thumbnail | None:
    if row["thumbnail_sha256"] is None:
        return None
    return Thumbnail(
        byte_count=row["thumbnail_byte_count"],
        sha256=row["thumbnail_sha256"],
        width=row["thumbnail_width"],
        height=row["thumbnail_height"],
    )


def stored_columns(file: StoredFile) -> dict[str, object]:
    """Return the columns of a stored file."""
    return {
        "key": file.key,
        "byte_count": file.byte_count,
        "sha256": file.sha256,
        "content_type": file.content_type,
        "width": file.width,
        "height": file.height,
        "duration_seconds": file.duration_seconds,
        "codec": file.codec,
        "notes": list(file.notes),
        **thumbnail_columns(file.thumbnail),
    }


def thumbnail_columns(thumbnail: Thumbnail | None) -> dict[str, object]:
    """Return the columns of a thumbnail; all NULL without one."""
    return {
        "thumbnail_byte_count": thumbnail.byte_count if thumbnail else None,
        "thumbnail_sha256": thumbnail.sha256 if thumbnail else None,
        "thumbnail_width": thumbnail.width if thumbnail else None,
        "thumbnail_height": thumbnail.height if thumbnail else None,
    }


def write_drafts(drafts: Iterable[OutputDraft]) -> list[dict[str, object]]:
    """Return drafts as they stand in submissions.result."""
    return [
        {
            "index": draft.index,
            "role": draft.role.value,
            "url": draft.url,
            "text": draft.text,
            "expires_at": draft.expires_at.isoformat() if draft.expires_at else None,
            "is_expiry_assumed": draft.is_expiry_assumed,
        }
        for draft in drafts
    ]


def read_drafts(values: Sequence[Mapping[str, object]] | None) -> tuple[OutputDraft, ...]:
    """Return the drafts in submissions.result."""
    return tuple(_read_draft(value) for value in values or ())


def _read_draft(value: Mapping[str, object]) -> OutputDraft:
    expires, url, text = value["expires_at"], value["url"], value["text"]
    return OutputDraft(
        index=int(str(value["index"])),
        role=Role(str(value["role"])),
        url=None if url is None else str(url),
        text=None if text is None else str(text),
        expires_at=None if expires is None else datetime.fromisoformat(str(expires)),
        is_expiry_assumed=bool(value["is_expiry_assumed"]),
    )


def load_submissions(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[Submission]]:
    """Return the submissions of each job by number."""
    query = submissions_query(connection.dialect.name == "sqlite")
    found: dict[str, list[Submission]] = {job_id: [] for job_id in job_ids}
    for row in connection.execute(query, {"owners": encode_keys(job_ids)}).mappings():
        submission = read_submission(row)
        found[submission.job_id].append(submission)
    return found


def load_outputs(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[Output]]:
    """Return the outputs of each job, soonest expiry first, unknown expiry last."""
    query = _outputs_query(connection.dialect.name == "sqlite")
    found: dict[str, list[Output]] = {job_id: [] for job_id in job_ids}
    for row in connection.execute(query, {"owners": encode_keys(job_ids)}).mappings():
        output = read_output(row)
        found[output.job_id].append(output)
    return found


@cache
def submissions_query(is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    """Every submission of the jobs in the parameter `owners`, by number."""
    theirs = is_among(SUBMISSIONS.c.job_id, "owners", is_sqlite=is_sqlite)
    return select(SUBMISSIONS).where(theirs).order_by(SUBMISSIONS.c.number)


@cache
def _outputs_query(is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    theirs = is_among(OUTPUTS.c.job_id, "owners", is_sqlite=is_sqlite)
    return select(OUTPUTS).where(theirs).order_by(OUTPUTS.c.source_expires_at.nulls_last(), OUTPUTS.c.index)

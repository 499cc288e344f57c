"""The files of a finished batch in its archive: results.jsonl, errors.jsonl and summary.json under `batches/<id>/`.

Written from the job table, page by page through a spool file, so they can be written again whenever somebody settles a
job: the table is the truth, the files are copies of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from orchestrator.domain.errors import ConfigError, StepError
from orchestrator.domain.job import Batch, Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import BatchReports, Clock, LineJob, Store, Stores
from orchestrator.domain.states import State
from orchestrator.services.batch_views import batch_object
from orchestrator.services.views import Object, results_line, show_time

log = logging.getLogger(__name__)

RESULTS, ERRORS, SUMMARY, REFUSED = (
    "results.jsonl",
    "errors.jsonl",
    "summary.json",
    "refused.jsonl",
)
JSONL, JSON = "application/x-ndjson", "application/json"
SUMMARY_VERSION = 1


@dataclass(frozen=True)
class Clerk:
    """Who writes: where the truth is read, where the files go, and a folder for copies under way."""

    reports: BatchReports
    stores: Stores
    clock: Clock
    kinds: Mapping[str, Kind]
    spool: Path
    tool_version: str


@dataclass
class FilesReport:
    """What one round wrote, and why some could not be written (by batch id); those stay due."""

    written: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def batch_key(batch_id: str, name: str) -> str:
    """Return the archive key of one of a batch's files."""
    return f"batches/{batch_id}/{name}"


def find_input(store: Store, family: Sequence[Batch]) -> str | None:
    """Return the archive key of the file that the oldest of a family was made of, None for single requests.

    A retry has the lines of its first batch's file, and no file of its own. Raises StepErrors of the store.
    """
    return next(iter(store.list_keys(f"batches/{family[0].id}/input.")), None)


def write_due_files(clerk: Clerk) -> FilesReport:
    """Write the files of every finished batch that lacks them. One that cannot be written does not stop the others."""
    report = FilesReport()
    for batch in _iter_due(clerk.reports):
        try:
            is_current = write_files(clerk, batch)
        except (StepError, ConfigError, OSError) as error:
            report.failed[batch.id] = str(error)
            log.warning("batch_files_failed", extra={"batch_id": batch.id, "error": str(error)})
            continue
        if is_current:
            report.written.append(batch.id)
            log.info("batch_files_written", extra={"batch_id": batch.id})
    return report


def write_files(clerk: Clerk, batch: Batch) -> bool:
    """Write the files of a finished batch; False when it was opened again meanwhile, so that they are written anew.

    Raises StepErrors of the store and the database, ConfigError for an archive this process cannot open.
    """
    assert batch.finished_at is not None
    store = clerk.stores.open(batch.archive_url)
    clerk.spool.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        results, errors = (
            stack.enter_context(tempfile.NamedTemporaryFile(dir=clerk.spool, prefix="batch-")) for _ in range(2)
        )
        for line in iter_results(clerk.reports, batch.id, clock=clerk.clock, kinds=clerk.kinds):
            _write(results, line)
            if line["status"] != State.SUCCEEDED:
                _write(errors, line)
        for refused in _read_refused(store, batch):
            errors.write(refused)
        for name, file in ((RESULTS, results), (ERRORS, errors)):
            _put(store, batch_key(batch.id, name), file)
    summary = make_summary(clerk, batch, store)
    store.put_bytes(batch_key(batch.id, SUMMARY), _pretty(summary), content_type=JSON)
    return clerk.reports.mark_files_written(batch.id, finished_at=batch.finished_at)


def iter_results(
    reports: BatchReports, batch_id: str, *, clock: Clock, kinds: Mapping[str, Kind], family: Iterable[str] = ()
) -> Iterator[Object]:
    """Yield the results line of every member in input order; with `family`, of the best of its members per line."""
    for job in iter_jobs(reports, batch_id, family=family):
        yield results_line(job, now=clock.now(), kinds=kinds)


def iter_jobs(reports: BatchReports, batch_id: str, *, family: Iterable[str] = ()) -> Iterator[Job]:
    """Yield the members in input order; with `family`, the best of its members for each line."""
    return (line.job for line in iter_lines(reports, batch_id, family=family))


def iter_lines(reports: BatchReports, batch_id: str, *, family: Iterable[str] = ()) -> Iterator[LineJob]:
    """As `iter_jobs`, with the line numbers. Read a page at a time; no transaction stays open between them."""
    ids, after = tuple(family), 0
    while True:
        page = (
            reports.list_best(batch_id, ids, after_line=after)
            if ids
            else reports.list_lines(batch_id, after_line=after)
        )
        if not page:
            return
        yield from page
        after = page[-1].line_number


def make_summary(clerk: Clerk, batch: Batch, store: Store) -> Object:
    """Return summary.json: how a batch ended, what it cost, what it was and where its files are."""
    counts = clerk.reports.count_states_of([batch.id])[batch.id]
    costs = clerk.reports.sum_costs_of([batch.id])[batch.id]
    family = clerk.reports.list_family(batch.id)
    value = batch_object(batch, counts, costs, unpriced_count=clerk.reports.count_unpriced(batch.id))
    del value["files_written_at"]  # this is one of them: `written_at` says when
    input_key = find_input(store, family)
    files = [batch_key(batch.id, name) for name in (RESULTS, ERRORS)]
    assert batch.finished_at is not None
    return {
        "summary_version": SUMMARY_VERSION,
        "tool_version": clerk.tool_version,
        "written_at": show_time(clerk.clock.now()),
        "batch": value,
        "seconds": _seconds(batch.created_at, batch.finished_at),
        "family": [member.id for member in family],
        "files": {key.rpartition("/")[2]: key for key in [*files, *([input_key] if input_key else [])]},
    }


def _iter_due(reports: BatchReports) -> Iterator[Batch]:
    after = ""
    while page := reports.list_files_due(after=after):
        yield from page
        after = page[-1].id


def _read_refused(store: Store, batch: Batch) -> Iterator[bytes]:
    """Lines that were left out because they were wrong were put there when the file was taken in."""
    key = batch_key(batch.id, REFUSED)
    if batch.refused_count and store.find(key) is not None:
        yield from store.read_chunks(key)


def _put(store: Store, key: str, file: IO[bytes]) -> None:
    file.flush()
    path = Path(file.name)
    with path.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    store.put_file(key, path, sha256=sha256, content_type=JSONL, metadata={"sha256": sha256}, remember_upload=_forget)


def _forget(upload_id: str) -> None:
    """No row keeps it: an upload that dies half-way is found in the store's own list and aborted by age."""


def _write(file: IO[bytes], line: Object) -> None:
    file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _pretty(value: Object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 3)

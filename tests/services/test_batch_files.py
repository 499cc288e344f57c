"""The files of a finished batch: whichever way it ended, however often it ends, whatever dies or refuses meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.db.batch_reports import SqlBatchReports
from orchestrator.domain.job import Batch
from orchestrator.domain.ports import Store
from orchestrator.services.batch_files import batch_key, write_due_files, write_files
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.sweep import finish_batches, make_clerk, write_batch_files
from orchestrator.services.lifecycle import cancel_job, write_off_job
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO
from tests.services.test_batch_actions import end_refused, retry


def read_lines(bench: Bench, batch_id: str, name: str) -> list[dict[str, Any]]:
    """Return the objects of one of a batch's files."""
    path = bench.archived_file(batch_key(batch_id, name))
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_summary(bench: Bench, batch_id: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(bench.archived_file(batch_key(batch_id, "summary.json")).read_text())
    return summary


class KilledReports(SqlBatchReports):
    """The process dies after the store has everything and before the row says so."""

    def mark_files_written(self, batch_id: str, *, finished_at: datetime) -> bool:
        raise KeyboardInterrupt


def end_held(bench: Bench, context: LaneContext, prompt: str = "a kite") -> str:
    """Take a video in whose answer is lost; return its finished batch."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    batch_id = bench.start_processing(context, {"kind": "video", "body": {"model": "viduq1-text", "prompt": prompt}})
    finish_batches(context)
    return batch_id


def due(bench: Bench) -> Batch:
    """Return the one batch whose files are due."""
    (batch,) = bench.app.reports.list_files_due()
    return batch


def test_every_end_state_has_its_line_in_input_order(bench: Bench) -> None:
    """Succeeded, held, cancelled and failed: all are in results.jsonl, the last three in errors.jsonl too."""
    bench.faults(
        {"fault": "lost_answer", "phase": "submit", "model": "cogview-4-250304"},
        {"fault": "content_policy", "phase": "submit", "model": "cogvideox-3"},
    )
    refused = {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}
    with bench.process() as context:
        batch_id = bench.take(refused, IMAGE, VIDEO, VIDEO)
        last = bench.jobs(batch_id)[-1]
        cancel_job(bench.app.jobs, last.id, actor="ann", reason="")
        bench.submit(context)
        bench.let_due(batch_id)
        bench.poll(context)
        bench.archive(context)
        finish_batches(context)
        assert write_batch_files(context) == "files of 1 batches written"
        assert write_batch_files(context) == "files of 0 batches written"
    results = read_lines(bench, batch_id, "results.jsonl")
    assert [(r["custom_id"], r["status"]) for r in results] == [
        ("job-0", "failed"),
        ("job-1", "needs_review"),
        ("job-2", "succeeded"),
        ("job-3", "cancelled"),
    ]
    assert results[2]["response"]["body"]["outputs"][0]["key"]
    assert [r["error"]["code"] for r in read_lines(bench, batch_id, "errors.jsonl")] == [
        "content_policy",
        "needs_review",
        "cancelled",
    ]
    summary = read_summary(bench, batch_id)
    assert summary["batch"]["job_counts"]["total"] == 4
    assert summary["batch"]["job_counts"]["needs_review"] == 1
    assert summary["batch"]["cost"]["unknown_count"] == 1
    assert summary["family"] == [batch_id]
    assert summary["files"]["input.jsonl"] == f"batches/{batch_id}/input.jsonl"
    assert all(bench.archived_file(key).is_file() for key in summary["files"].values())
    assert "files_written_at" not in summary["batch"]
    assert bench.app.batches.get(batch_id).files_written_at is not None


def test_a_running_batch_has_no_files(sqlite_bench: Bench) -> None:
    """They would say that it has ended."""
    with sqlite_bench.process() as context:
        batch_id = sqlite_bench.start_processing(context)
        finish_batches(context)
        write_batch_files(context)
    assert not sqlite_bench.archived_file(batch_key(batch_id, "results.jsonl")).exists()


def test_settling_a_held_job_rewrites_them(bench: Bench) -> None:
    """The copies follow the table: written off by a person, the job is failed in the next files."""
    with bench.process() as context:
        batch_id = end_held(bench, context)
        write_batch_files(context)
        assert read_lines(bench, batch_id, "results.jsonl")[0]["status"] == "needs_review"
        write_off_job(bench.app.jobs, bench.only(batch_id).id, actor="ann", reason="gone")
        assert bench.app.batches.get(batch_id).files_written_at is None
        finish_batches(context)
        write_batch_files(context)
    assert read_lines(bench, batch_id, "results.jsonl")[0]["error"]["code"] == "written_off"


def test_a_death_between_the_store_and_the_row_is_repeated(sqlite_bench: Bench) -> None:
    """What was put is put again: the row is what says that it was done."""
    bench = sqlite_bench
    with bench.process() as context:
        batch_id = end_held(bench, context)
        clerk = make_clerk(context)
        dying = replace(clerk, reports=KilledReports(bench.app.jobs._database))
        with pytest.raises(KeyboardInterrupt):
            write_due_files(dying)
        assert due(bench).id == batch_id
        assert write_due_files(clerk).written == [batch_id]
    assert len(read_lines(bench, batch_id, "results.jsonl")) == 1
    assert list(context.spool.glob("batch-*")) == []


def test_a_batch_opened_while_it_is_written_is_written_again(sqlite_bench: Bench) -> None:
    """The mark names the finish that was read; the next finish has files of its own."""
    bench = sqlite_bench
    with bench.process() as context:
        batch_id = end_held(bench, context)
        stale = due(bench)
        write_off_job(bench.app.jobs, bench.only(batch_id).id, actor="ann", reason="gone")
        bench.advance(1)
        assert not write_files(make_clerk(context), stale)
        finish_batches(context)
        assert write_due_files(make_clerk(context)).written == [batch_id]
    assert read_lines(bench, batch_id, "results.jsonl")[0]["status"] == "failed"


def test_a_retry_names_its_first_batchs_file(sqlite_bench: Bench) -> None:
    """It has the lines of that file and none of its own; every file that is named is there, by its own name."""
    bench = sqlite_bench
    with bench.process() as context:
        batch_id = end_refused(bench, context)
        folder = bench.archived_file(batch_key(batch_id, "input.jsonl"))
        folder.rename(folder.with_suffix(".csv"))
        child = retry(bench, batch_id)
        assert child is not None
        bench.submit(context)
        finish_batches(context)
        write_batch_files(context)
    files = read_summary(bench, child.id)["files"]
    assert files["input.csv"] == f"batches/{batch_id}/input.csv"
    assert all(bench.archived_file(key).is_file() for key in files.values())
    assert sorted(files) == ["errors.jsonl", "input.csv", "results.jsonl"]


@contextmanager
def in_the_way(folder: Path) -> Iterator[None]:
    """Put a file in a folder's place; what the folder holds comes back with it."""
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.write_text("in the way")
    yield
    folder.unlink()
    kept.rename(folder)


def test_one_archive_that_is_away_does_not_stop_the_others(sqlite_bench: Bench) -> None:
    """Promise 9: its batch stays due and is written once the archive is back; the others have their files at once."""
    bench = sqlite_bench
    with bench.process() as context:
        first = end_held(bench, context)
        away = bench.folder / "data" / "archive" / "batches"
        with in_the_way(away):
            assert list(write_due_files(make_clerk(context)).failed) == [first]
        bench.use_archive((bench.folder / "elsewhere").as_uri())
        second = end_held(bench, context, "another kite")
        with in_the_way(away):
            report = write_due_files(make_clerk(context))
            assert (report.written, list(report.failed)) == ([second], [first])
            assert "1 failed" in write_batch_files(context)
        assert write_due_files(make_clerk(context)).written == [first]


def test_refused_lines_stand_among_the_errors(sqlite_bench: Bench) -> None:
    """What was wrong in the file is told where whoever reads the errors looks."""
    bench = sqlite_bench
    with bench.process() as context:
        batch_id = end_held(bench, context)
        store: Store = bench.app.stores.open(bench.app.settings.archive)
        refused = b'{"line": 7, "code": "invalid_size"}\n'
        store.put_bytes(batch_key(batch_id, "refused.jsonl"), refused, content_type="application/x-ndjson")
        write_files(make_clerk(context), replace(due(bench), refused_count=1))
    assert [line.get("line") for line in read_lines(bench, batch_id, "errors.jsonl")] == [None, 7]

"""The job table rebuilt from manifests alone: every field that they carry, nothing due, nothing paid, the doctor content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, func, select

from orchestrator.db.batch_sums import BATCHES
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.db.search import PROMPTS, TAGS
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Store
from orchestrator.domain.query import parse_query
from orchestrator.domain.states import State
from orchestrator.services.archive.manifest import DamagedManifest, manifest_key, read_manifest
from orchestrator.services.archive.reindex import Report, reindex
from orchestrator.services.lifecycle import cancel_job
from orchestrator.services.restore import compare
from tests.fixtures.s3 import S3Server
from tests.health import assert_healthy
from tests.services.bench import TALK, Bench, empty
from tests.services.desk import HTTP, IMAGE, VIDEO
from tests.services.test_persons import adopt

CHAIN = (
    {**IMAGE, "custom_id": "z-still", "tags": {"campaign": "spring"}},
    {
        "custom_id": "film",
        "kind": "video",
        "priority": 7,
        "depends_on": ["z-still"],
        "body": {"model": "cogvideox-3", "prompt": "boats", "image_url": "{{z-still.outputs[0].url}}"},
    },
)
NOT_IN_PAPERS: dict[Table, set[str]] = {
    JOBS: {"finished_at", "sequence", "fair_key", "source_expires_at", "attempt_count", "death_count"},
    OUTPUTS: {"text", "archived_at", "attempt_count", "ask_count", "dead_links", "at_risk_at", "lost_at"},
    SUBMISSIONS: {"raw_answer", "result", "fair_key", "last_running_at"},
    DEPENDENCIES: set(),
}
"""Columns that a manifest does not carry, or carries as the time at which it was written."""


def finish(bench: Bench, *lines: dict[str, Any]) -> Sequence[Job]:
    """Run jobs to their end."""
    batch = bench.take(*lines)
    with bench.process() as context:
        bench.submit(context)
        while any(job.state not in (State.SUCCEEDED, State.CANCELLED, State.FAILED) for job in bench.jobs(batch)):
            bench.let_due(batch)
            bench.submit(context)
            bench.poll(context)
            bench.archive(context)
        bench.sweep(context)
    return bench.jobs(batch)


def lose_the_table(bench: Bench) -> None:
    """Leave an empty database of the newest schema."""
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(delete(PROMPTS))
    empty(bench.app.settings.database)


def rebuild(bench: Bench, *, may_merge: bool = False) -> Report:
    store = bench.app.stores.open(bench.app.settings.archive)
    return reindex(bench.app.papers, store, may_merge=may_merge, actor="local", tell=lambda line: None)


def all_rows(bench: Bench, table: Table) -> list[dict[str, Any]]:
    """Return the rows without what papers do not carry."""
    left = [column for column in table.columns if column.name not in NOT_IN_PAPERS[table]]
    with bench.app.jobs._database.begin_read() as connection:
        rows = connection.execute(select(*left).order_by(*table.primary_key.columns)).mappings()
        return [dict(row) for row in rows]


def manifest_path(bench: Bench, job: Job) -> Path:
    return bench.archived_file(manifest_key(job))


def test_every_field_that_papers_carry_comes_back(bench: Bench) -> None:
    """Pictures, films, transcripts, a chain: jobs, outputs, calls and what used what; the history says where from."""
    jobs = [*finish(bench, VIDEO, IMAGE, TALK), *finish(bench, *CHAIN)]
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    before = {table: all_rows(bench, table) for table in NOT_IN_PAPERS}
    posts, asks = bench.posts(), bench.asks()
    lose_the_table(bench)
    report = rebuild(bench)
    assert (report.made_count, report.known_count, report.damaged, report.unknown_parent_count) == (5, 0, {}, 0)
    for table, rows in before.items():
        assert all_rows(bench, table) == rows, table.name
    for job in jobs:
        again = bench.app.history.get_job(job.id)
        assert [output.stored for output in again.outputs] == [output.stored for output in job.outputs]
        (event,) = bench.app.history.list_events(job.id)
        assert (event.type, event.to_state, event.data["manifest"]) == ("rebuilt", State.SUCCEEDED, manifest_key(job))
        assert again.finished_at is not None
        assert job.finished_at is not None
        assert abs((again.finished_at - job.finished_at).total_seconds()) < 60
    with bench.process() as context:
        for lane in (bench.submit, bench.poll, bench.archive, bench.sweep):
            lane(context)
    assert (bench.posts(), bench.asks()) == (posts, asks)
    assert_healthy(bench.app, ledger=bench.ledger())


def test_rebuilt_jobs_are_found_by_words_and_tags(bench: Bench) -> None:
    finish(bench, *CHAIN)
    lose_the_table(bench)
    rebuild(bench)
    for query in ("boats", "tag:campaign=spring custom_id:z-still"):
        page = bench.app.history.list_jobs(parse_query(query, now=bench.clock.now()))
        assert len(page.jobs) == 1, query
    with bench.app.jobs._database.begin_read() as connection:
        assert connection.execute(select(func.count()).select_from(TAGS)).scalar_one() == 1


def test_the_same_file_again_pays_only_for_what_has_no_papers(bench: Bench) -> None:
    """Lines whose jobs were rebuilt are answered by them; the one that never ended is made."""
    jobs = finish(bench, VIDEO, IMAGE)
    shutil.rmtree(manifest_path(bench, jobs[1]).parent)
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    posts = bench.posts()
    again = finish(bench, VIDEO, IMAGE)
    assert [job.state for job in again] == [State.SUCCEEDED] * 2
    assert again[0].id == jobs[0].id
    assert again[1].id != jobs[1].id
    assert bench.posts() == posts + 1
    assert_healthy(bench.app)


def test_a_cancelled_job_whose_outputs_were_kept_stays_cancelled(bench: Bench) -> None:
    with bench.process() as context:
        batch = bench.start_processing(context)
        cancel_job(bench.app.jobs, bench.only(batch).id, actor="local", reason="")
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.CANCELLED
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    assert bench.app.history.get_job(job.id).state is State.CANCELLED
    assert_healthy(bench.app)


def test_a_table_with_jobs_is_refused_and_merged_only_when_asked(bench: Bench) -> None:
    """What is there stays as it is; what is lacking comes, in a batch of its own; a second time nothing changes."""
    old = finish(bench, VIDEO)
    lose_the_table(bench)
    new = finish(bench, IMAGE)
    before = bench.app.history.get_job(new[0].id)
    with pytest.raises(Conflict, match="1 jobs already"):
        rebuild(bench)
    report = rebuild(bench, may_merge=True)
    assert (report.made_count, report.known_count) == (1, 1)
    assert bench.app.history.get_job(new[0].id) == before
    assert bench.app.history.get_job(old[0].id).state is State.SUCCEEDED
    report = rebuild(bench, may_merge=True)
    assert (report.made_count, report.known_count) == (0, 2)
    assert_healthy(bench.app)


def test_a_batch_that_is_there_gets_no_lines_from_papers(bench: Bench) -> None:
    """A restored backup may be half-way through a file: lines put in would hide those that are still to come."""
    jobs = finish(bench, VIDEO, IMAGE)
    with bench.app.jobs._database.begin_write() as connection:
        for table in reversed(JOBS.metadata.sorted_tables):
            if table.name not in ("batches", "sweeps"):
                connection.execute(delete(table))
        connection.execute(delete(PROMPTS))
        connection.execute(BATCHES.update().values(finished_at=None, files_written_at=None, intake_done_at=None))
    assert rebuild(bench).made_count == 2
    batch_id = bench.app.history.get_job(jobs[0].id).batch_id
    assert batch_id not in (None, jobs[0].batch_id)
    assert bench.app.batches.find_last_line(str(jobs[0].batch_id)) == 0
    assert len(bench.jobs(str(batch_id))) == 2


def cut(text: str) -> str:
    return text[: len(text) // 2]


def change(**fields: object) -> Callable[[str], str]:
    def edit(text: str) -> str:
        value = json.loads(text)
        for path, new in fields.items():
            *parents, last = path.split("__")
            inner = value
            for name in parents:
                inner = inner[int(name)] if name.isdigit() else inner[name]
            inner[last] = new
        return json.dumps(value)

    return edit


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (cut, "Invalid JSON"),
    "empty": (lambda text: "", "Invalid JSON"),
    "another thing": (lambda text: "[]", "object"),
    "older": (change(manifest_version=1), "manifest_version is 1"),
    "of another job": (change(job__id="job_" + "0" * 32), "it is of job_000"),
    "a key elsewhere": (change(outputs__0__key="inputs/" + "a" * 64), "lies outside"),
    "no hash": (change(outputs__0__sha256="abc"), "64 hexadecimal"),
    "no length": (change(outputs__0__bytes=None), "is missing"),
    "text for a number": (change(outputs__0__bytes="12"), "outputs.0.bytes"),
    "a NUL": (change(job__custom_id="a\0b"), "NUL"),
    "no zone": (change(job__created_at="2026-01-01T00:00:00"), "created_at"),
    "no batch": (change(batch=None), "every job has both"),
    "a column's own rule": (change(job__priority=77), "priority"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_reported_and_the_rest_rebuilt(
    sqlite_bench: Bench, damage: tuple[Callable[[str], str], str]
) -> None:
    bench = sqlite_bench
    edit, words = damage
    broken, whole = finish(bench, IMAGE, IMAGE)
    path = manifest_path(bench, broken)
    path.write_text(edit(path.read_text("utf-8")), "utf-8")
    lose_the_table(bench)
    report = rebuild(bench)
    assert report.made_count == 1
    assert bench.app.history.get_job(whole.id).state is State.SUCCEEDED
    assert list(report.damaged) == [manifest_key(broken)]
    assert words in report.damaged[manifest_key(broken)]


def test_a_task_that_another_job_holds_is_not_claimed_twice(bench: Bench) -> None:
    """Somebody adopted the task since: the papers of the lost job are reported, not believed."""
    (job,) = finish(bench, VIDEO)
    lose_the_table(bench)
    (other,) = finish(bench, VIDEO)
    with bench.app.jobs._database.begin_write() as connection:
        mine = SUBMISSIONS.update().where(SUBMISSIONS.c.job_id == other.id)
        connection.execute(mine.values(task_id=job.provider_task_id))
    report = rebuild(bench, may_merge=True)
    assert report.made_count == 0
    assert other.id in report.damaged[manifest_key(job)]


def test_a_bucket_is_rebuilt_from_as_a_folder_is(
    sqlite_bench: Bench, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys below a prefix; inputs and files of batches in it are no manifests."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    bench = sqlite_bench
    url = f"s3://{s3_bucket}/films"
    bench.use_archive(url, s3_endpoint_url=s3_server.endpoint_url, s3_region=s3_server.region)
    finish(bench, VIDEO, TALK)
    before = all_rows(bench, OUTPUTS)
    lose_the_table(bench)
    report = rebuild(bench)
    assert (report.made_count, report.damaged) == (2, {})
    assert all_rows(bench, OUTPUTS) == before
    assert_healthy(bench.app)


class Backwards:
    """A store whose keys come the other way round."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the store's
        return getattr(self._store, name)

    def list_keys(self, prefix: str) -> Iterator[str]:
        yield from sorted(self._store.list_keys(prefix), reverse=True)


@pytest.mark.parametrize("is_backwards", [False, True])
def test_a_parent_may_come_in_a_later_transaction(sqlite_bench: Bench, *, is_backwards: bool) -> None:
    """One job a transaction, in either order: what used what comes back."""
    bench = sqlite_bench
    jobs = finish(bench, *CHAIN)
    before = all_rows(bench, DEPENDENCIES)
    lose_the_table(bench)
    real = bench.app.stores.open(bench.app.settings.archive)
    store: Any = Backwards(real) if is_backwards else real
    told: list[str] = []
    report = reindex(bench.app.papers, store, may_merge=False, actor="local", tell=told.append, at_once=1)
    assert (report.made_count, report.unknown_parent_count, len(told)) == (2, 0, 2)
    assert all_rows(bench, DEPENDENCIES) == before
    assert len(bench.jobs(str(jobs[0].batch_id))) == 2
    assert_healthy(bench.app)


def copy_manifest(bench: Bench, job: Job, number: int) -> None:
    """Lay down the papers of one more job: another id, task and line, the same in all else."""
    path = manifest_path(bench, job)
    value = json.loads(path.read_text("utf-8"))
    text = path.read_text("utf-8")
    ids = [job.id, *(call["id"] for call in value["submissions"]), *(output["id"] for output in value["outputs"])]
    for old in ids:
        text = text.replace(old, f"{old[:-4]}{number:04x}")
    text = text.replace('"line_number": 1', f'"line_number": {number}')
    text = text.replace(f'"{job.provider_task_id}"', f'"task-{number}"')
    folder = path.parent.with_name(f"{job.id[:-4]}{number:04x}")
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_text(text, "utf-8")


def test_hundreds_of_papers_come_in_several_transactions(bench: Bench) -> None:
    """More than one transaction takes, and as many as go into PostgreSQL by COPY; one that is wrong is alone in that."""
    (job,) = finish(bench, {**VIDEO, "tags": {"campaign": "spring"}})
    shown = all_rows(bench, OUTPUTS)
    for number in range(2, 252):
        copy_manifest(bench, job, number)
    spoilt = next(iter(sorted(bench.archived_file("").rglob("manifest.json"))))
    spoilt.write_text(change(job__priority=77)(spoilt.read_text("utf-8")), "utf-8")
    lose_the_table(bench)
    report = rebuild(bench)
    assert (report.made_count, len(report.damaged)) == (250, 1)
    jobs = bench.jobs(str(job.batch_id))
    assert len(jobs) == 250
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert len(all_rows(bench, OUTPUTS)) == 250 * len(shown)
    batch = bench.app.batches.get(str(job.batch_id))
    assert (batch.line_count, batch.is_intake_done) == (250, True)


def test_calls_of_a_rebuilt_job_were_agreed_to(bench: Bench) -> None:
    """A person had it submitted again: the event that said so is lost, and the doctor calls it no double charge."""
    (job,) = finish(bench, VIDEO)
    path = manifest_path(bench, job)
    value = json.loads(path.read_text("utf-8"))
    (first,) = value["submissions"]
    value["submissions"].append({**first, "id": f"sub_{0:032x}", "number": 2, "task_id": "task-2"})
    value["job"]["submission_count"] = 2
    path.write_text(json.dumps(value), "utf-8")
    assert bench.app.audit.count_agreed([job.id]) == {job.id: 1}
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    assert bench.app.audit.count_agreed([job.id]) == {job.id: 2}
    assert_healthy(bench.app)


def test_a_parent_without_papers_is_counted(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    still, _ = finish(bench, *CHAIN)
    manifest_path(bench, still).unlink()
    lose_the_table(bench)
    report = rebuild(bench)
    assert (report.made_count, report.unknown_parent_count) == (1, 1)
    assert all_rows(bench, DEPENDENCIES)[0]["parent_id"] is None


def test_after_a_restore_the_archive_is_merged_and_nothing_is_unknown(sqlite_bench: Bench) -> None:
    """What `db mark-restored` calls archived and unknown here is known afterwards."""
    bench = sqlite_bench
    (job,) = finish(bench, IMAGE)
    lose_the_table(bench)
    with bench.process() as context:
        since = job.created_at
        assert compare(context, bench.app.restores, backup_at=since).unknown_job_ids == (job.id,)
        rebuild(bench, may_merge=True)
        assert compare(context, bench.app.restores, backup_at=since).unknown_job_ids == ()


def test_what_is_written_is_what_is_read(sqlite_bench: Bench) -> None:
    """And the folder it lies in is the one it speaks for."""
    bench = sqlite_bench
    (job,) = finish(bench, TALK)
    data = manifest_path(bench, job).read_bytes()
    manifest = read_manifest(data, manifest_key(job))
    assert [each.param for each in manifest.job.inputs] == ["file"]
    assert manifest.job.inputs[0].key == f"inputs/{manifest.job.inputs[0].sha256}"
    assert manifest.submissions[0].answered_at is not None
    with pytest.raises(DamagedManifest, match="lies in 2020"):
        read_manifest(data, "2020/01/01/job_0/manifest.json")


def test_an_adopted_task_comes_back_as_one(sqlite_bench: Bench) -> None:
    """It has no request of ours and no price; whose call it was is kept."""
    bench = sqlite_bench
    url = f"{bench.sandbox.base_url}/videos/generations"
    asked = HTTP.post(url, json=VIDEO["body"], headers={"Authorization": "Bearer id.secret"}).json()
    adopted = adopt(bench, asked["id"])
    batch = str(bench.app.history.get_job(adopted.job_id).batch_id)
    with bench.process() as context:
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
    before = {table: all_rows(bench, table) for table in NOT_IN_PAPERS}
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    for table, rows in before.items():
        assert all_rows(bench, table) == rows, table.name
    assert bench.app.history.get_job(adopted.job_id).state is State.SUCCEEDED
    assert_healthy(bench.app)

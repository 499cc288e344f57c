"""The archive read again: every damage named, mended where that is free, and nothing overwritten that was not asked for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from orchestrator.db.rows import OUTPUTS
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Store
from orchestrator.domain.states import State
from orchestrator.services.archive.manifest import manifest_key, read_manifest
from orchestrator.services.archive.mend import Mender, advise
from orchestrator.services.archive.verify import Checked, Drift, Problem, Reader, Sample, find_drift
from orchestrator.services.lanes.context import LaneContext
from tests.fixtures.s3 import S3Server
from tests.health import assert_healthy
from tests.services.bench import TALK, Bench
from tests.services.desk import IMAGE, VIDEO
from tests.services.test_reindex import finish, lose_the_table, rebuild

VIDEO_LINK = "/_files/video"


def verify(
    bench: Bench,
    *,
    sample: Sample | None = None,
    may_ask: bool = True,
    may_replace: bool = False,
    is_looking: bool = False,
    context: LaneContext | None = None,
    checked: Checked | None = None,
) -> list[Drift]:
    """Verify once; return what was found, with what was done about it."""
    found: list[Drift] = []
    with bench.process() as own:
        context = context or own
        told: list[str] = []
        reader = Reader(bench.app.audit, context.stores, sample or Sample(), bench.clock.monotonic, told.append)
        mender = Mender(context, may_ask, may_replace, "local")
        for page in find_drift(reader, checked or Checked()):
            found += advise(page) if is_looking else bench.loop.submit(mender.mend(page)).result()
    return found


def object_of(bench: Bench, job: Job, place: int = 0) -> Path:
    stored = job.outputs[place].stored
    assert stored is not None
    return bench.archived_file(stored.key)


def test_a_whole_archive_has_nothing_to_tell(bench: Bench) -> None:
    """Every object was read; nobody was asked."""
    jobs = finish(bench, VIDEO, IMAGE, TALK)
    asks, checked = bench.asks(), Checked()
    assert verify(bench, checked=checked) == []
    stored = [output.stored for job in jobs for output in job.outputs if output.stored]
    assert (checked.jobs, checked.objects) == (3, len(stored))
    assert checked.bytes == sum(file.byte_count for file in stored)
    assert bench.asks() == asks


def test_a_deleted_object_is_fetched_again_by_a_fresh_link(bench: Bench) -> None:
    """E21: the audit finds it, the provider is asked, the same bytes are back under the same key; nothing is paid."""
    (job,) = finish(bench, VIDEO)
    path = object_of(bench, job)
    data = path.read_bytes()
    path.unlink()
    posts = bench.posts()
    (drift,) = verify(bench)
    assert (drift.problem, drift.is_mended, drift.job_id) == (Problem.MISSING, True, job.id)
    assert drift.output_id == job.outputs[0].id
    assert path.read_bytes() == data
    assert bench.posts() == posts
    event = bench.app.history.list_events(job.id)[-1]
    assert (event.type, event.to_state) == ("output_refetched", State.SUCCEEDED)
    assert event.data["output_ids"] == [job.outputs[0].id]
    with bench.process() as context:
        assert list(context.spool.iterdir()) == []
    assert verify(bench) == []
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_deleted_transcript_is_put_back_from_the_table(sqlite_bench: Bench) -> None:
    """Its text came inside the answer; nobody need be asked."""
    bench = sqlite_bench
    (job,) = finish(bench, TALK)
    for place in range(len(job.outputs)):
        object_of(bench, job, place).unlink()
    drifts = verify(bench, may_ask=False)
    assert [drift.is_mended for drift in drifts] == [True] * len(job.outputs)
    assert_healthy(bench.app)


def test_what_the_provider_forgot_is_told_as_lost(sqlite_bench: Bench) -> None:
    """E21: the task is not known any more; exit code and words say so, the row stays as evidence."""
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    object_of(bench, job).unlink()
    bench.control("reset", {}, method="POST")
    (drift,) = verify(bench)
    assert drift.is_mended is False
    assert "does not know its task any more" in drift.message
    assert "copy of yours" in drift.message


def test_other_bytes_are_never_put_in_place(sqlite_bench: Bench) -> None:
    """The provider gives another film now: the row's SHA-256 would be a lie."""
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    path = object_of(bench, job)
    path.unlink()
    with bench.app.jobs._database.begin_write() as connection:
        rows = update(OUTPUTS).where(OUTPUTS.c.id == job.outputs[0].id)
        connection.execute(rows.values(sha256="0" * 64))
    drifts = {drift.problem: drift for drift in verify(bench)}
    assert drifts[Problem.MISSING].is_mended is False
    assert "another file" in drifts[Problem.MISSING].message
    assert not path.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("damage", "problem"), [(cut, Problem.SHORT), (flip, Problem.CHANGED), (lengthen, Problem.CHANGED)]
)
def test_what_differs_is_replaced_only_when_asked(
    sqlite_bench: Bench, damage: Callable[[Path], None], problem: Problem
) -> None:
    """Somebody may have put it there on purpose."""
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    path = object_of(bench, job)
    data = path.read_bytes()
    damage(path)
    changed = path.read_bytes()
    (drift,) = verify(bench)
    assert (drift.problem, drift.is_mended) == (problem, False)
    assert "--replace" in drift.message
    assert path.read_bytes() == changed
    (drift,) = verify(bench, may_replace=True)
    assert (drift.problem, drift.is_mended) == (problem, True)
    assert path.read_bytes() == data
    assert verify(bench) == []


def test_only_looking_changes_nothing(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    object_of(bench, job).unlink()
    bench.archived_file(manifest_key(job)).unlink()
    asks = bench.asks()
    drifts = verify(bench, is_looking=True)
    assert {drift.problem for drift in drifts} == {Problem.MISSING, Problem.MANIFEST_MISSING}
    assert not any(drift.is_mended for drift in drifts)
    assert bench.asks() == asks
    assert not object_of(bench, job).exists()


def test_without_a_key_nobody_is_asked(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    object_of(bench, job).unlink()
    asks = bench.asks()
    (drift,) = verify(bench, may_ask=False)
    assert (drift.is_mended, "without its key" in drift.message) == (False, True)
    assert bench.asks() == asks


def spoil(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize(
    ("damage", "problem"), [(Path.unlink, Problem.MANIFEST_MISSING), (spoil, Problem.MANIFEST_DAMAGED)]
)
def test_papers_are_written_anew_from_the_table(bench: Bench, damage: Callable[[Path], None], problem: Problem) -> None:
    """And say the same as before, hosts included; the table can be rebuilt from them."""
    (job,) = finish(bench, VIDEO)
    path, key = bench.archived_file(manifest_key(job)), manifest_key(job)
    before = read_manifest(path.read_bytes(), key)
    damage(path)
    (drift,) = verify(bench)
    assert (drift.problem, drift.is_mended, drift.output_id) == (problem, True, None)
    after = read_manifest(path.read_bytes(), key)
    assert after.outputs[0].source_host == "127.0.0.1"
    same = replace(after, written_at=before.written_at)
    archived = tuple(replace(o, archived_at=b.archived_at) for o, b in zip(after.outputs, before.outputs, strict=True))
    assert replace(same, outputs=archived) == before
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    assert verify(bench) == []


def test_papers_that_say_otherwise_are_replaced_only_when_asked(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    (job,) = finish(bench, IMAGE)
    path = bench.archived_file(manifest_key(job))
    sha256 = job.outputs[0].stored.sha256 if job.outputs[0].stored else ""
    path.write_text(path.read_text("utf-8").replace(sha256, "0" * 64), "utf-8")
    (drift,) = verify(bench)
    assert (drift.problem, drift.is_mended) == (Problem.MANIFEST_DIFFERS, False)
    (drift,) = verify(bench, may_replace=True)
    assert drift.is_mended
    assert_healthy(bench.app)


class Troubled:
    """Stores one of whose keys raises what a test says."""

    def __init__(self, stores: Any, raising: Callable[[], Exception | None]) -> None:  # noqa: ANN401 - a port
        self._stores, self._raising = stores, raising

    def open(self, url: str) -> Any:  # noqa: ANN401 - a store with trouble
        store: Store = self._stores.open(url)
        raising = self._raising

        class Store_:  # noqa: N801 - local
            def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the store's
                return getattr(store, name)

            def read_chunks(self, key: str) -> Iterator[bytes]:
                if not key.endswith("manifest.json") and (error := raising()) is not None:
                    raise error
                yield from store.read_chunks(key)

        return Store_()


def test_one_hiccup_is_forgiven_and_two_are_told(sqlite_bench: Bench) -> None:
    """What cannot be read now is neither whole nor lost."""
    bench = sqlite_bench
    finish(bench, IMAGE)
    errors: list[Exception] = [Transient("store_unavailable", "503")]
    with bench.process() as real:
        context = replace(real, stores=Troubled(real.stores, lambda: errors.pop() if errors else None))
        assert verify(bench, context=context) == []
        errors += [Transient("store_unavailable", "503")] * 2
        (drift,) = verify(bench, context=context)
    assert (drift.problem, drift.is_mended) == (Problem.UNREADABLE, False)
    assert "verify again" in drift.message


def test_an_archive_that_refuses_is_told_once(sqlite_bench: Bench) -> None:
    """Not once for each of its objects."""
    bench = sqlite_bench
    finish(bench, IMAGE, IMAGE, IMAGE)
    with bench.process() as real:
        context = replace(real, stores=Troubled(real.stores, lambda: Permanent("store_denied", "403")))
        (drift,) = verify(bench, context=context)
    assert (drift.problem, drift.archive_url) == (Problem.ARCHIVE_UNUSABLE, bench.app.settings.archive)


def test_a_sample_is_chosen_by_id_alone() -> None:
    """The same each time; a larger share holds the smaller one; another seed chooses others; its size is the share."""
    ids = [f"out_{number:032x}" for number in range(4000)]
    tenth = {i for i in ids if Sample(0.1).holds(i)}
    assert tenth == {i for i in ids if Sample(0.1).holds(i)}
    assert tenth < {i for i in ids if Sample(0.3).holds(i)}
    assert tenth != {i for i in ids if Sample(0.1, "june").holds(i)}
    assert 300 < len(tenth) < 500
    assert all(Sample(1.0).holds(i) for i in ids)
    assert not any(Sample(0.0).holds(i) for i in ids)


def test_what_is_not_in_the_sample_is_not_read(sqlite_bench: Bench) -> None:
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    object_of(bench, job).unlink()
    checked = Checked()
    assert verify(bench, sample=Sample(0.0), checked=checked) == []
    assert (checked.jobs, checked.objects) == (0, 0)


def test_an_output_that_was_changed_since_it_was_read_is_left_alone(sqlite_bench: Bench) -> None:
    """Its row says otherwise by now: whoever changed it knows more."""
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    object_of(bench, job).unlink()
    with bench.process() as context:
        reader = Reader(bench.app.audit, context.stores, Sample(), bench.clock.monotonic, lambda line: None)
        pages = list(find_drift(reader, Checked()))
        with bench.app.jobs._database.begin_write() as connection:
            connection.execute(update(OUTPUTS).values(key="2026/01/01/other/0-video-0.mp4"))
        mender = Mender(context, may_ask=True, may_replace=False, actor="local")
        assert bench.loop.submit(mender.mend(pages[0])).result() == []
    assert not object_of(bench, job).exists()


def test_a_bucket_is_read_and_mended_as_a_folder_is(
    sqlite_bench: Bench, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E21 in a bucket: read here, whatever checksum the store claims; put back with its metadata."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    bench = sqlite_bench
    url = f"s3://{s3_bucket}/films"
    bench.use_archive(url, s3_endpoint_url=s3_server.endpoint_url, s3_region=s3_server.region)
    (job,) = finish(bench, VIDEO)
    video, cover = (output.stored for output in job.outputs)
    assert video is not None
    assert cover is not None
    client = s3_server.client()
    client.delete_object(Bucket=s3_bucket, Key=f"films/{video.key}")
    client.put_object(Bucket=s3_bucket, Key=f"films/{cover.key}", Body=b"x" * cover.byte_count)
    found = {drift.problem: drift.is_mended for drift in verify(bench)}
    assert found == {Problem.MISSING: True, Problem.CHANGED: False}
    head = client.head_object(Bucket=s3_bucket, Key=f"films/{video.key}")
    assert head["Metadata"]["sha256"] == video.sha256
    assert head["ContentLength"] == video.byte_count


def test_memory_does_not_grow_with_an_object(sqlite_bench: Bench) -> None:
    """64 MB are hashed a chunk at a time."""
    bench = sqlite_bench
    (job,) = finish(bench, VIDEO)
    path = object_of(bench, job)
    with path.open("r+b") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        (drift,) = verify(bench, is_looking=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert drift.problem is Problem.CHANGED
    assert peak < 16 << 20

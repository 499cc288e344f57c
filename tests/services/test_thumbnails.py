"""Thumbnails in the archive lane and in everything that knows what a job has stored; no trouble of theirs is the job's."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.domain.errors import Conflict, Permanent, Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import Fetched
from orchestrator.domain.ports.thumbnails import MadeThumbnail
from orchestrator.domain.retention import Selector
from orchestrator.domain.states import State
from orchestrator.domain.thumbnails import thumbnail_key
from orchestrator.services.archive.manifest import manifest_key
from orchestrator.services.archive.retention import Keeper, expire, make_plan, set_rule
from orchestrator.services.archive.thumbnails import list_missing, make_anew
from orchestrator.services.archive.verify import Problem
from orchestrator.services.lanes.context import LaneContext
from orchestrator.thumbnails import ThumbnailMaker
from tests.health import assert_healthy
from tests.services.bench import TALK, Bench
from tests.services.desk import IMAGE, VIDEO
from tests.services.test_reindex import lose_the_table, rebuild
from tests.services.test_storing import with_store
from tests.services.test_verify import verify
from tests.thumbnails.test_maker import EXAMPLES, PATIENT, bomb, film

SIDE = 96
KITE = EXAMPLES / "pictures" / "kite.png"


@contextmanager
def making(bench: Bench) -> Iterator[LaneContext]:
    """Give a process that makes thumbnails, however busy the machine is."""
    with bench.process() as context:
        yield replace(context, thumbnails=ThumbnailMaker(SIDE, deadline_seconds=PATIENT))


def finish(bench: Bench, context: LaneContext, *lines: dict[str, Any]) -> list[Job]:
    batch = bench.take(*lines)
    bench.submit(context)
    while any(job.state is State.PROCESSING for job in bench.jobs(batch)):
        bench.let_due(batch)
        bench.poll(context)
    bench.archive(context)
    bench.sweep(context)
    return list(bench.jobs(batch))


def thumbnails_of(bench: Bench, job: Job) -> list[Path]:
    """Return where each output's thumbnail lies, or would lie."""
    keys = (thumbnail_key(output.stored.key) for output in job.outputs if output.stored)
    return [bench.archived_file(key) for key in keys if key]


def manifest_of(bench: Bench, job: Job) -> Any:  # noqa: ANN401 - JSON
    return json.loads(bench.archived_file(manifest_key(job)).read_text())


# -- what is made ------------------------------------------------------------------------------------------------


def test_pictures_and_films_have_thumbnails_beside_them(bench: Bench) -> None:
    """Of the simulator's own media: stored under the output's key, in the row and in the papers; words have none."""
    with making(bench) as context:
        jobs = finish(bench, context, VIDEO, IMAGE, TALK)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    for job in jobs:
        papers = manifest_of(bench, job)["outputs"]
        for output, paper in zip(sorted(job.outputs, key=lambda one: one.index), papers, strict=True):
            stored = output.stored
            assert stored is not None
            if job.kind == "transcription":
                assert (stored.thumbnail, paper["thumbnail"]) == (None, None)
                continue
            key, thumbnail = thumbnail_key(stored.key), stored.thumbnail
            assert key is not None
            assert thumbnail is not None
            data = bench.archived_file(key).read_bytes()
            with Image.open(io.BytesIO(data)) as small:
                assert (small.format, small.size) == ("JPEG", (thumbnail.width, thumbnail.height))
            assert max(thumbnail.width, thumbnail.height) == SIDE
            assert stored.width is not None
            assert stored.height is not None
            assert abs(thumbnail.width / thumbnail.height - stored.width / stored.height) < 0.05
            assert (thumbnail.byte_count, thumbnail.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            assert paper["thumbnail"] == {
                "key": key,
                "bytes": len(data),
                "sha256": thumbnail.sha256,
                "content_type": "image/jpeg",
                "width": thumbnail.width,
                "height": thumbnail.height,
                "made_from_sha256": stored.sha256,
            }
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_thumbnail_looks_like_its_output(sqlite_bench: Bench) -> None:
    """Rough colours agree, for a picture of the simulator."""
    bench = sqlite_bench
    with making(bench) as context:
        (job,) = finish(bench, context, IMAGE)
    (stored,) = [output.stored for output in job.outputs]
    assert stored is not None
    with Image.open(bench.archived_file(stored.key)) as whole, Image.open(thumbnails_of(bench, job)[0]) as small:
        coarse = [one.convert("RGB").resize((4, 4), Image.Resampling.BOX).tobytes() for one in (whole, small)]
    assert max(abs(a - b) for a, b in zip(*coarse, strict=True)) < 24


# -- what goes wrong ---------------------------------------------------------------------------------------------


class Gives:
    """A way out that gives the same bytes for every link, but for covers: those are the kite."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        data = KITE.read_bytes() if "/cover" in url else self._data
        await asyncio.to_thread(into.write_bytes, data)
        return Fetched(len(data), hashlib.sha256(data).hexdigest(), None)


class Fails:
    """A maker that fails, and counts how often it was asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.asked = 0

    def make(self, path: Path, content_type: str) -> Any:  # noqa: ANN401 - never returns
        self.asked += 1
        raise self._error


def bare_film(folder: Path) -> bytes:
    """A film whose boxes are whole and whose frames are noise: the walk passes it, a decoder cannot."""
    whole = bytearray(film(folder / "whole", [(220, 30, 30)]).read_bytes())
    start, end = whole.index(b"mdat") + 4, whole.index(b"moov") - 4
    assert start < end
    whole[start:end] = bytes((7 * place) % 251 for place in range(end - start))
    return bytes(whole)


@pytest.mark.parametrize(
    ("line", "write"),
    [
        pytest.param(IMAGE, lambda _: bomb(50_000, 50_000), id="a bomb"),
        pytest.param(VIDEO, bare_film, id="a film of noise"),
    ],
)
def test_a_hostile_output_is_archived_without_a_thumbnail(
    sqlite_bench: Bench,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    line: dict[str, Any],
    write: Callable[[Path], bytes],
) -> None:
    """It was paid for and is whole: the job succeeds as ever; the log says why it has no thumbnail."""
    bench = sqlite_bench
    fetch: Any = Gives(write(tmp_path))
    with making(bench) as context, caplog.at_level("WARNING"):
        batch = bench.start_archiving(context, line)
        bench.archive(replace(context, fetch=fetch))
        bench.sweep(context)
    job = bench.only(batch)
    main = job.outputs[0].stored
    assert job.state is State.SUCCEEDED
    assert main is not None
    assert main.thumbnail is None
    assert not bench.archived_file(str(thumbnail_key(main.key))).exists()
    assert "thumbnail_failed" in [record.message for record in caplog.records]
    assert_healthy(bench.app, ledger=bench.ledger())


@pytest.mark.parametrize("error", [Permanent("thumbnail_refused", "no"), Transient("thumbnail_busy", "not now")])
def test_a_failed_thumbnail_is_tried_once(sqlite_bench: Bench, error: Exception) -> None:
    """Neither the job nor any sweep waits for another try."""
    bench, maker = sqlite_bench, Fails(error)
    with bench.process() as real:
        (job,) = finish(bench, replace(real, thumbnails=maker), IMAGE)
        bench.advance(7200)
        bench.sweep(real)
    assert (job.state, maker.asked) == (State.SUCCEEDED, 1)
    assert manifest_of(bench, job)["outputs"][0]["thumbnail"] is None
    assert bench.events(job).count("archive_failed") == 0


def test_a_store_that_refuses_the_thumbnail_still_has_the_output(sqlite_bench: Bench) -> None:
    """Its put is the first of the small documents; the papers that follow are stored."""
    bench = sqlite_bench

    def refuse(real: Callable[..., Any], *args: object, **kwargs: object) -> None:
        raise Transient("store_unavailable", "503 SlowDown")

    with making(bench) as context:
        batch = bench.start_archiving(context, IMAGE)
        bench.archive(with_store(context, put_bytes=refuse))
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    assert job.outputs[0].stored is not None
    assert job.outputs[0].stored.thumbnail is None
    assert bench.archived_file(manifest_key(job)).is_file()


# -- who else knows ----------------------------------------------------------------------------------------------


def test_a_thumbnail_of_which_no_row_speaks_is_no_orphan(sqlite_bench: Bench) -> None:
    """Its process died before the row: nobody need look at it, and it goes with the rest."""
    bench = sqlite_bench
    with bench.process() as context:
        (job,) = finish(bench, context, IMAGE)
    (left,) = thumbnails_of(bench, job)
    left.write_bytes(b"half of a JPEG")
    assert_healthy(bench.app, ledger=bench.ledger())
    let_go(bench)
    assert not left.exists()


def let_go(bench: Bench) -> Keeper:
    """Let retention take everything away."""
    keeper = Keeper(bench.app.retention, bench.app.stores, bench.clock)
    set_rule(keeper, Selector.parse("*"), timedelta(days=1), actor="alex", reason="")
    bench.advance(2 * 86400)
    done = expire(keeper, keeper.retention.list_rules(), actor="alex")
    assert done.failures == []
    return keeper


def test_retention_counts_and_removes_thumbnails(bench: Bench) -> None:
    """The folder is empty afterwards; what was planned counted their bytes too."""
    with making(bench) as context:
        (job,) = finish(bench, context, VIDEO)
    paths = thumbnails_of(bench, job)
    assert all(path.is_file() for path in paths)
    held = sum(path.stat().st_size for path in paths[0].parent.iterdir() if path.name != "manifest.json")
    (kept,) = bench.app.retention.sum_kept()
    assert kept.byte_count == held
    keeper = Keeper(bench.app.retention, bench.app.stores, bench.clock)
    set_rule(keeper, Selector.parse("*"), timedelta(), actor="alex", reason="")
    assert sum(make_plan(keeper, keeper.retention.list_rules()).byte_counts.values()) == held
    let_go(bench)
    assert [path for path in paths[0].parent.iterdir() if path.is_file()] == []


def test_a_rebuilt_table_knows_the_thumbnails(bench: Bench) -> None:
    """From the manifest alone."""
    with making(bench) as context:
        (job,) = finish(bench, context, VIDEO)
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    again = bench.app.history.get_job(job.id)
    assert {o.id: o.stored for o in again.outputs} == {o.id: o.stored for o in job.outputs}


def test_a_manifest_from_before_thumbnails_is_read(sqlite_bench: Bench) -> None:
    """The version is the same: an older one lacks the field, an older reader passes it over."""
    bench = sqlite_bench
    with making(bench) as context:
        (job,) = finish(bench, context, IMAGE)
    papers = manifest_of(bench, job)
    for output in papers["outputs"]:
        del output["thumbnail"]
    bench.archived_file(manifest_key(job)).write_text(json.dumps(papers))
    lose_the_table(bench)
    assert rebuild(bench).made_count == 1
    (output,) = bench.app.history.get_job(job.id).outputs
    assert output.stored is not None
    assert output.stored.thumbnail is None


def test_papers_cannot_claim_a_thumbnail_elsewhere(sqlite_bench: Bench) -> None:
    """Retention would remove it."""
    bench = sqlite_bench
    with making(bench) as context:
        (job,) = finish(bench, context, IMAGE)
    papers = manifest_of(bench, job)
    papers["outputs"][0]["thumbnail"]["key"] = "inputs/anything"
    bench.archived_file(manifest_key(job)).write_text(json.dumps(papers))
    lose_the_table(bench)
    report = rebuild(bench)
    assert (report.made_count, len(report.damaged)) == (0, 1)
    assert "thumbnail.key" in next(iter(report.damaged.values()))


def test_the_example_picture_is_what_a_person_sees(sqlite_bench: Bench) -> None:
    """A picture of examples/ through the archive: its thumbnail shows the same kite."""
    bench = sqlite_bench
    fetch: Any = Gives(KITE.read_bytes())
    with making(bench) as context:
        batch = bench.start_archiving(context, IMAGE)
        bench.archive(replace(context, fetch=fetch))
    (path,) = thumbnails_of(bench, bench.only(batch))
    with Image.open(path) as small, Image.open(KITE) as whole:
        assert small.size == (SIDE, SIDE * 360 // 640)
        coarse = [one.convert("RGB").resize((4, 4), Image.Resampling.BOX).tobytes() for one in (whole, small)]
    assert max(abs(a - b) for a, b in zip(*coarse, strict=True)) < 24


# -- made anew ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_verify_makes_a_thumbnail_anew(bench: Bench, damage: str) -> None:
    """Nobody is asked, nothing is fetched: it comes from the archived output, and the next look finds all well."""
    with making(bench) as context:
        (job,) = finish(bench, context, IMAGE)
        (path,) = thumbnails_of(bench, job)
        whole = path.read_bytes()
        path.unlink() if damage == "gone" else path.write_bytes(whole + b"x")
        asks = bench.asks()
        (drift,) = verify(bench, context=context, may_ask=False)
        problem = Problem.THUMBNAIL_MISSING if damage == "gone" else Problem.THUMBNAIL_CHANGED
        assert (drift.problem, drift.is_mended, drift.output_id) == (problem, True, job.outputs[0].id)
        assert path.read_bytes() == whole
        assert (bench.asks(), verify(bench, context=context)) == (asks, [])
        assert list(context.spool.iterdir()) == []
    assert_healthy(bench.app, ledger=bench.ledger())


def test_without_the_libraries_verify_says_so(sqlite_bench: Bench) -> None:
    """It is no loss: the output is as it was stored."""
    bench = sqlite_bench
    with making(bench) as context:
        (job,) = finish(bench, context, IMAGE)
    thumbnails_of(bench, job)[0].unlink()
    (drift,) = verify(bench)
    assert (drift.problem, drift.is_mended) == (Problem.THUMBNAIL_MISSING, False)
    assert "orchestrator doctor" in drift.message
    (looked,) = verify(bench, is_looking=True)
    assert "made anew" in looked.message


def test_older_outputs_get_theirs_when_asked_for(bench: Bench) -> None:
    """Row and papers know it then, and a second time there is nothing left to do."""
    with bench.process() as plain:
        (job, _) = finish(bench, plain, VIDEO, TALK)
    with making(bench) as context:
        ((job_id, missing),) = list_missing(bench.app.audit)
        assert (job_id, set(missing)) == (job.id, {output.id for output in job.outputs})
        made = {output_id: make_anew(context, job_id, output_id) for output_id in missing}
        assert list(list_missing(bench.app.audit)) == []
        assert verify(bench, context=context) == []
    again = bench.app.history.get_job(job.id)
    assert {o.id: o.stored and o.stored.thumbnail for o in again.outputs} == made
    assert {paper["id"]: paper["thumbnail"]["sha256"] for paper in manifest_of(bench, job)["outputs"]} == {
        output_id: thumbnail.sha256 for output_id, thumbnail in made.items()
    }
    assert_healthy(bench.app, ledger=bench.ledger())


@pytest.mark.parametrize("moment", ["while it is made", "before papers are written"])
def test_what_retention_took_meanwhile_is_not_written_again(sqlite_bench: Bench, moment: str) -> None:
    """Papers hold the prompt: those that come too late are removed with the thumbnail."""
    bench = sqlite_bench
    with bench.process() as plain:
        (job,) = finish(bench, plain, IMAGE)

    class Slow:
        def make(self, path: Path, content_type: str) -> MadeThumbnail:
            made = ThumbnailMaker(SIDE, deadline_seconds=PATIENT).make(path, content_type)
            let_go(bench)
            return made

    def find_then_let_go(real: Callable[[str], object], key: str) -> object:
        found = real(key)
        assert found is not None
        let_go(bench)
        return found

    with making(bench) as context:
        is_slow = moment == "while it is made"
        changed = replace(context, thumbnails=Slow()) if is_slow else with_store(context, find=find_then_let_go)
        with pytest.raises(Conflict, match="taken away"):
            make_anew(changed, job.id, job.outputs[0].id)
    folder = bench.archived_file(manifest_key(job)).parent
    assert [path for path in folder.iterdir() if path.is_file()] == []


def test_a_thumbnail_is_not_made_of_other_bytes(sqlite_bench: Bench) -> None:
    """An output that was changed has nothing to show."""
    bench = sqlite_bench
    with bench.process() as plain:
        (job,) = finish(bench, plain, IMAGE)
    stored = job.outputs[0].stored
    assert stored is not None
    bench.archived_file(stored.key).write_bytes(KITE.read_bytes())
    with making(bench) as context, pytest.raises(Transient, match="not as it was stored"):
        make_anew(context, job.id, job.outputs[0].id)
    assert list(list_missing(bench.app.audit)) == [(job.id, [job.outputs[0].id])]


def test_two_who_make_the_same_one_share_no_file(sqlite_bench: Bench) -> None:
    """`archive thumbnails` may run twice at once: each decodes a copy of its own."""
    bench = sqlite_bench
    with bench.process() as plain:
        (job,) = finish(bench, plain, IMAGE)
    output_id = job.outputs[0].id
    with making(bench) as context:
        real = ThumbnailMaker(SIDE, deadline_seconds=PATIENT)

        class Beside:
            def make(self, path: Path, content_type: str) -> MadeThumbnail:
                make_anew(context, job.id, output_id)
                return real.make(path, content_type)

        make_anew(replace(context, thumbnails=Beside()), job.id, output_id)
        assert list(context.spool.iterdir()) == []
        assert verify(bench, context=context) == []

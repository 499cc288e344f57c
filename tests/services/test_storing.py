"""The archive lane by hand: what may not be archived, which links are asked for again, and stores that fail (faults E)."""

from __future__ import annotations

import hashlib
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from orchestrator.domain.errors import Gone, Transient
from orchestrator.domain.job import Job, OutputDraft, Role
from orchestrator.domain.outcomes import OutputsReady
from orchestrator.domain.ports import PollAnswer, PollQuestion, Store
from orchestrator.domain.states import State
from orchestrator.egress import GuardedFetch
from orchestrator.services.archive.manifest import job_folder
from orchestrator.services.lanes.archive import ArchiveLane
from orchestrator.services.lanes.context import LaneContext
from tests.fixtures.s3 import S3Server
from tests.health import assert_healthy
from tests.services.bench import TALK, Bench, ProviderAround
from tests.services.desk import IMAGE, VIDEO
from tests.services.intake.desk import png

MIB = 1 << 20
VIDEO_LINK = "/_files/video"
COVER_LINK = "/_files/cover"


def keys_of(bench: Bench) -> list[str]:
    root = bench.archived_file("")
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(key for key in found if not key.startswith("batches/"))  # the job file itself


# -- bodies that are not the file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "truncated"},
        {"fault": "truncated", "reason": "no_length"},
        {"fault": "html_body"},
        {"fault": "html_body", "reason": "video/mp4"},
        {"fault": "zero_bytes"},
        {"fault": "wrong_type"},
        {"fault": "wrong_type", "reason": "video/mp4"},
        {"fault": "redirect", "status": 302},
        {"fault": "endless"},
        {"fault": "reset"},
        {"fault": "server_error"},
    ],
    ids=lambda rule: "-".join(str(value) for value in rule.values()),
)
def test_what_is_not_the_file_is_never_archived(sqlite_bench: Bench, rule: dict[str, Any]) -> None:
    """E1-E6, E8, E10: nothing under the job's folder, the spool empty, a backoff; then the file itself, paid once."""
    bench = sqlite_bench
    with bench.process() as real:
        context = replace(real, limits=replace(real.limits, output_max_bytes=MIB))
        batch = bench.start_archiving(context)
        bench.faults({**rule, "path": VIDEO_LINK, "phase": "link"})
        bench.archive(context)
        job = bench.only(batch)
        assert job.state is State.ARCHIVING
        video, cover = job.outputs
        assert (video.stored, cover.stored is not None) == (None, True)
        assert [key for key in keys_of(bench) if "video" in key or "manifest" in key] == []
        assert list(context.spool.iterdir()) == []
        assert job.last_error
        assert bench.events(job)[-1] == "archive_failed"
        assert job.due_at is not None
        assert job.due_at > bench.clock.now()
        bench.faults()
        bench.let_due(batch)
        bench.archive(context)
    assert bench.only(batch).state is State.SUCCEEDED
    assert len(bench.ledger()) == 1


def test_a_link_that_keeps_lying_is_replaced(sqlite_bench: Bench) -> None:
    """E4, E5: three lies in a row: the provider is asked for another link."""
    bench = sqlite_bench
    bench.faults({"fault": "html_body", "path": VIDEO_LINK, "times": 3})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        for _ in range(3):
            bench.let_due(batch)
            bench.archive(context)
        assert bench.only(batch).state is State.PROCESSING
        assert bench.events(bench.only(batch))[-1] == "fresh_link_asked"
        bench.let_due(batch)
        bench.poll(context)
        bench.archive(context)
    assert bench.only(batch).state is State.SUCCEEDED
    assert bench.posts() == 1


# -- links that die ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_link_is_replaced_by_a_fresh_one(sqlite_bench: Bench, status: int) -> None:
    """E7: asked at once, the other output stays archived and is not fetched again; one charge."""
    bench = sqlite_bench
    bench.faults({"fault": "dead_link", "path": VIDEO_LINK, "status": status, "times": 1})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        bench.archive(context)
        job = bench.only(batch)
        assert job.state is State.PROCESSING
        cover = job.outputs[1]
        assert cover.stored is not None
        bench.faults({"fault": "dead_link", "path": COVER_LINK})
        bench.let_due(batch)
        bench.advance(2)  # a link signed in the same second is the same link
        bench.poll(context)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    assert job.outputs[1].stored == cover.stored
    assert bench.posts() == 1


def test_the_same_dead_link_again_is_a_proven_loss(bench: Bench) -> None:
    """E7: asking gave the very link that is dead: failed/output_expired, naming output and expiry; the charge stays."""
    bench.control("options", {"links_resigned_per_poll": False})
    bench.faults({"fault": "dead_link", "path": VIDEO_LINK})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        for _ in range(2):
            bench.archive(context)
            if bench.only(batch).state is State.PROCESSING:
                bench.let_due(batch)
                bench.poll(context)
    job = bench.only(batch)
    assert (job.state, job.failure_code) == (State.FAILED, "output_expired")
    assert "output 0 (video)" in str(job.failure_message)
    assert job.price is not None
    assert job.cost_final_micros == job.price.micros
    assert job.outputs[1].stored is not None


def test_five_different_dead_links_are_a_persons_matter(bench: Bench) -> None:
    """Asks wait 0 s, 30 s, 5 min, 30 min, 2 h; then needs_review, not failed: nothing is proven."""
    bench.faults({"fault": "dead_link", "path": VIDEO_LINK})
    waits = []
    with bench.process() as context:
        batch = bench.start_archiving(context)
        for _ in range(6):
            bench.archive(context)
            job = bench.only(batch)
            if job.state is not State.PROCESSING:
                break
            assert job.due_at is not None
            waits.append((job.due_at - bench.clock.now()).total_seconds())
            bench.let_due(batch)
            bench.advance(2)
            bench.poll(context)
    assert waits == [0, 30, 300, 1800, 7200]
    assert bench.only(batch).state is State.NEEDS_REVIEW


def test_a_lost_cover_is_told_and_does_not_fail_the_job(bench: Bench) -> None:
    """Covers are optional: the job succeeds; the loss is an event; the papers say so."""
    bench.faults({"fault": "dead_link", "path": COVER_LINK, "status": 410})
    with bench.process() as context:
        batch = bench.start_archiving(context)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    assert (job.outputs[0].stored is not None, job.outputs[1].is_lost) == (True, True)
    assert "output_lost" in bench.events(job)
    (paper,) = [key for key in keys_of(bench) if key.endswith("manifest.json")]
    outputs = json.loads(bench.archived_file(paper).read_bytes())["outputs"]
    assert [output["is_archived"] for output in outputs] == [True, False]


# -- what is written ---------------------------------------------------------------------------------------------


def test_a_transcript_is_archived_as_text_and_json(bench: Bench) -> None:
    """Roles transcript (.txt, UTF-8) and transcript_json; hashes agree with the rows."""
    with bench.process() as context:
        batch = bench.start_processing(context, TALK)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    text, document = (output.stored for output in job.outputs)
    assert text is not None
    assert document is not None
    assert (text.content_type, text.key.rpartition(".")[2]) == ("text/plain; charset=utf-8", "txt")
    assert json.loads(bench.archived_file(document.key).read_bytes())["text"]
    for file in (text, document):
        data = bench.archived_file(file.key).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.byte_count)


def test_objects_in_a_bucket_carry_their_facts(
    sqlite_bench: Bench, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lane into S3: content type, and in the metadata whose it is, what it is and its SHA-256; keys as on disk."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    bench = sqlite_bench
    bench.use_archive(f"s3://{s3_bucket}/films", s3_endpoint_url=s3_server.endpoint_url, s3_region=s3_server.region)
    with bench.process() as context:
        batch = bench.start_archiving(context)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED, job.last_error
    client = s3_server.client()
    for output in job.outputs:
        assert output.stored is not None
        head = client.head_object(Bucket=s3_bucket, Key=f"films/{output.stored.key}")
        assert head["ContentType"] == output.stored.content_type
        assert head["Metadata"] == {
            "job-id": job.id,
            "output-id": output.id,
            "kind": "video",
            "role": str(output.role),
            "sha256": output.stored.sha256,
            "tool-version": context.tool_version,
        }
        assert output.source_url is None


# -- stores that fail --------------------------------------------------------------------------------------------


class StoreThat:
    """The real store, with something wrong once for each call of a method."""

    def __init__(self, real: Store, **faults: Callable[..., Any]) -> None:
        self._real = real
        self._faults = faults

    def open(self, url: str) -> StoreThat:
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        real = getattr(self._real, name)
        fault = self._faults.pop(name, None)
        return real if fault is None else lambda *args, **kwargs: fault(real, *args, **kwargs)


def with_store(context: LaneContext, **faults: Callable[..., Any]) -> LaneContext:
    stores: Any = StoreThat(context.stores.open(context.archive_url), **faults)
    return replace(context, stores=stores)


def refuse(real: Callable[..., Any], *args: object, **kwargs: object) -> None:
    raise Transient("store_unavailable", "503 SlowDown")


@pytest.mark.parametrize("method", ["put_file", "put_bytes", "read_back", "find"])
def test_a_store_that_refuses_once_is_tried_again(sqlite_bench: Bench, method: str) -> None:
    """E15, E19: archiving with a backoff, links and their expiry kept; then succeeded, each file stored once."""
    bench = sqlite_bench
    with bench.process() as real:
        batch = bench.start_archiving(real)
        before = bench.only(batch)
        context = with_store(real, **{method: refuse})
        bench.archive(context)
        job = bench.only(batch)
        assert job.state is State.ARCHIVING
        assert "store_unavailable" in str(job.last_error)
        assert [o.source_expires_at for o in job.outputs if o.stored is None] == [
            o.source_expires_at for o, now in zip(before.outputs, job.outputs, strict=True) if now.stored is None
        ]
        bench.let_due(batch)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    assert len(keys_of(bench)) == 3
    assert bench.posts() == 1


def test_what_the_store_changed_is_found_before_the_row_says_archived(bench: Bench) -> None:
    """E16, promise 6: a byte flipped after storing: the read-back differs, the object is written again."""

    def flip(real: Callable[..., Any], key: str, path: Path, **kwargs: object) -> None:
        real(key, path, **kwargs)
        stored = bench.archived_file(key)
        data = bytearray(stored.read_bytes())
        data[len(data) // 2] ^= 1
        stored.chmod(0o600)
        stored.write_bytes(data)

    with bench.process() as real:
        batch = bench.start_archiving(real)
        context = with_store(real, put_file=flip)
        bench.archive(context)
        job = bench.only(batch)
        assert job.state is State.ARCHIVING
        assert "read_back_differs" in str(job.last_error)
        bench.let_due(batch)
        bench.archive(context)
    job = bench.only(batch)
    assert job.state is State.SUCCEEDED
    for output in job.outputs:
        assert output.stored is not None
        data = bench.archived_file(output.stored.key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == output.stored.sha256


def test_what_was_stored_before_a_death_is_not_stored_again(bench: Bench) -> None:
    """E22: dead between the store and the row: the next run finds the object by key and hash."""
    puts: list[str] = []

    def count(real: Callable[..., Any], key: str, path: Path, **kwargs: object) -> None:
        puts.append(key)
        real(key, path, **kwargs)

    class Died(BaseException):
        """The process ends here."""

    def end(real: Callable[..., Any], *args: object, **kwargs: object) -> None:
        raise Died

    with bench.process() as real:
        batch = bench.start_archiving(real, IMAGE)
        context = with_store(real, put_file=count, put_bytes=end)
        bench.archive(context)
        assert bench.only(batch).state is State.ARCHIVING
        assert len(puts) == 1
        bench.advance(121)
        bench.archive(with_store(real, put_file=count))
    assert bench.only(batch).state is State.SUCCEEDED
    assert len(puts) == 1


@pytest.mark.parametrize("found", ["whole", "cut", "another"])
def test_what_was_stored_before_a_death_outlives_its_link(bench: Bench, found: str) -> None:
    """E22: dead between the store and the row, and the link dies too: the bytes in the archive are what was paid for. What
    is not what its key says is none of them: then the loss is proven, for there is no task to ask about.
    """

    class Died(BaseException):
        """The process ends here."""

    def end(real: Callable[..., Any], *args: object, **kwargs: object) -> None:
        raise Died

    with bench.process() as real:
        batch = bench.start_archiving(real, IMAGE)
        bench.archive(with_store(real, put_bytes=end))
        job = bench.only(batch)
        assert (job.state, [output.stored for output in job.outputs]) == (State.ARCHIVING, [None])
        (path,) = bench.archived_file(job_folder(job)).iterdir()
        whole = path.read_bytes()
        path.write_bytes({"whole": whole, "cut": whole[:-1], "another": png()}[found])
        bench.faults({"fault": "dead_link", "phase": "link"})
        bench.advance(121)
        asks = bench.asks()
        bench.archive(real)
        job = bench.only(batch)
        assert bench.asks() == asks
    if found != "whole":
        assert job.failure_code == "output_expired"
        return
    assert job.state is State.SUCCEEDED
    (stored,) = (output.stored for output in job.outputs)
    assert stored is not None
    assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (stored.key, stored.width) == (f"{job_folder(job)}/{path.name}", 512)
    assert_healthy(bench.app, ledger=bench.ledger())


def test_two_workers_with_the_same_output_leave_one(bench: Bench) -> None:
    """E17: one froze past its lease and goes on when another has archived: nothing is added, and the row stays as it is."""
    with bench.process() as frozen, bench.process() as other:
        batch = bench.start_archiving(frozen)
        lane = ArchiveLane(frozen)
        (work,) = lane.claim([])
        bench.advance(121)
        bench.archive(other)
        job, keys = bench.only(batch), keys_of(bench)
        assert job.state is State.SUCCEEDED
        lane.apply([bench.loop.submit(lane.perform(work)).result()])
    assert bench.only(batch) == job
    assert keys_of(bench) == keys
    for output in job.outputs:
        assert output.stored is not None
        assert hashlib.sha256(bench.archived_file(output.stored.key).read_bytes()).hexdigest() == output.stored.sha256
    assert bench.posts() == 1


def test_the_soonest_expiry_goes_first_and_pictures_never_wait_behind_films(sqlite_bench: Bench) -> None:
    """Promise 7: order of expiry inside a class; a full video window leaves the other class its places."""
    bench = sqlite_bench
    bench.control("options", {"link_life_seconds": {"vidu": 86_400}})
    with bench.process() as real:
        context = replace(real, limits=replace(real.limits, archive_windows={"video": 1, "other": 1}))
        first = bench.start_archiving(real)
        bench.control("options", {"link_life_seconds": {"vidu": 3600}})
        second = bench.start_archiving(real, {**VIDEO, "custom_id": "urgent"})
        bench.start_processing(real, {**IMAGE, "custom_id": "picture"})
        taken = bench.claim_leased(context, State.ARCHIVING)
    assert [job.kind for job in taken] == ["video", "image"]
    assert taken[0].id == bench.only(second).id
    assert bench.only(first).lease_token is None


# -- memory ------------------------------------------------------------------------------------------------------


def film(size: int) -> tuple[bytes, int, bytes]:
    """Return an MP4 of about `size` bytes as head, zeros in its mdat, tail: big without being held."""

    def box(name: bytes, content: bytes) -> bytes:
        return pack(">I4s", 8 + len(content), name) + content

    mvhd = box(b"mvhd", bytes(12) + pack(">II", 1000, 5000) + bytes(80))
    tkhd = box(b"tkhd", pack(">I", 7) + bytes(72) + pack(">II", 640 << 16, 360 << 16))
    hdlr = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    stsd = box(b"stsd", pack(">II", 0, 1) + box(b"avc1", bytes(24) + pack(">HH", 640, 360) + bytes(50)))
    stco = box(b"stco", pack(">III", 0, 1, 28))
    stbl = box(
        b"stbl",
        stsd
        + box(b"stts", pack(">IIII", 0, 1, 1, 5000))
        + box(b"stsc", pack(">IIIII", 0, 1, 1, 1, 1))
        + box(b"stsz", pack(">III", 0, size, 1))
        + stco,
    )
    minf = box(b"minf", stbl)
    mdhd = box(b"mdhd", bytes(12) + pack(">II", 1000, 5000) + bytes(4))
    trak = box(b"trak", tkhd + box(b"mdia", mdhd + hdlr + minf))
    head = box(b"ftyp", b"isom" + bytes(4) + b"isom") + pack(">I4s", 8 + size, b"mdat")
    return head, size, box(b"moov", mvhd + trak)


@contextmanager
def serving(size: int) -> Iterator[str]:
    """Serve a film of about `size` bytes on loopback; give its host:port."""
    head, zeros, tail = film(size)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(head) + zeros + len(tail)))
            self.end_headers()
            self.wfile.write(head)
            for _ in range(zeros // MIB):
                self.wfile.write(bytes(MIB))
            self.wfile.write(tail)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class ElsewhereProvider(ProviderAround):
    """The real provider, whose results lie on another server."""

    url = ""

    async def poll(self, question: PollQuestion) -> PollAnswer:
        return OutputsReady((OutputDraft(0, Role.VIDEO, url=self.url),))


def archive_film(bench: Bench, context: LaneContext, size: int) -> tuple[Job, int]:
    """Archive one film; return its job and the most memory that it took."""
    with serving(size) as address:
        fetch = GuardedFetch(allow=[address])
        provider = ElsewhereProvider(context)
        provider.url = f"http://{address}/film.mp4"
        mine = replace(context, fetch=fetch, provider=provider)
        batch = bench.start_archiving(mine, {**VIDEO, "custom_id": f"film-{size}"})
        tracemalloc.start()
        try:
            bench.archive(mine)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return bench.only(batch), peak


def test_memory_does_not_grow_with_the_file(sqlite_bench: Bench) -> None:
    """Fetch, hash, container walk, store, read-back: 20 times the file, the same memory."""
    bench = sqlite_bench
    with bench.process() as context:
        archive_film(bench, context, MIB)
        small, small_peak = archive_film(bench, context, 5 * MIB)
        large, large_peak = archive_film(bench, context, 100 * MIB)
    assert (small.state, large.state) == (State.SUCCEEDED, State.SUCCEEDED), (small.last_error, large.last_error)
    facts: Mapping[str, int] = {job.id: o.stored.byte_count for job in (small, large) for o in job.outputs if o.stored}
    assert facts[large.id] > 19 * facts[small.id]
    # What waits between socket, disk and store is bounded, and on a busy machine more of it waits: never a share of the file.
    assert large_peak < small_peak + 16 * MIB
    assert timedelta(seconds=5) == timedelta(seconds=large.outputs[0].stored.duration_seconds or 0)  # type: ignore[union-attr]


def test_a_store_that_says_404_does_not_make_the_link_dead(sqlite_bench: Bench) -> None:
    """E19: a picture that was answered at once has nobody to be asked for again, and must not end as expired."""

    def vanish(real: Callable[..., Any], *args: object, **kwargs: object) -> None:
        raise Gone("store_key_missing", "404, HTTP 404")

    bench = sqlite_bench
    with bench.process() as real:
        batch = bench.start_processing(real, IMAGE)
        bench.archive(with_store(real, put_file=vanish))
        job = bench.only(batch)
        assert job.state is State.ARCHIVING
        assert str(job.last_error).startswith("store_key_missing")
        bench.let_due(batch)
        bench.archive(real)
    assert bench.only(batch).state is State.SUCCEEDED
    assert bench.posts() == 1

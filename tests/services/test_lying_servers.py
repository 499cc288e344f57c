"""Servers that lie, on the link's side and on the store's: whatever they say, what is not the film is never archived.

One row of LINKS or STORES is one way to lie. Each runs through the whole archive lane; afterwards the server tells the truth, and
the same job ends well without another paid request.
"""

from __future__ import annotations

import gzip
import hashlib
from asyncio import StreamWriter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from orchestrator.domain.job import OutputDraft, Role
from orchestrator.domain.outcomes import OutputsReady
from orchestrator.domain.ports import PollAnswer, PollQuestion
from orchestrator.domain.states import State
from orchestrator.egress import GuardedFetch
from orchestrator.services.lanes.context import LaneContext
from orchestrator.storage import StoreOptions, StoreSet
from tests.egress.server import Play, head, saying, saying_for_ever, saying_then_reset
from tests.egress.server import serving as serving_bytes
from tests.fixtures.strict_s3 import CHANGES, REFUSALS, StrictS3, running_strict_s3
from tests.media.samples import sample
from tests.services.bench import Bench, ProviderAround

FILM = sample("mp4")
FAST = sample("mp4-faststart")
PICTURE = sample("png")
PAGE = b"<!DOCTYPE html><html><body>This link has expired</body></html>"
MP4 = "Content-Type: video/mp4"
CHUNKED = "Transfer-Encoding: chunked"


def told(data: bytes, *lines: str, length: int | None = None) -> Play:
    """Say 200 and these bytes, with the length that they have or another."""
    return saying(head(f"Content-Length: {len(data) if length is None else length}", *lines) + data)


LINKS: dict[str, Play] = {
    "fewer bytes than announced": told(FILM[:-1], MP4, length=len(FILM)),
    "half of it, then a reset": saying_then_reset(head(f"Content-Length: {len(FILM)}", MP4) + FILM[: len(FILM) // 2]),
    "the length of a cut film": told(FILM[: len(FILM) // 2], MP4),
    "a cut film until the connection closes": saying(head(MP4) + FILM[:-100]),
    "a cut film with its index in front": saying(head(MP4) + FAST[:-1]),
    "chunks without an end": saying(head(CHUNKED, MP4) + b"%x\r\n%s\r\n" % (len(FILM), FILM)),
    "a chunk shorter than it says": saying(head(CHUNKED, MP4) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(FILM) + 9, FILM)),
    "no bytes": told(b"", MP4),
    "nothing until the connection closes": saying(head(MP4)),
    "a page": told(PAGE, "Content-Type: text/html"),
    "a page called a film": told(PAGE, MP4),
    "an error in JSON called a film": told(b'{"error":{"code":"1214","message":"expired"}}', MP4),
    "an error in XML called bytes": told(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
    "a word": told(b"OK", MP4),
    "a picture called a film": told(PICTURE, MP4),
    "a sound called a film": told(sample("wav"), MP4),
    "zeros of the right length": told(bytes(len(FILM)), MP4),
    "a film without its index": told(FILM.replace(b"moov", b"skip"), MP4),
    "a film without its data": told(FILM.replace(b"mdat", b"skip"), MP4),
    "the end of a film": told(FILM[len(FILM) // 2 :], MP4),
    "a packed film": told(gzip.compress(FILM), MP4, "Content-Encoding: gzip"),
    "a packed film, unsaid": told(gzip.compress(FILM), MP4),
    "a bomb": told(gzip.compress(bytes(20_000_000)), MP4, "Content-Encoding: gzip"),
    "no end": saying_for_ever(head(MP4), bytes(65536)),
    "two lengths": saying(head(f"Content-Length: {len(FILM)}", "Content-Length: 7", MP4) + FILM),
    "a negative length": saying(head("Content-Length: -1", MP4) + FILM),
    "ten gigabytes": saying(head("Content-Length: 10737418240", MP4) + FILM),
    "a range that nobody asked for": saying(
        head(f"Content-Length: {len(FILM)}", f"Content-Range: bytes 0-9/{len(FILM)}", status="206 Partial Content")
        + FILM
    ),
    "created": saying(head(f"Content-Length: {len(FILM)}", MP4, status="201 Created") + FILM),
    "no content": saying(head(status="204 No Content")),
    "a way inside": saying(head("Location: http://169.254.169.254/", "Content-Length: 0", status="302 Found")),
    "a circle": saying(head("Location: /a.mp4", "Content-Length: 0", status="302 Found")),
    "no HTTP": saying(FILM),
}
WHOLE = {**dict.fromkeys(CHANGES, True), "says 200 and drops it": True, **dict.fromkeys(REFUSALS, True)}
"""Lies about an object that is sent whole."""
PARTS = (
    "completes with 200 and an error",
    "completes with nothing behind it",
    "completes without the last part",
    "completes in another order",
    "completes with one part twice",
)
"""Lies about an object that is sent in parts."""
READING = ("forgets it", "reads out another byte", "reads out less than it says", "reads out less and says so")
STORES = (*WHOLE, *PARTS, *READING, "resets in the middle of a body")
PART_BYTES = 2048


def test_how_many_ways_there_are() -> None:
    """The count that docs/reliability.md gives."""
    assert (len(LINKS), len(STORES)) == (33, 20)


class FilmElsewhere(ProviderAround):
    """The real provider, whose film lies on another server."""

    url = ""

    async def poll(self, question: PollQuestion) -> PollAnswer:
        return OutputsReady((OutputDraft(0, Role.VIDEO, url=self.url),))


@contextmanager
def film_from(bench: Bench, context: LaneContext, plays: list[Play]) -> Iterator[LaneContext]:
    """Give a context whose films come from a server that plays the last of `plays`."""

    async def play_last(writer: StreamWriter) -> None:
        await plays[-1](writer)

    async def run() -> AsyncGenerator[int, None]:
        async with serving_bytes(play_last) as server:
            yield server.port

    served = run()

    async def open_port() -> int:
        return await anext(served)

    port = bench.loop.submit(open_port()).result()
    provider = FilmElsewhere(context)
    provider.url = f"http://127.0.0.1:{port}/a.mp4"
    fetch = GuardedFetch(allow=[f"127.0.0.1:{port}"])
    limits = replace(context.limits, output_max_bytes=1 << 20)
    try:
        yield replace(context, fetch=fetch, provider=provider, limits=limits)
    finally:
        bench.loop.submit(served.aclose()).result()


def archived_keys(bench: Bench) -> list[str]:
    root = bench.archived_file("")
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [key for key in found if not key.startswith("batches/")]


@pytest.mark.parametrize("lie", list(LINKS))
def test_no_lie_of_a_link_is_archived(sqlite_bench: Bench, lie: str) -> None:
    """E1-E6, E8-E10, E13, E23: nothing in the archive, nothing in the spool; with the film itself the job ends well."""
    bench, plays = sqlite_bench, [LINKS[lie]]
    with bench.process() as real, film_from(bench, real, plays) as context:
        batch = bench.start_archiving(context)
        bench.archive(context)
        job = bench.only(batch)
        assert job.state is State.ARCHIVING
        assert job.last_error
        assert [output.stored for output in job.outputs] == [None]
        assert (archived_keys(bench), list(context.spool.iterdir())) == ([], [])
        plays.append(told(FILM, MP4))
        bench.let_due(batch)
        bench.archive(context)
    (output,) = bench.only(batch).outputs
    assert output.stored is not None
    assert output.stored.sha256 == hashlib.sha256(FILM).hexdigest()
    assert bench.posts() == 1


def lies_of_stores() -> Iterator[tuple[str, bool]]:
    """Yield each lie with the generations of servers that it is tried on.

    A new server has proved that it verifies SHA-256: what it says of an object's hash and length is believed, so that a change
    which keeps both is for `archive verify` to find, which reads.
    """
    for lie in STORES:
        yield lie, True
        is_believed = lie in READING[1:] or lie in ("stores another byte in the middle", "stores zeros")
        if not is_believed:
            yield lie, False


@pytest.mark.parametrize(("lie", "old"), list(lies_of_stores()))
def test_no_lie_of_a_store_is_believed(
    sqlite_bench: Bench, lie: str, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E15, E16, E18: the row says archived only of bytes that the store gives back; then stored again, paid once."""
    bench = sqlite_bench
    with running_strict_s3(old=old) as server, bench.process() as real:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.address.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.address.secret_access_key)
        with film_from(bench, real, [told(FILM, MP4)]) as fetching:
            context = replace(
                fetching, stores=stores_in(server, in_parts=lie in PARTS), archive_url="s3://strict/films"
            )
            bench.use_archive("s3://strict/films", s3_endpoint_url=server.address.endpoint_url, s3_region="us-east-1")
            batch = bench.start_archiving(context)
            server.lie = lie
            bench.archive(context)
            job = bench.only(batch)
            assert (job.state, [output.stored for output in job.outputs]) == (State.ARCHIVING, [None])
            assert job.last_error
            server.lie = ""
            bench.let_due(batch)
            bench.archive(context)
        (output,) = bench.only(batch).outputs
        assert output.stored is not None
        held = server.objects[f"strict/films/{output.stored.key}"]
        assert hashlib.sha256(held.data).hexdigest() == output.stored.sha256 == hashlib.sha256(FILM).hexdigest()
        assert server.uploads == {}
    assert bench.only(batch).state is State.SUCCEEDED
    assert bench.posts() == 1


def stores_in(server: StrictS3, *, in_parts: bool) -> StoreSet:
    options = StoreOptions(endpoint_url=server.address.endpoint_url, region=server.address.region)
    return StoreSet(replace(options, multipart_threshold=PART_BYTES, part_bytes=PART_BYTES) if in_parts else options)

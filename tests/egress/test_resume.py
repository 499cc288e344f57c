"""A cut download is gone on with where the server proves that the bytes are the same; two answers are never mixed."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import Gone, StepError, Transient
from orchestrator.domain.ports import Fetched
from orchestrator.egress import GuardedFetch, fetch
from tests.egress.server import RawServer, head, saying, serving

MIB = 1 << 20
CUT = 16 * MIB
"""More than the sockets and the client's buffer hold: when so much was sent, some of it has been read."""
FILM = hashlib.sha256(b"a").digest() * (20 * MIB // 32)
OTHER = hashlib.sha256(b"b").digest() * (20 * MIB // 32)
TAG = 'ETag: "a-1"'
RANGE = re.compile(rb"(?i)\r\nrange: bytes=(\d+)-\r\n")
Answer = Callable[[int], bytes]
"""What to say to a request for the rest from a byte on; 0 when the whole is asked for."""


@dataclass
class Host:
    """Gives one answer after the other, and closes the connection behind each."""

    answers: list[Answer]
    ranges: list[int | None] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    async def fetch(self, into: Path, *, max_bytes: int = 64 * MIB) -> Fetched:
        async with serving(self._play) as server:
            self._server: RawServer = server
            guarded = GuardedFetch(allow=[f"127.0.0.1:{server.port}"])
            return await guarded.fetch(server.url(), into, max_bytes=max_bytes, deadline=timedelta(minutes=1))

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        request = self._server.requests[-1]
        found = RANGE.search(request)
        self.ranges.append(int(found[1]) if found else None)
        self.conditions += re.findall(r"(?i)\r\nif-range: ([^\r]*)\r\n", request.decode("latin-1"))
        answer = self.answers[min(len(self.ranges), len(self.answers)) - 1]
        await saying(answer(self.ranges[-1] or 0))(writer)


def whole(data: bytes, *lines: str, cut: int | None = None) -> Answer:
    """Answer 200 with all of it, or with its first bytes."""
    return lambda _: head(f"Content-Length: {len(data)}", "Content-Type: video/mp4", *lines) + data[:cut]


def rest(data: bytes, *lines: str, cut: int | None = None) -> Answer:
    """Answer 206 with what was asked for, or with the first bytes of it."""

    def answer(start: int) -> bytes:
        about = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}"
        length = f"Content-Length: {len(data) - start}"
        return head(about, length, *lines, status="206 Partial Content") + data[start:][:cut]

    return answer


def odd(status: str, *lines: str) -> Answer:
    """Answer a request for the rest with something else, in as many bytes: {start}, {last}, {total} are those asked for."""

    def answer(start: int) -> bytes:
        values = {"start": start, "last": len(FILM) - 1, "total": len(FILM), "off": start + 1}
        body = OTHER[start:]
        return head(*(line.format(**values) for line in lines), f"Content-Length: {len(body)}", status=status) + body

    return answer


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "spool.part"


def assert_is(data: bytes, fetched: Fetched, into: Path) -> None:
    digest = hashlib.sha256(data).hexdigest()
    assert (fetched.byte_count, fetched.sha256, fetched.content_type) == (len(data), digest, "video/mp4")
    assert hashlib.sha256(into.read_bytes()).hexdigest() == digest


def test_a_cut_film_is_gone_on_with(into: Path) -> None:
    """E1: only the rest is asked for, and only if it belongs to the same bytes; the hash is that of the whole."""
    host = Host([whole(FILM, TAG, cut=CUT), rest(FILM, TAG)])
    assert_is(FILM, asyncio.run(host.fetch(into)), into)
    assert host.ranges[0] is None
    assert 0 < (host.ranges[1] or 0) <= CUT
    assert (len(host.ranges), host.conditions) == (2, ['"a-1"'])


def test_it_is_gone_on_with_after_each_cut(into: Path) -> None:
    """E1: a line that dies again and again brings the film all the same, each byte from one answer."""
    film = FILM * 3
    host = Host([whole(film, TAG, cut=CUT), rest(film, TAG, cut=CUT), rest(film, TAG, cut=CUT), rest(film, TAG)])
    assert_is(film, asyncio.run(host.fetch(into)), into)
    starts = [start or 0 for start in host.ranges]
    assert (len(starts), starts) == (4, sorted(set(starts)))


@pytest.mark.parametrize(
    "lines",
    [(), ('ETag: W/"a-1"',), ("ETag: a-1",), ('ETag: ""',), (TAG, 'ETag: "a-2"'), (TAG, "Accept-Ranges: none")],
    ids=["no tag", "weak tag", "no quotes", "empty tag", "two tags", "no ranges"],
)
def test_without_proof_it_begins_again_another_time(lines: tuple[str, ...], into: Path) -> None:
    """E12: nothing says that the rest would belong to the same bytes, so nothing of it is kept."""
    host = Host([whole(FILM, *lines, cut=CUT), rest(FILM, *lines)])
    with pytest.raises(Transient) as caught:
        asyncio.run(host.fetch(into))
    assert (caught.value.code, host.ranges, into.exists()) == ("bad_answer", [None], False)


@pytest.mark.parametrize(
    "changed",
    [
        whole(OTHER, 'ETag: "b-1"'),
        whole(OTHER),
        rest(OTHER, 'ETag: "b-1"'),
        rest(OTHER, 'ETag: W/"a-1"'),
        rest(OTHER),
        rest(OTHER + b"x", TAG),
    ],
    ids=["200, other tag", "200, no tag", "206, other tag", "206, weak tag", "206, no tag", "206, longer"],
)
def test_bytes_that_changed_are_never_mixed(changed: Answer, into: Path) -> None:
    """E12: other bytes lie behind the link than a moment ago: what came is thrown away, the new ones are taken whole."""
    host = Host([whole(FILM, TAG, cut=CUT), changed, whole(OTHER, 'ETag: "b-1"')])
    assert_is(OTHER, asyncio.run(host.fetch(into)), into)
    assert host.ranges[2:] in ([], [None])


@pytest.mark.parametrize(
    "answer",
    [
        whole(FILM, TAG),
        odd("206 Partial Content", TAG),
        odd("206 Partial Content", TAG, "Content-Range: bytes {off}-{last}/{total}"),
        odd("206 Partial Content", TAG, "Content-Range: bytes {start}-{last}/*"),
        odd("206 Partial Content", TAG, "Content-Range: bytes {start}-{start}/{total}"),
        odd("206 Partial Content", TAG, "Content-Range: {start}-{last}/{total}"),
        odd("206 Partial Content", TAG, "Content-Range: bytes {start}-{last}/{total}", "Content-Encoding: gzip"),
        odd("206 Partial Content", TAG, "Content-Type: multipart/byteranges; boundary=x"),
        odd("416 Range Not Satisfiable", "Content-Range: bytes */{total}"),
        odd("412 Precondition Failed"),
    ],
    ids=["200", "no range", "begins later", "no total", "ends sooner", "no unit", "encoded", "several", "416", "412"],
)
def test_an_answer_that_is_not_the_rest_begins_it_again(answer: Answer, into: Path) -> None:
    """E13: ranges ignored, misread or refused: the whole is asked for, once, without a range."""
    host = Host([whole(FILM, TAG, cut=CUT), answer, whole(FILM, TAG)])
    assert_is(FILM, asyncio.run(host.fetch(into)), into)
    assert host.ranges[2:] in ([], [None])


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [("403 Forbidden", Gone, "http_403"), ("404 Not Found", Gone, "http_404"), ("503 Busy", Transient, "http_503")],
)
def test_a_link_that_dies_meanwhile_is_dead(status: str, kind: type[StepError], code: str, into: Path) -> None:
    """E7, E12: half a film is no film."""
    host = Host([whole(FILM, TAG, cut=CUT), odd(status)])
    with pytest.raises(StepError) as caught:
        asyncio.run(host.fetch(into))
    assert (type(caught.value), caught.value.code, into.exists()) == (kind, code, False)


def test_an_answer_that_brings_nothing_ends_it(into: Path) -> None:
    """E12: a server that only says that it would go on is not asked for ever."""
    host = Host([whole(FILM, TAG, cut=CUT), rest(FILM, TAG, cut=0)])
    with pytest.raises(Transient):
        asyncio.run(host.fetch(into))
    assert (len(host.ranges), into.exists()) == (2, False)


def test_cuts_are_counted(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E12: nor is one that cuts each answer."""
    monkeypatch.setattr(fetch, "MOST_CUTS", 2)
    film = FILM * 5
    host = Host([whole(film, TAG, cut=CUT), rest(film, TAG, cut=CUT)])
    with pytest.raises(Transient):
        asyncio.run(host.fetch(into, max_bytes=len(film)))
    assert (len(host.ranges), into.exists()) == (3, False)


def test_a_longer_rest_than_allowed_is_cut(into: Path) -> None:
    """E10: the cap holds for what came before and after the cut together."""
    host = Host([whole(FILM, TAG, cut=CUT), whole(FILM * 2)])
    with pytest.raises(StepError) as caught:
        asyncio.run(host.fetch(into, max_bytes=len(FILM)))
    assert (caught.value.code, into.exists()) == ("too_large", False)

"""Each way in which an answer can be wrong has its own outcome, and only a whole answer leaves a file."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from orchestrator.domain.errors import Gone, Permanent, StepError, Transient
from orchestrator.domain.media import is_suspect
from orchestrator.domain.ports import Fetch, Fetched
from orchestrator.egress import GuardedFetch, Pace
from orchestrator.egress.answers import read_onward
from orchestrator.egress.fetch import classify
from orchestrator.http import WrongPeer
from tests.egress.server import (
    Play,
    head,
    run,
    saying,
    saying_for_ever,
    saying_then_reset,
    saying_then_silence,
    serving,
)

MINUTE = timedelta(minutes=1)
CAP = 1_000_000


async def fetch_from(
    play: Play,
    into: Path,
    *,
    max_bytes: int = CAP,
    deadline: timedelta = MINUTE,
    monotonic: Callable[[], float] = lambda: 0.0,
    pace: Pace | None = None,
) -> Fetched:
    async with serving(play) as server:
        fetch: Fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"], monotonic=monotonic, pace=pace)
        return await fetch.fetch(server.url(), into, max_bytes=max_bytes, deadline=deadline)


def refusal_of(play: Play, into: Path, **options: object) -> StepError:
    """Fetch, and return the StepError; whatever came, no file is left."""
    with pytest.raises(StepError) as caught:
        asyncio.run(fetch_from(play, into, **options))  # type: ignore[arg-type]  # the options of fetch_from
    assert not into.exists()
    return caught.value


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "spool.part"


BIG = bytes(range(256)) * 12_000


@pytest.mark.parametrize(
    "play",
    [
        saying(head(f"Content-Length: {len(BIG)}", "Content-Type: video/mp4"), BIG),
        saying(head("Content-Type: video/mp4"), BIG),
        saying(
            head("Transfer-Encoding: chunked", "Content-Type: video/mp4"), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BIG), BIG)
        ),
        saying(head("Content-Encoding: identity", "Content-Type: video/mp4"), BIG),
    ],
    ids=["length", "until close", "chunked", "identity"],
)
def test_a_whole_answer_is_spooled(play: Play, into: Path) -> None:
    """Bytes, count, SHA-256 and type agree with what was sent; the file is ours alone."""
    fetched = asyncio.run(fetch_from(play, into, max_bytes=len(BIG)))
    assert fetched == Fetched(len(BIG), hashlib.sha256(BIG).hexdigest(), "video/mp4")
    assert into.read_bytes() == BIG
    assert into.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("play", "kind", "code"),
    [
        pytest.param(saying(head("Content-Length: 9") + b"hello"), Transient, "bad_answer", id="E1 short body"),
        pytest.param(saying_then_reset(head("Content-Length: 9") + b"hello"), Transient, "bad_answer", id="E1 reset"),
        pytest.param(
            saying(head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n"),
            Transient,
            "bad_answer",
            id="E3 no terminator",
        ),
        pytest.param(saying(head("Content-Length: 0")), Permanent, "empty_body", id="E4 zero bytes"),
        pytest.param(saying(head("Content-Type: video/mp4")), Permanent, "empty_body", id="E4 nothing until close"),
        pytest.param(saying(head("Content-Length: -5") + b"hello"), Transient, "bad_answer", id="E23 negative"),
        pytest.param(saying(head("Content-Length: 5x") + b"hello"), Transient, "bad_answer", id="E23 no number"),
        pytest.param(
            saying(head("Content-Length: 5", "Content-Length: 6") + b"hello"),
            Transient,
            "bad_answer",
            id="E23 two lengths",
        ),
        pytest.param(
            saying(head("Content-Length: 5", "Content-Length: 5") + b"hello"),
            Transient,
            "bad_answer",
            id="E23 the same length twice",
        ),
        pytest.param(saying(head("Content-Length: 10737418240")), Permanent, "too_large", id="E23 10 GB"),
        pytest.param(saying(head("Content-Length: " + "9" * 40)), Transient, "bad_answer", id="E23 absurd"),
        pytest.param(saying_for_ever(head(), bytes(65536)), Permanent, "too_large", id="E10 endless"),
        pytest.param(
            saying_for_ever(head("Transfer-Encoding: chunked"), b"10000\r\n" + bytes(65536) + b"\r\n"),
            Permanent,
            "too_large",
            id="E10 endless chunks",
        ),
        pytest.param(
            saying(head("Content-Encoding: gzip") + gzip.compress(bytes(20_000_000))),
            Permanent,
            "content_encoded",
            id="E9 gzip bomb",
        ),
        pytest.param(saying(head("Content-Encoding: br") + b"x"), Permanent, "content_encoded", id="E9 brotli"),
        pytest.param(saying(b"not http at all\r\n\r\n"), Transient, "bad_answer", id="no HTTP"),
        pytest.param(saying(b""), Transient, "bad_answer", id="closed at once"),
    ],
)
def test_wrong_answers(play: Play, kind: type[StepError], code: str, into: Path) -> None:
    """E1, E3, E4, E9, E10, E23: one outcome each, and never a file."""
    error = refusal_of(play, into)
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("content_type", "is_refused"),
    [
        ("text/html; charset=utf-8", True), ("application/json", True), ("application/problem+json", True),
        ("application/xml", True), ("text/xml", True), ("image/svg+xml", True), ("application/xhtml+xml", True),
        ("TEXT/HTML", True), ("video/mp4", False), ("application/octet-stream", False), ("text/plain", False),
        ("binary/octet-stream", False), ("image/png", False),
    ],
)  # fmt: skip
def test_documents_are_refused_by_their_type(content_type: str, is_refused: bool, into: Path) -> None:
    """E5: HTML, JSON and XML are never a result; what is merely vague is left to the magic bytes."""
    play = saying(head("Content-Length: 5", f"Content-Type: {content_type}") + b"hello")
    if is_refused:
        error = refusal_of(play, into)
        assert (type(error), error.code) == (Permanent, "wrong_content_type")
        assert is_suspect(error.code)
    else:
        assert asyncio.run(fetch_from(play, into)).content_type == content_type


@pytest.mark.parametrize(
    ("status", "kind", "code", "calls_for_another_link"),
    [
        ("403 Forbidden", Gone, "http_403", False),
        ("404 Not Found", Gone, "http_404", False),
        ("410 Gone", Gone, "http_410", False),
        ("301 Moved", Permanent, "redirected", True),
        ("302 Found", Permanent, "redirected", True),
        ("307 Temporary", Permanent, "redirected", True),
        ("308 Permanent", Permanent, "redirected", True),
        ("304 Not Modified", Permanent, "redirected", True),
        ("201 Created", Permanent, "unexpected_status", True),
        ("206 Partial", Permanent, "unexpected_status", True),
        ("400 Bad", Permanent, "http_400", True),
        ("401 Unauthorized", Permanent, "http_401", True),
        ("416 Range", Permanent, "http_416", True),
        ("451 Legal", Permanent, "http_451", True),
        ("408 Timeout", Transient, "http_408", False),
        ("425 Early", Transient, "http_425", False),
        ("429 Many", Transient, "http_429", False),
        ("500 Error", Transient, "http_500", False),
        ("503 Busy", Transient, "http_503", False),
        ("599 Odd", Transient, "http_599", False),
    ],
)
def test_every_status_has_an_outcome(
    status: str, kind: type[StepError], code: str, calls_for_another_link: bool, into: Path
) -> None:
    """E7, E8, E13: dead links, redirects, answers to a question that was not asked, trouble that passes."""
    body = b"" if status.startswith("304") else b"hello"  # a 304 has none
    error = refusal_of(saying(head("Content-Length: 5", status=status) + body), into)
    assert (type(error), error.code, is_suspect(error.code)) == (kind, code, calls_for_another_link)


@pytest.mark.parametrize(
    ("target", "code", "connection_count"),
    [
        ("http://127.0.0.1:{0}/", "egress_refused", 1),
        ("http://localhost:{0}/", "egress_refused", 1),
        ("http://169.254.169.254/", "egress_refused", 1),
        ("http://[::ffff:127.0.0.1]:{0}/", "egress_refused", 1),
        ("//0x7f000001:{0}/", "egress_refused", 1),
        ("file:///etc/passwd", "egress_refused", 1),
        ("/again", "redirected", 4),
        ("", "redirected", 1),
    ],
)
def test_redirects_lead_nowhere_inside(target: str, code: str, connection_count: int, into: Path) -> None:
    """E8: not to the inside, not to a file, not in a loop: each hop is guarded like the link."""

    async def work() -> None:
        async with serving(saying(BODY)) as silent:
            location = f"Location: {target.format(silent.port)}"
            async with serving(saying(head(location, "Content-Length: 0", status="302 Found"))) as server:
                fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"])
                with pytest.raises(Permanent) as caught:
                    await fetch.fetch(server.url(), into, max_bytes=CAP, deadline=MINUTE)
                assert caught.value.code == code
                assert (server.connection_count, silent.connection_count) == (connection_count, 0)

    run(work())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_that_the_guard_lets_pass_is_followed(status: str, into: Path) -> None:
    """A store behind the provider's host may move: the bytes are what counts."""

    async def work() -> Fetched:
        async with serving(saying(BODY)) as store:
            onward = head(f"Location: {store.url()}", "Content-Length: 0", status=status)
            async with serving(saying(onward)) as server:
                fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}", f"127.0.0.1:{store.port}"])
                return await fetch.fetch(server.url(), into, max_bytes=CAP, deadline=MINUTE)

    assert asyncio.run(work()).byte_count == 5
    assert into.read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("status", "location", "onward"),
    [
        (200, "https://b.example/", None),
        (304, "https://b.example/", None),
        (302, None, None),
        (302, "https://b.example/x", "https://b.example/x"),
        (307, "../y?z=1", "https://a.example/y?z=1"),
        (308, "//b.example/y", "https://b.example/y"),
    ],
)
def test_where_a_redirect_leads(status: int, location: str | None, onward: str | None) -> None:
    """Relative to the link that named it."""
    assert read_onward(status, location, "https://a.example/v/x") == onward


def test_a_redirect_out_of_tls_is_refused() -> None:
    """What was asked for in secret is not fetched in the open."""
    with pytest.raises(Permanent) as caught:
        read_onward(302, "http://a.example/v/x", "https://a.example/v/x")
    assert caught.value.code == "redirected"


BODY = head("Content-Length: 5") + b"hello"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Retry-After: 7"], 7),
        (["Retry-After: 0"], None),
        (["Retry-After: -7"], None),
        (["Retry-After: 1e9"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: " + "9" * 30], 3600),
        (["Date: Sun, 22 Nov 2026 10:00:00 GMT", "Retry-After: Sun, 22 Nov 2026 10:01:30 GMT"], 90),
        (["Date: Sun, 22 Nov 2026 10:00:00 GMT", "Retry-After: Sun, 22 Nov 2020 10:00:00 GMT"], None),
        (["Date: Sun, 22 Nov 2026 10:00:00 GMT", "Retry-After: Sun, 22 Nov 2999 10:00:00 GMT"], 3600),
        (["Retry-After: Sun, 22 Nov 2026 10:01:30 GMT"], None),
        ([], None),
    ],
)
def test_retry_after_is_honoured_within_reason(headers: list[str], seconds: int | None, into: Path) -> None:
    """F7's list, for downloads: seconds or a date (measured against the answer's own Date), capped."""
    error = refusal_of(saying(head(*headers, "Content-Length: 0", status="503 Busy")), into)
    assert error.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def jumping_clock(step: float) -> Callable[[], float]:
    ticks = itertools.count()
    return lambda: next(ticks) * step


def test_a_drip_is_stopped_at_the_minimum_rate(into: Path) -> None:
    """E11: a byte now and then keeps every read time-out happy; the rate does not."""
    play = saying_then_silence(head("Content-Length: 900000") + b"x")
    error = refusal_of(play, into, monotonic=jumping_clock(Pace().window.total_seconds()))
    assert (type(error), error.code) == (Transient, "too_slow")


def test_a_drip_after_a_good_start_is_stopped_too(into: Path) -> None:
    """E11: every window counts, not the mean: here the second one brings a single byte."""
    is_first_judged = asyncio.Event()
    pace = Pace(min_bytes=2)
    tick = jumping_clock(pace.window.total_seconds())
    asked: list[float] = []

    def monotonic() -> float:
        asked.append(tick())
        if len(asked) == 3:  # begun, the first window judged, the second begun
            is_first_judged.set()
        return asked[-1]

    async def play(writer: asyncio.StreamWriter) -> None:
        await saying(head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n")(writer)
        await is_first_judged.wait()
        await saying_then_silence(b"1\r\nx\r\n")(writer)

    error = refusal_of(play, into, pace=pace, monotonic=monotonic)
    assert (error.code, error.message) == ("too_slow", "6 bytes so far")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", head(), head() + b"some"])
def test_silence_is_stopped_at_the_deadline(sent: bytes, into: Path) -> None:
    """E11: in the head or in the body, the total deadline ends it."""
    error = refusal_of(saying_then_silence(sent), into, deadline=timedelta(milliseconds=80))
    assert (type(error), error.code) == (Transient, "fetch_deadline")


def test_a_full_disk_is_for_later(into: Path) -> None:
    """The spool is full: nothing is wrong with the link, and nothing stays behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        error = refusal_of(saying(head(), bytes(3 << 20)), into, max_bytes=4 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (type(error), error.code) == (Transient, "spool_full")


def test_an_unusable_spool_is_for_later(tmp_path: Path) -> None:
    error = refusal_of(saying(BODY), tmp_path / "missing" / "spool.part")
    assert (type(error), error.code) == (Transient, "spool_failed")


def test_the_spool_is_never_a_link_to_elsewhere(tmp_path: Path) -> None:
    """H14: a planted symbolic link is not written through."""
    victim, planted = tmp_path / "victim", tmp_path / "spool.part"
    victim.write_text("precious")
    planted.symlink_to(victim)
    with pytest.raises(Transient):
        asyncio.run(fetch_from(saying(BODY), planted))
    assert victim.read_text() == "precious"


def test_a_cancelled_fetch_leaves_no_file(into: Path) -> None:
    """A lease that was lost cancels the fetch in the middle of the body; the spool is clean at once."""

    async def work() -> None:
        is_flowing = asyncio.Event()

        async def play(writer: asyncio.StreamWriter) -> None:
            await saying(head(), bytes(16 << 20))(writer)  # more than the sockets hold: the client is reading
            is_flowing.set()
            await saying_then_silence()(writer)

        async with serving(play) as server:
            fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"])
            task = asyncio.ensure_future(fetch.fetch(server.url(), into, max_bytes=32 << 20, deadline=MINUTE))
            await is_flowing.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())
    assert not into.exists()


def test_memory_does_not_grow_with_the_file(into: Path) -> None:
    """E20: 48 MB pass through a few."""
    tracemalloc.start()
    try:
        fetched = asyncio.run(fetch_from(saying(head(), *([bytes(1 << 20)] * 48)), into, max_bytes=64 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fetched.byte_count == 48 << 20
    assert peak < 16 << 20


def _exception_classes(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from _exception_classes(child)


TLS = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)
"""Made by a failed handshake only, with its reason: test_tls.py."""


@pytest.mark.parametrize(
    "error", sorted({kind for kind in _exception_classes(aiohttp.ClientError) if not issubclass(kind, TLS)}, key=str)
)
def test_every_exception_of_the_client_has_an_outcome(error: type[aiohttp.ClientError]) -> None:
    """Design section 10: none leaves the adapter; nothing was paid here, so all are Transient but a link that is none
    and a connection that leads elsewhere.
    """
    said = classify(error.__new__(error), host="files.example")
    assert type(said) is (Permanent if issubclass(error, aiohttp.InvalidURL | WrongPeer) else Transient)
    assert error.__name__ not in said.message, "a name of the library's is no reason"
    assert isinstance(said, Permanent) or said.message.startswith("files.example: ")


def test_nobody_listening_is_for_later(into: Path) -> None:
    """A8's list for downloads: a closed port."""

    async def work() -> None:
        async with serving(saying(b"")) as server:
            url, listed = server.url(), [f"127.0.0.1:{server.port}"]
        with pytest.raises(Transient) as caught:
            await GuardedFetch(allow=listed).fetch(url, into, max_bytes=CAP, deadline=MINUTE)
        assert caught.value.code == "connect_failed"
        assert caught.value.message == "127.0.0.1: no connection: connection refused"

    run(work())


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (saying(), "the connection was closed before an answer came"),
        (saying(b"no HTTP\r\n\r\n"), "the answer is not proper HTTP"),
        (saying(head("Content-Length: 9"), b"short"), "the connection ended in the middle of the file"),
    ],
)
def test_a_failed_download_says_what_happened_and_with_which_host(into: Path, play: Play, words: str) -> None:
    """A person reads it in `jobs why`: the host that failed is the one that a redirect led to."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def work() -> None:
        async with serving(play) as second:
            onward = f"http://cdn.example:{second.port}/c4n4ry"
            async with serving(saying(head(f"Location: {onward}", "Content-Length: 0", status="302 Found"))) as first:
                fetch = GuardedFetch(allow=[f"127.0.0.1:{first.port}", f"cdn.example:{second.port}"], resolve=resolve)
                with pytest.raises(Transient) as caught:
                    await fetch.fetch(first.url(), into, max_bytes=CAP, deadline=MINUTE)
        assert caught.value.message == f"cdn.example: {words}"

    run(work())

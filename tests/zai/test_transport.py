"""The moment and the outcome of the paid call on the transport that ships: stock httpx with our own client, real sockets,
TLS and a proxy between (design section 7; faults A8-A12, A18). test_moment.py has the plain connections.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.errors import StepError, Transient, Uncertain
from orchestrator.domain.outcomes import CallEvidence, Moment, NotSent, TaskAccepted, Unknown
from orchestrator.http import paid_client
from orchestrator.services.lanes.outcome import outcome_of_call_error
from tests.zai.certificates import Certificate, make_certificate
from tests.zai.loopback import (
    NOW,
    TASK_ANSWER,
    Act,
    FirstByte,
    Peer,
    Talk,
    answer,
    hang,
    make_provider,
    peer,
    raw,
    read_and_hang,
    video_request,
)
from tests.zai.test_submit_answers import MALFORMED

ENOUGH = timedelta(seconds=20)
SHORT = timedelta(seconds=0.5)
PROVIDER = "https://provider.invalid/api/paas/v4"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HALF = HEAD + b"Content-Length: 100\r\n\r\n" + TASK_ANSWER[:40]
PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass(frozen=True)
class Called:
    """How a paid call ended: its error or its answer, and how often the first byte was announced."""

    error: StepError | None
    evidence: CallEvidence | None
    first_bytes: int


async def call_once(url: str, *, client: httpx.AsyncClient, deadline: timedelta = ENOUGH, prompt: str = "x") -> Called:
    """Make one paid call with this client."""
    first_byte = FirstByte()
    provider = make_provider(url, paid=client, deadline=deadline)
    try:
        evidence = await provider.call(video_request(prompt=prompt), before_first_byte=first_byte)
    except StepError as error:
        return Called(error, error.evidence, first_byte.count)
    finally:
        await provider.close()
    return Called(None, evidence, first_byte.count)


def assert_not_sent(called: Called, *codes: str) -> None:
    """Nothing left, the job is queued again, and nobody is to doubt it."""
    assert isinstance(called.error, Transient)
    assert (called.evidence, called.first_bytes) == (CallEvidence(Moment.NOT_SENT), 0)
    assert type(outcome_of_call_error(called.error)) is NotSent
    assert called.error.code in codes


def assert_sent(called: Called, code: str) -> None:
    """It left, nothing that can be trusted came back: held, never sent again."""
    assert isinstance(called.error, Uncertain)
    assert called.evidence is not None
    assert (called.evidence.moment, called.evidence.sent_at, called.first_bytes) == (Moment.SENT, NOW, 1)
    assert type(outcome_of_call_error(called.error)) is Unknown
    assert called.error.code == code


@asynccontextmanager
async def tls_peer(act: Act, certificate: Certificate) -> AsyncIterator[Peer]:
    """A peer behind TLS."""
    one = Peer(act)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=certificate.server_context())
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        await one.stop()
        server.close()
        await server.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def call_tls(act: Act, certificate: Certificate, *, trusted: Path, deadline: timedelta = ENOUGH) -> tuple[Called, int]:
    """Make the paid call over TLS; return how it ended and the number of connections."""

    async def run() -> tuple[Called, int]:
        async with tls_peer(act, certificate) as one:
            url = one.url.replace("http:", "https:")
            called = await call_once(url, client=paid_client(ca_bundle=trusted), deadline=deadline)
        return called, one.connections

    return asyncio.run(run())


# -- names and certificates ----------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A8: DNS failure, on the real transport; only the system's resolver is told what to say."""

    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert_not_sent(asyncio.run(call_once(PROVIDER, client=paid_client())), "name_not_found")


def test_a_good_certificate_is_the_way_through(certificate: Certificate) -> None:
    """What the cases below differ from: the same server, trusted, takes the job."""
    called, connections = call_tls(answer(TASK_ANSWER), certificate, trusted=certificate.path)
    assert called.error is None
    assert called.evidence == CallEvidence(Moment.ANSWERED, NOW, NOW, 200, TASK_ANSWER.decode())
    assert (called.first_bytes, connections) == (1, 1)


@pytest.mark.parametrize("fault", ["expired", "another host's", "unknown authority"])
def test_a_certificate_that_is_not_accepted_was_not_sent(certificate: Certificate, tmp_path: Path, fault: str) -> None:
    """A8: TLS failure; there is no way around it, and the key never leaves."""
    shown = {
        "expired": make_certificate(tmp_path, until_year=2021),
        "another host's": make_certificate(tmp_path, address=IPv4Address("127.0.0.2")),
        "unknown authority": make_certificate(tmp_path),
    }[fault]
    trusted = certificate.path if fault == "unknown authority" else shown.path
    seen: list[bytes] = []

    async def look(talk: Talk) -> None:
        seen.append(await talk.reader.read())

    called, _ = call_tls(look, shown, trusted=trusted)
    assert_not_sent(called, "tls_failed")
    assert seen in ([], [b""])


# -- the handshake -------------------------------------------------------------------------------------------------


async def reset_the_handshake(talk: Talk) -> None:
    await talk.reader.read(5)
    talk.reset()


async def close_the_handshake(talk: Talk) -> None:
    await talk.reader.read(5)


async def answer_the_handshake_in_plain(talk: Talk) -> None:
    await talk.reader.read(5)
    await talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("act", [reset_the_handshake, close_the_handshake, answer_the_handshake_in_plain])
def test_a_handshake_that_breaks_was_not_sent(act: Act) -> None:
    """A8: RST, FIN and plain HTTP in place of the TLS handshake: before our request either way, and tried once (A18)."""

    async def run() -> tuple[Called, int]:
        async with peer(act) as one:
            return await call_once(one.url.replace("http:", "https:"), client=paid_client()), one.connections

    called, connections = asyncio.run(run())
    assert_not_sent(called, "tls_failed", "connect_failed")
    assert connections == 1


def test_a_silent_handshake_leaves_no_connection_behind() -> None:
    """A8: it ends by a time-out of its own: cancelled instead, the transport would forget its socket open."""

    async def run() -> Called:
        hung_up = asyncio.Event()

        async def wait_for_the_end(talk: Talk) -> None:
            await talk.reader.read()
            hung_up.set()

        async with peer(wait_for_the_end) as one:
            client = paid_client()
            called = await call_once(one.url.replace("http:", "https:"), client=client, deadline=SHORT)
            await asyncio.wait_for(hung_up.wait(), ENOUGH.total_seconds())
        return called

    assert_not_sent(asyncio.run(run()), "connect_timeout")


# -- TLS, after the request ----------------------------------------------------------------------------------------


async def reset_after_the_request(talk: Talk) -> None:
    await talk.read_request()
    talk.reset()


@pytest.mark.parametrize("act", [reset_after_the_request, raw(b""), raw(b"HTTP/1.1 20"), raw(HALF)])
def test_what_breaks_behind_tls_is_uncertain(certificate: Certificate, act: Act) -> None:
    """A9: RST, FIN without an answer, half a head, half a body, inside TLS; and no second connection (A18)."""
    called, connections = call_tls(act, certificate, trusted=certificate.path)
    assert_sent(called, "answer_lost")
    assert connections == 1


def test_running_out_of_time_behind_tls_is_uncertain(certificate: Certificate) -> None:
    """A10: the provider takes it and says nothing."""
    called, _ = call_tls(read_and_hang, certificate, trusted=certificate.path, deadline=SHORT)
    assert_sent(called, "answer_timeout")


# -- a proxy between -----------------------------------------------------------------------------------------------


def call_through(
    act: Act, *, deadline: timedelta = ENOUGH, ca_bundle: Path | None = None, url: str = PROVIDER
) -> Called:
    """Make the paid call through a proxy that does `act`."""

    async def run() -> Called:
        async with peer(act) as proxy:
            client = paid_client(proxy=f"http://127.0.0.1:{proxy.port}", ca_bundle=ca_bundle)
            return await call_once(url, client=client, deadline=deadline)

    return asyncio.run(run())


def page(status: int) -> bytes:
    """An HTML page as gateways and proxies give it."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n"
    return head.encode() + PAGE


@pytest.mark.parametrize("status", [302, 400, 403, 407, 429, 500, 502, 503, 504])
def test_a_proxys_page_in_place_of_a_tunnel_was_not_sent(status: int) -> None:
    """A8: the proxy's 502 page says nothing of our request: it has not been made."""
    assert_not_sent(call_through(raw(page(status))), "proxy_failed")


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", b"not HTTP\r\n\r\n", b"\x16\x03\x01"])
def test_a_tunnel_that_breaks_was_not_sent(data: bytes) -> None:
    """A8: FIN, half an answer and no HTTP in answer to the CONNECT."""
    assert_not_sent(call_through(raw(data)), "connect_failed", "proxy_failed")


@pytest.mark.parametrize("act", [hang, read_and_hang])
def test_a_silent_proxy_runs_into_the_deadline_unsent(act: Act) -> None:
    """A8: a time-out in the CONNECT is a time-out before the request."""
    assert_not_sent(call_through(act, deadline=SHORT), "connect_timeout")


async def open_the_tunnel_and_reset(talk: Talk) -> None:
    await talk.read_request()
    await talk.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await talk.reader.read(5)
    talk.reset()


async def open_the_tunnel_and_hang(talk: Talk) -> None:
    await talk.read_request()
    await talk.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.Event().wait()


def test_a_handshake_that_breaks_in_the_tunnel_was_not_sent() -> None:
    """A8: the CONNECT was answered well and the provider behind it cuts the handshake."""
    assert_not_sent(call_through(open_the_tunnel_and_reset), "tls_failed", "connect_failed")


def test_a_silent_handshake_in_the_tunnel_runs_into_the_deadline_unsent() -> None:
    """A8: the same, and nothing comes."""
    assert_not_sent(call_through(open_the_tunnel_and_hang, deadline=SHORT), "connect_timeout")


def tunnel(certificate: Certificate, then: Act) -> Act:
    """A proxy that opens the tunnel and plays the provider behind it."""

    async def act(talk: Talk) -> None:
        await talk.read_request()
        await talk.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await talk.writer.start_tls(certificate.server_context())
        await then(talk)

    return act


@pytest.mark.parametrize(
    ("then", "deadline", "code"),
    [
        (raw(b""), ENOUGH, "answer_lost"),
        (reset_after_the_request, ENOUGH, "answer_lost"),
        (raw(HALF), ENOUGH, "answer_lost"),
        (read_and_hang, SHORT, "answer_timeout"),
    ],
    ids=["FIN", "RST", "half", "silence"],
)
def test_what_breaks_behind_a_tunnel_is_uncertain(
    certificate: Certificate, then: Act, deadline: timedelta, code: str
) -> None:
    """A9, A10: one CONNECT and one POST have gone out; only the second counts, and it counts once."""
    act = tunnel(certificate, then)
    called = call_through(act, ca_bundle=certificate.path, deadline=deadline, url="https://127.0.0.1:1/api/paas/v4")
    assert_sent(called, code)


def test_an_answer_behind_a_tunnel_is_an_answer(certificate: Certificate) -> None:
    """What the cases above differ from."""
    act = tunnel(certificate, answer(TASK_ANSWER))
    called = call_through(act, ca_bundle=certificate.path, url="https://127.0.0.1:1/api/paas/v4")
    assert called.error is None
    assert called.evidence is not None
    assert (called.evidence.moment, called.first_bytes) == (Moment.ANSWERED, 1)


# -- answers that are none -----------------------------------------------------------------------------------------


async def reset_on_accept(talk: Talk) -> None:
    talk.reset()


@pytest.mark.parametrize(
    "act",
    [
        reset_on_accept,
        raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
        raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"HTTP/2 200\r\n\r\n"),
        raw(b"HTTP/1.1 999999 X\r\n\r\n"),
    ],
    ids=["RST at once", "100 alone", "103 alone", "101", "endless head", "bad chunk", "HTTP/2", "bad status"],
)
def test_half_a_conversation_is_uncertain(act: Act) -> None:
    """A9: whatever the other side did instead of answering, a byte of ours may have arrived."""

    async def run() -> tuple[Called, int]:
        async with peer(act) as one:
            return await call_once(one.url, client=paid_client()), one.connections

    called, connections = asyncio.run(run())
    assert called.first_bytes == 1
    assert connections == 1
    if called.error is None:  # 101 is a status like any other: an answer that explains nothing
        assert called.evidence is not None
        with pytest.raises(Uncertain):
            make_provider("http://127.0.0.1:9/").interpret("video", called.evidence)
    else:
        assert_sent(called, "answer_lost")


async def drip(talk: Talk) -> None:
    """Never stand still for as long as a time-out of one read would notice."""
    await talk.read_request()
    await talk.write(HEAD + b"Content-Length: 1000000000\r\n\r\n")
    while True:
        await talk.write(b" ")


async def go_on_continuing(talk: Talk) -> None:
    await talk.read_request()
    while True:
        await talk.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("act", [drip, go_on_continuing])
def test_an_answer_that_never_stands_still_runs_into_the_deadline(act: Act) -> None:
    """A10: no single read waits long; the total deadline ends it all the same."""

    async def run() -> Called:
        async with peer(act) as one:
            return await call_once(one.url, client=paid_client(), deadline=SHORT)

    assert_sent(asyncio.run(run()), "answer_timeout")


def read(act: Act, *, kind: str = "video") -> tuple[CallEvidence, StepError | None]:
    """Make the paid call and read its answer; return the evidence and what reading it raised."""

    async def run() -> Called:
        async with peer(act) as one:
            return await call_once(one.url, client=paid_client())

    called = asyncio.run(run())
    assert called.evidence is not None
    assert called.error is None
    try:
        make_provider("http://127.0.0.1:9/").interpret(kind, called.evidence)
    except StepError as error:
        return called.evidence, error
    return called.evidence, None


@pytest.mark.parametrize("status", [404, 408, 413, 500, 502, 503, 504, 520, 599])
def test_a_gateways_page_is_an_answer_that_explains_nothing(status: int) -> None:
    """A11: an HTML page of something on the way: answered, unknown, held with the page as evidence."""
    evidence, error = read(raw(page(status)))
    assert (evidence.moment, evidence.http_status, evidence.body) == (Moment.ANSWERED, status, PAGE.decode())
    assert error is not None
    assert outcome_of_call_error(error) == Unknown(f"http_{status}", error.message)


def encoded(body: object) -> bytes:
    """A body of the table as bytes; lone surrogates as JSON writes them."""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


GOOD = json.dumps({"id": "2026022823293200aabbccddeeff0011", "task_status": "PROCESSING"})
BYTES = [
    b"\x00" * 64,
    b"\xff\xfe\xfd",
    GOOD.encode("utf-16"),
    GOOD.encode("utf-32-le"),
    GOOD.encode().replace(b"2026", b"\xff\xff"),
    GOOD.encode() + b"\x00",
    b"event: x\ndata: " + GOOD.encode() + b"\n\n",
    b"%PDF-1.7",
    b"\x89PNG\r\n\x1a\n",
    GOOD.encode() * 2,
    b"while(1);" + GOOD.encode(),
]


def test_there_are_more_than_thirty_malformed_bodies() -> None:
    """A12 asks for 30 variants."""
    assert len(MALFORMED) + len(BYTES) > 30


@pytest.mark.parametrize("body", [*map(encoded, MALFORMED), *BYTES], ids=range(len(MALFORMED) + len(BYTES)))
def test_a_malformed_200_is_held_with_its_body(body: bytes) -> None:
    """A12, over the wire: answered, never a success and never a refusal, the whole body kept."""
    evidence, error = read(answer(body))
    assert (evidence.moment, evidence.http_status) == (Moment.ANSWERED, 200)
    assert evidence.body == body.decode("utf-8", errors="replace").replace("\0", "\ufffd")
    assert error is not None
    assert isinstance(outcome_of_call_error(error), Unknown)


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK_ANSWER), TASK_ANSWER),
        b"HTTP/1.0 200 OK\r\n\r\n" + TASK_ANSWER,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(TASK_ANSWER), TASK_ANSWER),
        HEAD.replace(b"application/json", b"text/html") + b"Connection: close\r\n\r\n" + TASK_ANSWER,
    ],
    ids=["chunked", "HTTP/1.0", "after 100", "called HTML"],
)
def test_an_odd_frame_around_a_plain_answer_is_believed(data: bytes) -> None:
    """What is plainly a task id is never thrown away: it has been paid for."""
    evidence, error = read(raw(data))
    assert error is None
    accepted = make_provider("http://127.0.0.1:9/").interpret("video", evidence)
    assert accepted == TaskAccepted("2026112220000000aabbccddeeff0011")

"""Whether a byte of the paid call has left is known exactly, whatever goes wrong and whatever exception says it
(design section 7; faults A8, A9, A10, A18).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest

from orchestrator.domain.errors import LeaseTooOld, StepError, Transient, Uncertain
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.http import paid_client
from tests.zai.loopback import (
    KEY,
    NOW,
    REQUEST_ID,
    TASK_ANSWER,
    Act,
    FirstByte,
    Talk,
    answer,
    call,
    hang,
    make_provider,
    peer,
    raw,
    read_and_hang,
    video_request,
)

SHORT = timedelta(seconds=0.3)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def failure_of(act: Act, *, deadline: timedelta = timedelta(seconds=20)) -> tuple[StepError, CallEvidence, int]:
    """Make the paid call to a peer that spoils it; return the error, its evidence and the number of connections."""

    async def run() -> tuple[StepError, CallEvidence, int]:
        async with peer(act) as one:
            with pytest.raises(StepError) as caught:
                await call(make_provider(one.url, deadline=deadline))
        assert caught.value.evidence is not None
        return caught.value, caught.value.evidence, one.connections

    return asyncio.run(run())


def not_sent_to(url: str, *, deadline: timedelta = timedelta(seconds=20), paid: httpx.AsyncClient | None = None) -> str:
    """Make the paid call where nothing can be sent; return the error's code."""
    first_byte = FirstByte()

    async def run() -> Transient:
        provider = make_provider(url, deadline=deadline, paid=paid)
        with pytest.raises(Transient) as caught:
            await provider.call(video_request(), before_first_byte=first_byte)
        await provider.close()
        return caught.value

    error = asyncio.run(run())
    assert error.evidence == CallEvidence(Moment.NOT_SENT)
    assert first_byte.count == 0
    return error.code


# -- before the first byte -----------------------------------------------------------------------------------------


def test_a_refused_connection_was_not_sent() -> None:
    """A8: a closed port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not_sent_to(f"http://127.0.0.1:{port}/api") == "connect_failed"


class NoSuchName(httpx.AsyncHTTPTransport):
    """The stock transport's error for a name that does not resolve, without asking a name server."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno -2] Name or service not known") from socket.gaierror(-2, "unknown")


def test_an_unknown_name_was_not_sent() -> None:
    """A8: DNS failure."""
    assert not_sent_to("http://provider.invalid/", paid=httpx.AsyncClient(transport=NoSuchName())) == "name_not_found"


def test_tls_to_a_plain_port_was_not_sent() -> None:
    """A8, A18: the TLS handshake fails, and nothing of ours tries it again."""

    async def plain(talk: Talk) -> None:
        await talk.reader.read(5)
        await talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def run() -> tuple[Transient, int]:
        async with peer(plain) as one:
            with pytest.raises(Transient) as caught:
                await call(make_provider(one.url.replace("http:", "https:")))
        return caught.value, one.connections

    error, connections = asyncio.run(run())
    assert connections == 1
    assert error.evidence == CallEvidence(Moment.NOT_SENT)
    assert error.code in ("tls_failed", "connect_failed")


def test_a_silent_tls_handshake_runs_into_the_deadline_unsent() -> None:
    """A8: a time-out while connecting."""

    async def run() -> Transient:
        async with peer(hang) as one:
            with pytest.raises(Transient) as caught:
                await call(make_provider(one.url.replace("http:", "https:"), deadline=SHORT))
        return caught.value

    error = asyncio.run(run())
    assert (error.code, error.evidence) == ("connect_timeout", CallEvidence(Moment.NOT_SENT))


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose accept queue is full: connecting hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


def test_a_full_backlog_runs_into_the_deadline_unsent() -> None:
    """A8: nobody accepts."""
    with full_backlog() as port:
        assert not_sent_to(f"http://127.0.0.1:{port}/api", deadline=SHORT) == "connect_timeout"


def test_a_lease_that_is_too_old_stops_the_call_before_its_first_byte() -> None:
    """The zombie check's refusal comes out as it is, and the peer has read nothing."""
    read: list[bytes] = []

    async def look(talk: Talk) -> None:
        read.append(await talk.reader.read())

    async def run() -> None:
        async with peer(look) as one:
            provider = make_provider(one.url)
            with pytest.raises(LeaseTooOld):
                await provider.call(video_request(), before_first_byte=FirstByte(LeaseTooOld("too old")))
            await provider.close()

    asyncio.run(run())
    assert read in ([], [b""])


# -- a proxy -------------------------------------------------------------------------------------------------------


def proxied(act: Act, base_url: str) -> tuple[StepError, int]:
    """Make the paid call to `base_url` through a proxy that does `act`."""
    first_byte = FirstByte()

    async def run() -> StepError:
        async with peer(act) as one:
            client = paid_client(proxy=f"http://127.0.0.1:{one.port}")
            provider = make_provider(base_url, paid=client)
            with pytest.raises(StepError) as caught:
                await provider.call(video_request(), before_first_byte=first_byte)
            await provider.close()
        return caught.value

    return asyncio.run(run()), first_byte.count


def test_a_proxys_connect_is_not_the_request() -> None:
    """The CONNECT was sent and refused; of our request nothing was."""

    async def refuse(talk: Talk) -> None:
        await talk.read_request()
        await talk.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    error, first_bytes = proxied(refuse, "https://provider.invalid/api")
    assert (type(error), error.code, first_bytes) == (Transient, "proxy_failed", 0)
    assert error.evidence == CallEvidence(Moment.NOT_SENT)


def test_a_connection_cut_during_the_proxys_connect_was_not_sent() -> None:
    """As above, with a reset in place of a refusal."""

    async def cut(talk: Talk) -> None:
        await talk.read_request()
        talk.reset()

    error, first_bytes = proxied(cut, "https://provider.invalid/api")
    assert isinstance(error, Transient)
    assert (error.evidence, first_bytes) == (CallEvidence(Moment.NOT_SENT), 0)


def test_a_plain_request_through_a_proxy_was_sent() -> None:
    """Without TLS the proxy gets the POST itself."""
    error, first_bytes = proxied(raw(b""), "http://provider.invalid/api")
    assert isinstance(error, Uncertain)
    assert first_bytes == 1


# -- after the first byte ------------------------------------------------------------------------------------------


async def reset_after_the_request(talk: Talk) -> None:
    await talk.read_request()
    talk.reset()


async def reset_in_the_middle_of_the_request(talk: Talk) -> None:
    await talk.reader.readuntil(b"\r\n")
    talk.reset()


async def close_on_accept(talk: Talk) -> None:
    """Depending on who is faster, the client's write or its read fails: sent either way."""


@pytest.mark.parametrize(
    "act",
    [
        reset_after_the_request,
        reset_in_the_middle_of_the_request,
        close_on_accept,
        raw(b""),
        raw(b"HTTP/1.1 200"),
        raw(HEAD + b"Content-Length: 100\r\n\r\n" + TASK_ANSWER[:40]),
        raw(HEAD + b"Content-Length: 100\r\n\r\n" + TASK_ANSWER[:40], then_reset=True),
        raw(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n'),
        raw(b"not HTTP at all\r\n\r\n"),
        raw(b"\x00\xff\xfe" * 50),
        raw(HEAD + b"Content-Length: -1\r\n\r\n"),
        raw(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345"),
        raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnotgzip"),
    ],
)
def test_whatever_breaks_after_the_first_byte_is_uncertain(act: Act) -> None:
    """A9: RST, FIN, half an answer, no HTTP, an encoding that is a lie; and nobody connects a second time (A18)."""
    error, evidence, connections = failure_of(act)
    assert isinstance(error, Uncertain)
    assert (error.code, evidence.moment, evidence.sent_at) == ("answer_lost", Moment.SENT, NOW)
    assert connections == 1


async def answer_half_and_hang(talk: Talk) -> None:
    await talk.read_request()
    await talk.write(HEAD + b"Content-Length: 100\r\n\r\n" + TASK_ANSWER[:40])
    await asyncio.Event().wait()


@pytest.mark.parametrize("act", [read_and_hang, answer_half_and_hang])
def test_running_out_of_time_after_the_first_byte_is_uncertain(act: Act) -> None:
    """A10: the provider takes it and says nothing, or half of something; what had come is kept."""
    error, evidence, connections = failure_of(act, deadline=SHORT)
    assert (type(error), error.code, evidence.moment) == (Uncertain, "answer_timeout", Moment.SENT)
    assert evidence.body in (None, TASK_ANSWER[:40].decode())
    assert connections == 1


def test_an_answer_that_came_while_the_process_stood_still_is_read() -> None:
    """A7: a process that wakes behind its deadline finds the task's id in the socket, and that was paid for."""

    async def answer_and_sleep(talk: Talk) -> None:
        await answer(TASK_ANSWER)(talk)
        loop = asyncio.get_running_loop()
        awake = loop.time
        setattr(loop, "time", lambda: awake() + 3600)  # noqa: B010 - a method, which types forbid

    async def run() -> CallEvidence:
        async with peer(answer_and_sleep) as one:
            return await call(make_provider(one.url))

    evidence = asyncio.run(run())
    assert (evidence.moment, evidence.body) == (Moment.ANSWERED, TASK_ANSWER.decode())


def test_running_out_of_time_while_sending_is_uncertain() -> None:
    """A peer that reads nothing of a large body: the first bytes have left all the same."""

    async def run() -> StepError:
        async with peer(hang) as one:
            with pytest.raises(Uncertain) as caught:
                await call(make_provider(one.url, deadline=SHORT), video_request(prompt="x" * 20_000_000))
        return caught.value

    error = asyncio.run(run())
    assert error.evidence is not None
    assert (error.code, error.evidence.moment) == ("answer_timeout", Moment.SENT)


def test_a_cancelled_call_lets_the_cancellation_through_and_the_caller_knows_the_moment() -> None:
    """A second Ctrl-C: the callback that returned says that bytes had left."""
    first_byte = FirstByte()

    async def run() -> None:
        arrived = asyncio.Event()

        async def take(talk: Talk) -> None:
            await talk.read_request()
            arrived.set()
            await asyncio.Event().wait()

        async with peer(take) as one:
            provider = make_provider(one.url)
            task = asyncio.create_task(provider.call(video_request(), before_first_byte=first_byte))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await provider.close()

    asyncio.run(run())
    assert first_byte.count == 1


# -- answered ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 404, 429, 434, 500, 502, 529])
def test_an_answer_of_any_status_is_evidence(status: int) -> None:
    """A redirect too: it is not followed, and 429 or 5xx are not tried again (A18)."""
    act = answer(TASK_ANSWER, status=status, headers="Location: /elsewhere\r\nRetry-After: 0\r\n")

    async def run() -> tuple[CallEvidence, list[bytes]]:
        async with peer(act) as one:
            evidence = await call(make_provider(one.url))
        return evidence, one.requests

    evidence, requests = asyncio.run(run())
    assert evidence == CallEvidence(Moment.ANSWERED, NOW, NOW, status, TASK_ANSWER.decode())
    assert len(requests) == 1


def test_the_request_carries_our_id_and_the_documented_headers() -> None:
    """zai-api.md 1.3-1.5: bearer key, English messages, the submission's id as request_id."""

    async def run() -> bytes:
        async with peer(answer(TASK_ANSWER)) as one:
            await call(make_provider(one.url + "/"), video_request(fps=None, request_id="the user's"))
        return one.requests[0]

    head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /api/paas/v4/videos/generations http/1.1"
    assert f"authorization: bearer {KEY}" in lines
    assert "accept-language: en-us,en" in lines
    assert body == (b'{"model":"cogvideox-3","prompt":"a red kite","request_id":"' + REQUEST_ID.encode() + b'"}')


def test_an_answer_that_cannot_be_decoded_is_kept_by_replacement() -> None:
    """Neither odd bytes nor NUL, which no database column takes, lose the evidence."""

    async def run() -> CallEvidence:
        async with peer(answer(b'{"id":"\xff\x00"}')) as one:
            return await call(make_provider(one.url))

    assert asyncio.run(run()).body == '{"id":"\ufffd\ufffd"}'


def test_an_endless_answer_is_cut_at_the_cap() -> None:
    """8 MiB is a thousand times what an answer has."""
    size = 9 * 1024 * 1024

    async def run() -> CallEvidence:
        async with peer(answer(b" " * size)) as one:
            return await call(make_provider(one.url))

    evidence = asyncio.run(run())
    assert evidence.moment is Moment.ANSWERED
    assert len(evidence.body or "") == 8 * 1024 * 1024

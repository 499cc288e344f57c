"""What became of an attempt stands in Sent, whatever the receiver does; bounded in time and in bytes."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from orchestrator.domain.deliveries import Delivered, Retry, decide_delivery, is_delivered
from orchestrator.domain.errors import RequestError
from orchestrator.egress import GuardedPost
from orchestrator.http import POST_BUFFER_BYTES
from orchestrator.webhooks import WebhookSender
from orchestrator.webhooks.sender import DEADLINE, KEPT_BYTES, MAX_ANSWER_BYTES
from tests.egress.authority import Authority
from tests.egress.server import (
    Play,
    RawServer,
    head,
    run,
    saying,
    saying_for_ever,
    saying_then_reset,
    saying_then_silence,
    serving,
)
from tests.webhooks.attempts import BODY, OK, SECRET, attempt, sender_to, sending

SOON = timedelta(seconds=0.2)


def lower_headers(request: bytes) -> dict[str, str]:
    lines = request.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}


def test_the_stock_package_verifies_what_arrives() -> None:
    """F15: the bytes on the wire are those that were signed, U+2028, emoji and </script> included."""

    async def work() -> None:
        async with serving(saying(OK)) as server:
            sent = await attempt(server)
            assert (sent.status, sent.code, sent.answer_head) == (200, None, "ok")
            assert sent.duration > timedelta(0)
            assert server.bodies == [BODY]
            headers = lower_headers(server.requests[0])
            Webhook(SECRET).verify(server.bodies[0], headers)
            assert server.requests[0].startswith(b"POST /hook HTTP/1.1\r\n")
            assert headers["content-type"] == "application/json"
            assert headers["user-agent"] == "media-orchestrator/1.2.3"
            assert headers["accept-encoding"] == "identity"

    run(work())


def test_every_attempt_is_signed_anew_with_the_same_id() -> None:
    async def work() -> None:
        async with serving(saying(OK)) as server, sender_to(server) as sender:
            for second in range(2):
                at = datetime.now(UTC) + timedelta(seconds=second)
                await sender.send(sending(server.url(), at=at))
            first, second_ = (lower_headers(request) for request in server.requests)
            assert first["webhook-id"] == second_["webhook-id"]
            assert first["webhook-timestamp"] != second_["webhook-timestamp"]
            assert first["webhook-signature"] != second_["webhook-signature"]
            Webhook(SECRET).verify(server.bodies[1], second_)

    run(work())


@pytest.mark.parametrize(
    "play",
    [
        saying_then_silence(),
        saying_then_silence(b"HTTP/1.1 200 OK\r\nX-Slow: "),
        saying_then_silence(head("Content-Length: 9"), b"1"),
    ],
    ids=["no answer", "headers", "body"],
)
def test_a_slow_receiver_is_cut_at_the_total_deadline(play: Play) -> None:
    """F3: silence before, in the middle of, and after the headers; the place is free again and the attempt failed."""

    async def work() -> None:
        async with serving(play) as server:
            sent = await attempt(server, deadline=SOON)
            assert sent.code == "webhook_deadline"
            assert not is_delivered(sent)

    run(work())


@pytest.mark.parametrize(
    ("start", "piece"), [(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"), (head("Content-Length: 60000"), b"a")]
)
def test_a_drip_does_not_outlive_the_deadline(start: bytes, piece: bytes) -> None:
    """F3: a byte now and then would satisfy a time-out of each read for ever."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        over = asyncio.Event()

        def tick() -> None:
            if writer.is_closing():
                over.set()
            else:
                writer.write(piece)
                asyncio.get_running_loop().call_later(0.01, tick)

        tick()
        await over.wait()

    async def work() -> None:
        async with serving(drip) as server:
            assert (await attempt(server, deadline=SOON)).code == "webhook_deadline"

    run(work())


def test_the_deadline_is_that_of_the_surfaces() -> None:
    assert timedelta(seconds=15) == DEADLINE


@pytest.mark.parametrize(
    "start", [head(), head("Content-Length: 100000000"), head("Transfer-Encoding: chunked") + b"5f5e100\r\n"]
)
def test_a_huge_answer_is_read_to_64_kb(start: bytes) -> None:
    """F4: the status counts; the rest is left in the receiver's hands, not drained."""
    written = 0

    async def count(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(start)
        while not writer.is_closing():
            writer.write(b"<a>" * 1000)
            await writer.drain()
            written += 3000

    async def work() -> None:
        async with serving(count) as server:
            sent = await attempt(server)
            assert (sent.status, sent.code) == (200, None)
            assert len(sent.answer_head) == KEPT_BYTES

    run(work())
    assert written < 20_000_000


def test_what_is_read_is_handed_on_to_the_cap_and_no_further() -> None:
    """F4: exactly 64 KB; the connection's own buffer is smaller than that."""

    async def work() -> None:
        async with serving(saying_for_ever(head(), b"a" * 70_001)) as server:
            post = GuardedPost(allow=[f"127.0.0.1:{server.port}"])
            posted = await post.post(server.url(), headers={}, body=b"", max_bytes=MAX_ANSWER_BYTES, deadline=DEADLINE)
            assert (len(posted.body), posted.trouble) == (MAX_ANSWER_BYTES, None)
            await post.close()

    run(work())
    assert POST_BUFFER_BYTES * 2 < MAX_ANSWER_BYTES


def test_a_gzip_bomb_stays_packed() -> None:
    """F4: 200 MB in 200 KB; nothing was asked to be encoded and nothing is decoded."""
    packer, block = zlib.compressobj(wbits=zlib.MAX_WBITS | 16), bytes(1_000_000)
    bomb = b"".join([*(packer.compress(block) for _ in range(200)), packer.flush()])
    assert len(bomb) < 250_000

    async def work() -> None:
        async with serving(saying(head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}"), bomb)) as server:
            post = GuardedPost(allow=[f"127.0.0.1:{server.port}"])
            posted = await post.post(server.url(), headers={}, body=b"", max_bytes=MAX_ANSWER_BYTES, deadline=DEADLINE)
            assert posted.body == bomb[:MAX_ANSWER_BYTES]
            await post.close()

    run(work())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_a_failure_and_not_followed(status: str) -> None:
    """F5: the place it names is on the list of allowed ones and stays silent all the same."""

    async def work() -> None:
        async with serving(saying(OK)) as silent:
            answer = head(f"Location: {silent.url()}", "Content-Length: 0", status=status)
            async with serving(saying(answer)) as server:
                sent = await attempt(server)
            assert (sent.status, sent.code) == (int(status[:3]), f"http_{status[:3]}")
            assert "not followed" in sent.message
            assert silent.connection_count == 0

    run(work())


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "410 Gone", "429 Too Many", "500 Oops", "503 Busy"])
def test_another_status_is_a_failure(status: str) -> None:
    async def work() -> None:
        async with serving(saying(head("Content-Length: 0", status=status))) as server:
            sent = await attempt(server)
            assert (sent.status, sent.code) == (int(status[:3]), f"http_{status[:3]}")

    run(work())


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        (["Retry-After: 120"], timedelta(seconds=120)),
        (["Date: Tue, 24 Nov 2026 10:00:00 GMT", "Retry-After: Tue, 24 Nov 2026 10:02:00 GMT"], timedelta(minutes=2)),
        (["Retry-After: Wed, 01 Jan 2020 00:00:00 GMT"], None),
        (["Retry-After: -5"], None),
        (["Retry-After: 1000000000"], timedelta(hours=24)),
        (["Retry-After: soon"], None),
        (["Date: never", "Retry-After: 5"], timedelta(seconds=5)),
        ([], None),
    ],
    ids=["seconds", "date", "past", "negative", "1e9", "junk", "junk date", "none"],
)
def test_retry_after_reaches_the_decision(headers: list[str], wish: timedelta | None) -> None:
    """F7: seconds; a date, counted from the receiver's own clock where it tells; past; negative; huge; junk."""

    async def work() -> None:
        async with serving(saying(head("Content-Length: 0", *headers, status="503 Busy"))) as server:
            assert (await attempt(server)).retry_after == wish

    run(work())


@pytest.mark.parametrize(
    "play",
    [
        saying_then_reset(head("Content-Length: 2")),
        saying(head("Content-Length: 2"), b"o"),
        saying(head("Transfer-Encoding: chunked"), b"2\r\nok\r\n"),
        saying_then_reset(head("Content-Length: 200"), b"ok"),
    ],
    ids=["reset", "short", "no last chunk", "reset in the body"],
)
def test_a_2xx_that_was_cut_is_sent_again_with_the_same_id(play: Play) -> None:
    """F8: its head came and its end did not: not delivered, and tried again."""

    async def work() -> None:
        from random import Random

        async with serving(play) as server, sender_to(server) as sender:
            for _ in range(2):
                sent = await sender.send(sending(server.url()))
                assert (sent.status, sent.code) == (200, "connection_broken")
                decision = decide_delivery(1, sent, now=datetime.now(UTC), rng=Random(1), failing_since=None)
                assert isinstance(decision, Retry)
            assert len({lower_headers(request)["webhook-id"] for request in server.requests}) == 1
            assert len(server.requests) == 2

    run(work())


@pytest.mark.parametrize("play", [saying(), saying_then_reset(), saying(b"no HTTP\r\n\r\n")])
def test_no_answer_is_a_failure_and_one_request(play: Play) -> None:
    """F8: nothing repeats a request on a new connection by itself."""

    async def work() -> None:
        async with serving(play) as server:
            sent = await attempt(server)
            assert sent.status is None
            assert sent.code in ("connection_broken", "bad_answer")
            assert server.connection_count == 1

    run(work())


def test_nobody_listening_is_a_failure() -> None:
    async def work() -> None:
        async with serving(saying(OK)) as server:
            pass
        sent = await attempt(server)
        assert (sent.status, sent.code) == (None, "connect_failed")
        assert sent.message == "no connection: connection refused"

    run(work())


class TestTls:
    """F18: a failure with a clear reason; nothing of the message is sent, and no switch gets around it."""

    def send(self, folder: Path, context: ssl.SSLContext, ca: Path | None, host: str = "hooks.example") -> RawServer:
        async def work() -> None:
            async with serving(saying(OK), tls=context) as server, sender_to(server, host=host, ca=ca) as sender:
                sent = await sender.send(sending(f"https://{host}:{server.port}/hook"))
                seen.append((server, sent.code, sent.message))

        seen: list[tuple[RawServer, str | None, str]] = []
        run(work())
        server, self.code, self.message = seen[0]
        return server

    def test_a_good_certificate_is_accepted(self, tmp_path: Path) -> None:
        authority = Authority.make(tmp_path)
        context = authority.server_context(tmp_path, name="hooks.example")
        assert len(self.send(tmp_path, context, authority.bundle).requests) == 1
        assert self.code is None

    def test_an_expired_one_is_refused(self, tmp_path: Path) -> None:
        authority = Authority.make(tmp_path)
        context = authority.server_context(tmp_path, name="hooks.example", until=datetime(2021, 1, 1, tzinfo=UTC))
        assert self.send(tmp_path, context, authority.bundle).requests == []
        assert self.code == "tls_failed"
        assert "expired" in self.message

    def test_another_hosts_is_refused(self, tmp_path: Path) -> None:
        authority = Authority.make(tmp_path)
        context = authority.server_context(tmp_path, name="other.example")
        assert self.send(tmp_path, context, authority.bundle).requests == []
        assert self.code == "tls_failed"
        assert "hooks.example" in self.message

    def test_an_unknown_authoritys_is_refused(self, tmp_path: Path) -> None:
        context = Authority.make(tmp_path).server_context(tmp_path, name="hooks.example")
        assert self.send(tmp_path, context, None).requests == []
        assert self.code == "tls_failed"
        assert "issuer" in self.message or "self" in self.message

    def test_a_server_without_tls_is_refused(self) -> None:
        async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            writer.close()

        async def work() -> None:
            async with await asyncio.start_server(answer_at_once, "127.0.0.1", 0) as plain:
                server = RawServer(plain.sockets[0].getsockname()[1])
                async with sender_to(server) as sender:
                    sent = await sender.send(sending(f"https://127.0.0.1:{server.port}/"))
                assert (sent.status, sent.code) == (None, "tls_failed")

        run(work())


class TestKeptConnections:
    """Deliveries to one host share connections; a dead one is no failure of the receiver."""

    def test_a_connection_serves_many(self) -> None:
        async def work() -> None:
            async with serving(saying(OK), requests_per_connection=9) as server, sender_to(server) as sender:
                for _ in range(5):
                    assert (await sender.send(sending(server.url()))).code is None
                assert (server.connection_count, len(server.requests)) == (1, 5)

        run(work())

    def test_a_dead_one_is_replaced_within_the_attempt(self) -> None:
        """The server closes after three requests, without a word."""

        async def work() -> None:
            async with serving(saying(OK), requests_per_connection=3) as server, sender_to(server) as sender:
                for _ in range(7):
                    assert (await sender.send(sending(server.url()))).code is None
                assert len(server.bodies) == 7

        run(work())

    def test_one_made_for_a_name_serves_no_other(self, tmp_path: Path) -> None:
        """F18: both names lead to the same address and port; the second's certificate is asked for, and is wrong."""
        authority = Authority.make(tmp_path)
        context = authority.server_context(tmp_path, name="a.example")

        async def work() -> None:
            async with serving(saying(OK), tls=context, requests_per_connection=9) as server:
                allow = [f"{name}.example:{server.port}" for name in "ab"]
                from tests.webhooks.attempts import to_loopback

                post = GuardedPost(allow=allow, resolve=to_loopback, ca_bundle=authority.bundle)
                sender = WebhookSender(post, version="1")
                codes = [(await sender.send(sending(f"https://{name}.example:{server.port}/"))).code for name in "aba"]
                assert codes == [None, "tls_failed", None]
                await sender.close()

        run(work())

    def test_few_hosts_are_kept_and_none_in_use_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from orchestrator.egress import kept
        from tests.webhooks.attempts import to_loopback

        monkeypatch.setattr(kept, "MOST_ORIGINS", 2)

        async def work() -> None:
            async with serving(saying(OK), requests_per_connection=99) as server:
                urls = [f"http://h{number}.example:{server.port}/" for number in range(9)]
                allow = [f"h{number}.example:{server.port}" for number in range(9)]
                post = GuardedPost(allow=allow, resolve=to_loopback)
                sender = WebhookSender(post, version="1")
                for _ in range(2):
                    sents = await asyncio.gather(*(sender.send(sending(url)) for url in urls))
                    assert [sent.code for sent in sents] == [None] * 9
                    assert len(post._client._kept._kept) == 2
                await sender.close()

        run(work())


def test_a_second_address_is_tried() -> None:
    """A name whose first address takes no connection is sent to at its next one, within the same attempt."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    async def work() -> None:
        async with serving(saying(OK)) as server:
            post = GuardedPost(allow=[f"hooks.example:{server.port}"], resolve=resolve)
            sender = WebhookSender(post, version="1")
            assert (await sender.send(sending(f"http://hooks.example:{server.port}/"))).code is None
            assert (server.connection_count, len(server.requests)) == (1, 1)
            await sender.close()

    run(work())


def test_a_cancelled_attempt_passes_the_cancellation_on() -> None:
    async def work() -> None:
        asked = asyncio.Event()

        async def play(writer: asyncio.StreamWriter) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with serving(play) as server:
            task = asyncio.ensure_future(attempt(server))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())


def test_what_is_kept_of_an_answer_is_inert_and_says_no_secret() -> None:
    """I13, I3: control characters are gone; links lose their query, and so does the endpoint's own URL."""
    answer = b"\x1b[31mred\x00\r\nyes https://h/x?Signature=s1gn3d whsec_s3cr3t token=c4n4ry \xff"

    async def work() -> None:
        async with (
            serving(saying(head(f"Content-Length: {len(answer)}", status="500 Oops") + answer)) as server,
            sender_to(server) as sender,
        ):
            sent = await sender.send(sending(server.url("/hook?token=c4n4ry")))
            assert not [word for word in ("c4n4ry", "s1gn3d", "s3cr3t") if word in repr(sent)]
            assert sent.answer_head == ("[31mred\nyes https://h/x?[redacted] whsec_[redacted] [redacted] \ufffd")

    run(work())


@pytest.mark.parametrize(
    "said", ["unknown key c4n%2Fary", "unknown key c4n/ary", "c4n/ary is unknown", 'in {"key":"c4n/ary","v":"1"}']
)
def test_a_value_of_the_urls_query_is_struck_out_alone_too(said: str) -> None:
    """I3: receivers say which key they do not know, without the query around it, and as they have read it."""

    async def work() -> None:
        answer = saying(head(f"Content-Length: {len(said)}", status="401 No") + said.encode())
        async with serving(answer) as server, sender_to(server) as sender:
            sent = await sender.send(sending(server.url("/hook?key=c4n%2Fary&v=1")))
            assert "c4n" not in sent.answer_head
            assert "[redacted]" in sent.answer_head
            assert '"v":"1"' in sent.answer_head or "in {" not in said

    run(work())


def test_no_half_of_a_secret_is_kept() -> None:
    """I3: what is kept is cut after secrets were struck out, or the cut would hide one from whoever looks for it."""
    answer = b"." * (KEPT_BYTES - 10) + b"key=c4n4ry4c4n4ry" + b"." * KEPT_BYTES

    async def work() -> None:
        play = saying(head(f"Content-Length: {len(answer)}", status="401 No") + answer)
        async with serving(play) as server, sender_to(server) as sender:
            sent = await sender.send(sending(server.url("/hook?key=c4n4ry4c4n4ry")))
            assert "c4n4" not in sent.answer_head
            assert len(sent.answer_head) == KEPT_BYTES

    run(work())


def test_a_reason_does_not_repeat_the_url() -> None:
    """I3: a URL may hold a password of the receiver's."""

    async def work() -> None:
        async with serving(saying(OK)) as server:
            pass
        async with sender_to(server) as sender:
            for url in (server.url("/?c4n4ry"), "http://10.0.0.1/c4n4ry", f"https://127.0.0.1:{server.port}/c4n4ry"):
                assert "c4n4ry" not in repr(await sender.send(sending(url)))

    run(work())


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: a proxy that the environment names stays silent, for http and https."""

    async def work() -> None:
        async with serving(saying(OK)) as proxy, serving(saying(OK)) as server:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", "nothing")
            async with sender_to(server) as sender:
                assert (await sender.send(sending(server.url()))).code is None
            async with sender_to(server, deadline=SOON) as sender:
                assert (await sender.send(sending(f"https://127.0.0.1:{server.port}/"))).status is None
            assert (proxy.connection_count, len(server.requests)) == (0, 1)

    run(work())


def hint_for(entry: str) -> str:
    """To be added, never to be set in place of what is listed."""
    return f"if it is meant, add {entry} to ORCHESTRATOR_EGRESS_ALLOW: after a comma, where others stand there already"


def test_a_hostile_url_is_refused_at_creation_in_words() -> None:
    """H18: with the way out for an operator, and without repeating it."""
    sender = WebhookSender(GuardedPost(), version="1")
    with pytest.raises(RequestError) as caught:
        sender.check("http://127.0.0.1/c4n4ry")
    assert caught.value.param == "webhook"
    assert caught.value.hint == hint_for("127.0.0.1")
    assert "c4n4ry" not in str(caught.value)
    for url, entry in (("http://a.example:9000/", "a.example:9000"), ("http://[::1]:9000/", "[::1]:9000")):
        with pytest.raises(RequestError) as caught:
            sender.check(url)
        assert caught.value.hint == hint_for(entry)
        WebhookSender(GuardedPost(allow=[entry]), version="1").check(url)
    for url in ("http://user:c4n4ry@a.example/", "ftp://a.example/", "http://a.example/#c4n4ry"):
        with pytest.raises(RequestError) as caught:
            sender.check(url)
        assert caught.value.hint is None
    sender.check("https://hooks.example/orchestrator?token=1")


def test_an_answer_of_no_content_is_delivered() -> None:
    async def work() -> None:
        async with serving(saying(head(status="204 No Content"))) as server:
            sent = await attempt(server)
            assert sent.answer_head == ""
            assert isinstance(
                decide_delivery(1, sent, now=datetime.now(UTC), rng=None, failing_since=None),  # type: ignore[arg-type]
                Delivered,
            )

    run(work())

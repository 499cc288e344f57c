"""The client that asks about tasks: bounded and kept connections, and nothing done behind the caller's back
(faults A18, I12).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.domain.errors import ConfigError, Transient
from orchestrator.domain.ports import PollQuestion
from orchestrator.http import AnswerTooLong, PollClient, poll_client
from tests.zai.loopback import KEY, Act, Peer, Talk, answer, make_provider, peer, raw, read_and_hang

VALID_FROM, VALID_TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
CAP = 1000
SHORT = timedelta(seconds=0.2)


async def ask(client: PollClient, url: str) -> tuple[int, bytes]:
    """Ask as the provider does."""
    return await client.get(url, headers={"Accept-Encoding": "identity"}, cap_bytes=CAP)


def run(act: Act, work: Callable[[PollClient, Peer], Awaitable[None]], *, max_connections: int = 9) -> Peer:
    """Let a client talk to a peer; return the peer."""

    async def talk() -> Peer:
        async with peer(act) as one:
            client = poll_client(max_connections=max_connections)
            try:
                await work(client, one)
            finally:
                await client.close()
        return one

    return asyncio.run(talk())


def keep_answering(bodies: Sequence[bytes] = (b"{}",), headers: str = "") -> Act:
    """A peer that answers on one connection for as long as it is asked, then hangs up without a word."""

    async def act(talk: Talk) -> None:
        for body in bodies:
            await talk.read_request()
            await talk.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await talk.read_request()

    return act


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: a proxy in the environment stays untouched, and a redirect is the caller's to see."""

    async def talk() -> None:
        async with peer(answer(b"")) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

            async with peer(answer(b"", status=302, headers="Location: /elsewhere\r\n")) as one:
                client = poll_client()
                assert (await ask(client, one.url))[0] == 302
                await client.close()
            assert (one.connections, proxy.connections) == (1, 0)

    asyncio.run(talk())


def test_connections_are_kept() -> None:
    """A TLS handshake per poll would cost more than the poll."""

    async def work(client: PollClient, one: Peer) -> None:
        for _ in range(3):
            assert await ask(client, one.url) == (200, b"{}")

    assert run(keep_answering([b"{}"] * 3), work).connections == 1


def test_their_number_is_bounded() -> None:
    """However many questions wait, the provider sees no more connections than agreed."""

    async def work(client: PollClient, one: Peer) -> None:
        await asyncio.gather(*(ask(client, one.url) for _ in range(20)))

    assert run(keep_answering([b"{}"] * 20), work, max_connections=2).connections == 2


def test_nothing_is_repeated_behind_our_back() -> None:
    """A18: a kept connection that turns out dead is an error, not a second request of the library's own."""

    async def work(client: PollClient, one: Peer) -> None:
        await ask(client, one.url)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(client, one.url)

    one = run(keep_answering(), work)
    assert (one.connections, len(one.requests)) == (1, 2)


def test_no_cookie_is_kept() -> None:
    """An answer cannot make the next question carry anything."""

    async def work(client: PollClient, one: Peer) -> None:
        for _ in range(2):
            await ask(client, one.url.replace("127.0.0.1", "localhost"))  # no jar keeps cookies of bare addresses

    one = run(keep_answering([b"{}"] * 2, headers="Set-Cookie: a=canary\r\n"), work)
    assert b"canary" not in one.requests[1]
    assert b"cookie" not in one.requests[1].lower()


def test_bytes_come_as_they_are() -> None:
    """Asked for as they are, and never decompressed: a small answer cannot become a large one."""

    async def work(client: PollClient, one: Peer) -> None:
        assert await ask(client, one.url) == (200, b"not gzip")

    one = run(answer(b"not gzip", headers="Content-Encoding: gzip\r\n"), work)
    assert b"accept-encoding: identity\r\n" in one.requests[0].lower()


@pytest.mark.parametrize("size", [CAP, CAP + 1])
def test_an_answer_that_does_not_end_is_cut(size: int) -> None:
    """Memory is bounded whatever the provider sends."""

    async def work(client: PollClient, one: Peer) -> None:
        if size == CAP:
            assert await ask(client, one.url) == (200, b"x" * CAP)
            return
        with pytest.raises(AnswerTooLong):
            await ask(client, one.url)

    run(answer(b"x" * size), work)


def test_urls_and_keys_stay_out_of_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    """At no level, with the loop's own debugging on."""

    async def work(client: PollClient, one: Peer) -> None:
        asyncio.get_running_loop().set_debug(True)
        await client.get(f"{one.url}/x?Signature=canary", headers={"Authorization": f"Bearer {KEY}"}, cap_bytes=CAP)

    with caplog.at_level(logging.DEBUG):
        run(answer(b"{}"), work)
    assert "canary" not in caplog.text


def test_a_client_that_never_asked_closes_on_any_loop() -> None:
    """It is made before a loop runs; its session belongs to the loop that asks."""
    client = poll_client()
    asyncio.run(client.close())


def test_a_question_in_time_or_none() -> None:
    """The total deadline is around everything, the body too."""

    async def talk() -> None:
        async with peer(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")) as cut, peer(read_and_hang) as silent:
            for one in (cut, silent):
                provider = make_provider(one.url, deadline=SHORT)
                with pytest.raises(Transient):
                    await provider.poll(PollQuestion("video", "m", "t"))
                await provider.close()

    asyncio.run(talk())


class TestProxy:
    """The proxy of our own setting, by either scheme; any other is refused when the client is made."""

    def test_a_plain_proxy_is_asked_for_the_whole_address(self) -> None:
        async def talk() -> None:
            async with peer(answer(b"{}")) as proxy:
                client = poll_client(proxy=f"http://me:canary@127.0.0.1:{proxy.port}")
                assert await ask(client, "http://provider.invalid/x") == (200, b"{}")
                await client.close()
            assert proxy.requests[0].startswith(b"GET http://provider.invalid/x HTTP/1.1\r\n")
            assert b"proxy-authorization: basic " in proxy.requests[0].lower()

        asyncio.run(talk())

    def test_an_address_by_tls_is_reached_through_a_tunnel(self) -> None:
        async def talk() -> None:
            async with peer(answer(b"", status=403)) as proxy:
                client = poll_client(proxy=f"http://127.0.0.1:{proxy.port}")
                provider = make_provider("https://provider.invalid", poll=client)
                with pytest.raises(Transient, match="proxy_failed"):
                    await provider.poll(PollQuestion("video", "m", "t"))
                await provider.close()
            assert proxy.requests[0].startswith(b"CONNECT provider.invalid:443 HTTP/1.1\r\n")

        asyncio.run(talk())

    def test_a_proxy_by_tls_is_checked_against_the_bundle(self, authority: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)

        async def talk() -> None:
            async with peer(answer(b"{}"), tls=context) as proxy:
                trusting = poll_client(proxy=f"https://127.0.0.1:{proxy.port}", ca_bundle=authority)
                assert await ask(trusting, "http://provider.invalid/x") == (200, b"{}")
                await trusting.close()
                wary = poll_client(proxy=f"https://127.0.0.1:{proxy.port}")
                provider = make_provider("http://provider.invalid", poll=wary)
                with pytest.raises(Transient, match=r"tls_failed|proxy_failed"):
                    await provider.poll(PollQuestion("video", "m", "t"))
                await provider.close()
            assert proxy.requests[0].startswith(b"GET http://provider.invalid/x HTTP/1.1\r\n")

        asyncio.run(talk())

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "proxy:3128", "http://", "ftp://h/", ""])
    def test_another_scheme_is_refused(self, proxy: str) -> None:
        with pytest.raises(ConfigError, match="ORCHESTRATOR_HTTP_PROXY"):
            poll_client(proxy=proxy)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_TO)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "authority.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path

"""The clients are what design section 7 asks for: no proxy from the environment, no redirects, no retries, no chatter
(faults A18, I12).
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import httpx
import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.http import foreign_session, paid_client, tls_context
from orchestrator.zai import client as zai_client
from tests.zai.loopback import KEY, TASK_ANSWER, Talk, answer, make_provider, peer, raw

EVERY_CLIENT = [paid_client]
"""Those on httpx; the poll client's own tests are in test_poll_client.py, the foreign session's further down."""


@pytest.mark.parametrize("make", EVERY_CLIENT)
def test_the_environment_names_no_proxy(make: type[httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: a proxy in the environment stays untouched, a redirect is not followed, an error is not tried again."""

    async def run() -> None:
        redirect = answer(b"", status=302, headers="Location: /elsewhere\r\n")
        async with peer(answer(b"")) as proxy, peer(redirect) as one:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            async with make() as client:
                response = await client.get(f"{one.url}/x")
        assert (response.status_code, one.connections, proxy.connections) == (302, 1, 0)

    asyncio.run(run())


def test_each_paid_call_has_a_fresh_connection() -> None:
    """A kept connection may be dead already, and then the moment would hang on luck. This peer would keep it."""

    async def answer_on(talk: Talk) -> None:
        while True:
            await answer(TASK_ANSWER)(talk)

    async def run() -> tuple[int, int]:
        async with peer(answer_on) as one, paid_client() as client:
            for _ in range(3):
                await client.post(one.url)
            paid = one.connections
        return paid, len(one.requests)

    assert asyncio.run(run()) == (3, 3)


@pytest.mark.parametrize("make", EVERY_CLIENT)
def test_urls_and_keys_stay_out_of_the_logs(make: type[httpx.AsyncClient], caplog: pytest.LogCaptureFixture) -> None:
    """The client library logs whole URLs at INFO, signed ones included."""

    async def run() -> None:
        async with peer(answer(b"")) as one, make() as client:
            await client.get(f"{one.url}/x?Signature=canary", headers={"Authorization": f"Bearer {KEY}"})

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "canary" not in caplog.text


def test_the_session_for_foreign_links_asks_no_resolver() -> None:
    """A name is refused: whatever it leads to was not checked. An address is asked for bytes as they are, once."""

    async def run() -> bytes:
        async with peer(answer(b"bytes")) as one, foreign_session(tls=tls_context(None)) as session:
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get(f"http://localhost:{one.port}/x")
            async with session.get(f"{one.url}/x?Signature=canary") as response:
                assert await response.read() == b"bytes"
        assert one.connections == 1
        return one.requests[0].lower()

    assert b"accept-encoding: identity\r\n" in asyncio.run(run())


def test_the_session_for_foreign_links_repeats_nothing() -> None:
    """One connection, closed without a word: the error comes out at once."""

    async def run() -> int:
        async with peer(raw(b"")) as one, foreign_session(tls=tls_context(None)) as session:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.get(f"{one.url}/x")
            return one.connections

    assert asyncio.run(run()) == 1


def test_a_ca_bundle_replaces_the_trusted_roots(tmp_path: Path) -> None:
    """One that cannot be read is refused when the client is made, not at the first call."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("not a certificate")
    with pytest.raises(OSError, match=r"(?i)certificate"):
        paid_client(ca_bundle=bundle)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\nb", "ключ", "a\x00"])
def test_a_key_that_no_header_can_carry_is_refused_at_start(key: str) -> None:
    """Later it would fail inside the client, in a message that shows it."""
    with pytest.raises(ConfigError, match="ORCHESTRATOR_ZAI_API_KEY") as caught:
        zai_client._headers(key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["", "api.z.ai", "ftp://h/", "http://", "https://h/?x=1", "https://h:99999/", "\x00"]
)
def test_a_base_address_that_is_none_is_refused_at_start(base_url: str) -> None:
    """With the setting's name."""
    with pytest.raises(ConfigError, match="ORCHESTRATOR_ZAI_BASE_URL"):
        make_provider(base_url)

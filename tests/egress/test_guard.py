"""Every address of a name is checked, and only checked addresses are connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.egress import EgressGuard, GuardedFetch, allow
from tests.egress.server import RawServer, head, run, saying, serving

BODY = head("Content-Length: 5") + b"hello"
MINUTE = timedelta(minutes=1)


class Names:
    """A resolver from a table; counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["8.8.8.8", "::1"],
        ["2606:4700::1111", "64:ff9b::a9fe:a9fe"],
        ["::ffff:8.8.8.8"],
        ["fe80::1%eth0"],
        ["169.254.169.254"],
    ],
)
def test_one_internal_address_refuses_the_name(addresses: list[str]) -> None:
    """F13: public first, loopback second; mixed families."""
    with pytest.raises(Permanent, match="internal address"):
        asyncio.run(EgressGuard(resolve=Names(*addresses)).admit("http://good.example/"))


@pytest.mark.parametrize("addresses", [[], ["not an address"]])
def test_a_name_without_addresses_is_for_later(addresses: list[str]) -> None:
    with pytest.raises(Transient) as caught:
        asyncio.run(EgressGuard(resolve=Names(*addresses)).admit("http://good.example/"))
    assert caught.value.code == "dns_failed"


def test_a_resolver_out_of_order_is_for_later() -> None:
    async def fail(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(Transient) as caught:
        asyncio.run(EgressGuard(resolve=fail).admit("http://good.example/"))
    assert caught.value.code == "dns_failed"


def test_a_literal_asks_no_resolver() -> None:
    names = Names("127.0.0.1")
    admitted = asyncio.run(EgressGuard(resolve=names).admit("http://8.8.8.8/"))
    assert [str(address) for address in admitted.addresses] == ["8.8.8.8"]
    assert names.asked == []


def test_no_connection_is_made_to_an_internal_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E8, F13: a listener that would answer stays silent, however its address is written."""

    async def work() -> None:
        async with serving(saying(BODY)) as server:
            monkeypatch.setattr(allow, "PORTS", frozenset({server.port}))
            fetch = GuardedFetch(resolve=Names("127.0.0.1"))
            hosts = ["good.example", "127.0.0.1", "[::ffff:127.0.0.1]", "0x7f000001", "localhost", "127.1", "127.0.0.2"]
            for host in hosts:
                with pytest.raises(Permanent):
                    await fetch.fetch(f"http://{host}:{server.port}/", tmp_path / "out", max_bytes=99, deadline=MINUTE)
            assert server.connection_count == 0

    run(work())


def test_the_checked_address_is_used_under_the_links_name(tmp_path: Path) -> None:
    """The name is resolved once; Host stays the name; nothing between check and connection asks again."""

    async def work() -> None:
        async with serving(saying(BODY)) as server:
            names = Names("127.0.0.1")
            fetch = GuardedFetch(allow=[f"files.example:{server.port}"], resolve=names)
            url = f"http://files.example:{server.port}/a%2Fb?Signature=x%2By+z~=="
            await fetch.fetch(url, tmp_path / "out", max_bytes=99, deadline=MINUTE)
            assert names.asked == [("files.example", server.port)]
            _check_request(server)

    run(work())


def _check_request(server: RawServer) -> None:
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a%2Fb?Signature=x%2By+z~== HTTP/1.1"
    assert f"Host: files.example:{server.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert not any(line.lower().startswith(("cookie", "authorization")) for line in lines)


def test_a_second_address_is_tried(tmp_path: Path) -> None:
    """A name whose first address is closed is fetched from its next one."""

    async def work() -> None:
        async with serving(saying(BODY)) as server:
            fetch = GuardedFetch(allow=[f"files.example:{server.port}"], resolve=Names("::1", "127.0.0.1"))
            url = f"http://files.example:{server.port}/"
            assert (await fetch.fetch(url, tmp_path / "out", max_bytes=99, deadline=MINUTE)).byte_count == 5

    run(work())


def test_cookies_are_not_kept(tmp_path: Path) -> None:
    """One stranger's cookie never reaches another."""

    async def work() -> None:
        async with serving(saying(head("Content-Length: 5", "Set-Cookie: a=b; Path=/") + b"hello")) as server:
            fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"])
            for _ in range(2):
                await fetch.fetch(server.url(), tmp_path / "out", max_bytes=99, deadline=MINUTE)
            assert server.connection_count == 2
            assert b"ookie" not in server.requests[1]

    run(work())


def test_proxies_of_the_environment_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: HTTP_PROXY names a listener that must stay silent."""

    async def work() -> None:
        async with serving(saying(BODY)) as proxy, serving(saying(BODY)) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", "nothing")
            fetch = GuardedFetch(allow=[f"127.0.0.1:{server.port}"])
            await fetch.fetch(server.url(), tmp_path / "out", max_bytes=99, deadline=MINUTE)
            assert (proxy.connection_count, server.connection_count) == (0, 1)

    run(work())

"""Promise 12: a listener inside that would answer is never reached, by whichever door a URL comes in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import ResolveResult
from aiohttp.tracing import Trace

from orchestrator.config import load_settings
from orchestrator.domain.errors import Permanent, RequestError, StepError
from orchestrator.egress import GuardedFetch, GuardedPost, allow
from orchestrator.services.intake import CheckOptions, check_file
from orchestrator.webhooks import WebhookSender
from orchestrator.wiring import kinds_by_name, make_link_judge
from tests.egress.hostile import hostile_urls, resolve_inside
from tests.egress.server import RawServer, head, run, saying, serving
from tests.webhooks.attempts import sending

BODY = head("Content-Length: 5") + b"hello"
MINUTE = timedelta(minutes=1)


def test_there_are_enough_of_them() -> None:
    """The figure of the measurement: at least 150 for each door."""
    assert len(list(hostile_urls(8080))) >= 250


def test_no_result_link_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E8, F13: numbers, names that were rebound, other alphabets, other schemes. Its port would be allowed."""

    async def work() -> None:
        async with serving(saying(BODY)) as silent:
            monkeypatch.setattr(allow, "PORTS", frozenset({silent.port}))
            fetch = GuardedFetch(resolve=resolve_inside)
            for url in hostile_urls(silent.port):
                with pytest.raises(Permanent) as caught:
                    await fetch.fetch(url, tmp_path / "out", max_bytes=99, deadline=MINUTE)
                assert caught.value.code == "egress_refused", url
            assert silent.connection_count == 0

    run(work())


def test_no_webhook_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """H18, F13: what creation cannot see - a name's addresses - is seen before every sending; the rest both times."""

    async def work() -> None:
        async with serving(saying(BODY)) as silent:
            monkeypatch.setattr(allow, "PORTS", frozenset({silent.port}))
            sender = WebhookSender(GuardedPost(resolve=resolve_inside), version="1")
            refused = [_is_refused_at_creation(sender, url) for url in hostile_urls(silent.port)]
            for url in hostile_urls(silent.port):
                assert (await sender.send(sending(url))).code == "egress_refused", url
            await sender.close()
            assert silent.connection_count == 0
            by_name = [".example:" in url for url in hostile_urls(silent.port)]
            assert all(one or name for one, name in zip(refused, by_name, strict=True))

    run(work())


def _is_refused_at_creation(sender: WebhookSender, url: str) -> bool:
    try:
        sender.check(url)
    except RequestError:
        return True
    return False


def test_no_link_of_a_job_line_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H15: refused where they are written, before anything is paid; those that only a resolver could tell are never
    opened by us: the provider fetches inputs.
    """

    async def work() -> RawServer:
        async with serving(saying(BODY)) as silent:
            monkeypatch.setattr(allow, "PORTS", frozenset({silent.port}))
            urls = [url for url in hostile_urls(silent.port) if ".example:" not in url]
            refused = await asyncio.to_thread(_lines_refused, tmp_path / "jobs.jsonl", urls)
            assert refused == set(range(1, len(urls) + 1))
            return silent

    async def check() -> None:
        assert (await work()).connection_count == 0

    run(check())


def _lines_refused(path: Path, urls: Sequence[str]) -> set[int | None]:
    lines = [
        {"custom_id": f"c{n}", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "image_url": url}}
        for n, url in enumerate(urls)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    judge = make_link_judge(load_settings({}))
    checked = check_file(path, kinds_by_name(), options=CheckOptions("test"), judge_link=judge)
    return {fault.line for fault in checked.faults if (fault.param or "").startswith("body.image_url")}


def test_a_name_that_is_rebound_is_refused_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """F13: asked once for each attempt; what was checked is what is connected to, and a kept connection to the first
    address is not used for the second.
    """
    answers = ["127.0.0.2", "127.0.0.1"]
    asked: list[str] = []

    async def rebind(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [answers[min(len(asked), 2) - 1]]

    async def work() -> None:
        async with serving(saying(BODY)) as silent:
            outside = await asyncio.start_server(_answer_for_ever, "127.0.0.2", silent.port)
            async with outside:
                monkeypatch.setattr(allow, "PORTS", frozenset({silent.port}))
                sender = WebhookSender(GuardedPost(allow=["127.0.0.2/32"], resolve=rebind), version="1")
                codes = [(await sender.send(sending(f"http://hooks.example:{silent.port}/"))).code for _ in range(3)]
                await sender.close()
            assert codes == [None, "egress_refused", "egress_refused"]
            assert (asked, silent.connection_count) == (["hooks.example"] * 3, 0)

    run(work())


async def _answer_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not reader.at_eof():
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BODY)
        writer.close()
        return


@pytest.mark.parametrize("door", ["fetch", "post"])
def test_a_connection_that_leads_elsewhere_carries_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """F13: should the client library ever connect to another address than it was told, the peer is looked at before
    the first byte of a request.
    """

    async def work() -> None:
        async with serving(saying(BODY)) as silent:
            _lead_connections_to(silent, monkeypatch)
            with pytest.raises(StepError) as caught:
                await _go_through(door, tmp_path / "out")
            assert caught.value.code == "egress_refused"
            assert silent.requests == []

    run(work())


async def _go_through(door: str, into: Path) -> None:
    if door == "fetch":
        await GuardedFetch().fetch("http://8.8.8.8/a", into, max_bytes=99, deadline=MINUTE)
        return
    post = GuardedPost()
    try:
        await post.post("http://8.8.8.8/a", headers={}, body=b"x", max_bytes=99, deadline=MINUTE)
    finally:
        await post.close()


def _lead_connections_to(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = aiohttp.TCPConnector._resolve_host

    async def elsewhere(
        self: aiohttp.TCPConnector, host: str, port: int, traces: Sequence[Trace] | None = None
    ) -> list[ResolveResult]:
        return await real(self, "127.0.0.1", server.port, traces)

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", elsewhere)

"""Hostile URLs by every door, and how many connections a listener inside saw: `python -m bench.egress`. Aim: none.

The listener's port is one that foreign URLs may name and the resolver is in the attacker's hands: every name leads to
this machine. The doors are those of tests/egress/test_silent_listener.py, which asserts what is counted here.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.results import Figure, emit
from orchestrator.config import load_settings
from orchestrator.domain.errors import StepError
from orchestrator.domain.ports import Sending
from orchestrator.egress import GuardedFetch, GuardedPost, allow
from orchestrator.services.intake import CheckOptions, check_file
from orchestrator.webhooks import WebhookSender, encode_secret
from orchestrator.wiring import kinds_by_name, make_link_judge
from tests.egress.hostile import hostile_urls, resolve_inside
from tests.egress.server import head, saying, serving

SECRET = encode_secret(bytes(range(32)))
Door = Callable[[list[str], Path], Awaitable[int]]
"""Tries the URLs; returns how many were refused."""


async def by_result_links(urls: list[str], folder: Path) -> int:
    """As the archive lane fetches what a provider names."""
    fetch, refused = GuardedFetch(resolve=resolve_inside), 0
    for url in urls:
        try:
            await fetch.fetch(url, folder / "out", max_bytes=99, deadline=timedelta(seconds=15))
        except StepError as error:
            refused += error.code == "egress_refused"
    return refused


async def by_webhooks(urls: list[str], folder: Path) -> int:
    """As the deliver lane sends to an endpoint, had it been taken at creation."""
    sender = WebhookSender(GuardedPost(resolve=resolve_inside), version="bench")
    now = datetime.now(UTC)
    sents = [await sender.send(Sending(url, "evt_1", now, b"{}", (SECRET,))) for url in urls]
    await sender.close()
    return sum(sent.code == "egress_refused" for sent in sents)


async def by_job_lines(urls: list[str], folder: Path) -> int:
    """As a job file names its inputs. A name is judged by its spelling only: inputs are never opened by us."""
    lines = [
        {"custom_id": f"c{n}", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "image_url": url}}
        for n, url in enumerate(urls)
    ]
    path = folder / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    judge = make_link_judge(load_settings({}))
    checked = await asyncio.to_thread(
        check_file, path, kinds_by_name(), options=CheckOptions("bench"), judge_link=judge
    )
    return len({fault.line for fault in checked.faults})


async def count(door: Door) -> tuple[int, int, int]:
    """Return URLs tried, URLs refused, and connections at the listener."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(saying(head("Content-Length: 5") + b"hello")) as silent:
            allow.PORTS = frozenset({silent.port})
            urls = list(hostile_urls(silent.port))
            refused = await door(urls, Path(folder))
            return len(urls), refused, silent.connection_count


def main() -> None:
    """Print one figure for each door."""
    doors: dict[str, Door] = {
        "input links of job lines": by_job_lines,
        "result links": by_result_links,
        "webhook targets": by_webhooks,
    }
    for name, door in doors.items():
        tried, refused, connections = asyncio.run(count(door))
        note = f"{tried} URLs, {refused} refused"
        emit(Figure(f"connections inside by {name}", "", connections, aim="0", note=note))


if __name__ == "__main__":
    main()

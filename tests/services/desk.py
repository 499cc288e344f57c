"""A job table, an archive and a simulated provider in one folder, for tests that drive lanes by hand."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from orchestrator.config import load_settings
from orchestrator.domain.job import Job
from orchestrator.sandbox import RunningSandbox
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions, check_file, take_file
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.wiring import App, kinds_by_name, open_app, open_lanes

IMAGE = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite", "size": "512x512"}}
VIDEO = {"kind": "video", "body": {"model": "viduq1-text", "prompt": "a kite"}}
HTTP = httpx.Client(
    verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # empty, see few_authorities
    limits=httpx.Limits(max_keepalive_connections=0),
    trust_env=False,
    timeout=30,
)
"""Asks what is under the tests' own control on loopback."""


def few_authorities(folder: Path) -> Path:
    """Write a bundle with one authority in it: to load all of the world's takes every client a tenth of a second."""
    bundle = (resources.files("botocore") / "cacert.pem").read_text("utf-8")
    end = "-----END CERTIFICATE-----"
    path = folder / "authorities.pem"
    path.write_text(bundle[: bundle.index(end) + len(end)] + "\n")
    return path


@dataclass
class Desk:
    """Everything one process has, and the loop its coroutines run on."""

    app: App
    sandbox: RunningSandbox
    loop: LoopThread
    folder: Path

    def take(self, *lines: Mapping[str, Any], max_cost: int | None = None) -> str:
        """Take jobs in, under a budget in micro-units; return their batch."""
        path = self.folder / "jobs.jsonl"
        path.write_text("".join(json.dumps({"custom_id": f"job-{n}", **line}) + "\n" for n, line in enumerate(lines)))
        checked = check_file(path, kinds_by_name(), options=CheckOptions("test"))
        settings = self.app.settings
        store = self.app.stores.open(settings.archive)
        taker = Taker(self.app.batches, store, self.app.clock, self.app.rng, settings.spool_dir)
        return take_file(checked, taker, max_cost_micros=max_cost).batch.id

    @contextmanager
    def process(self) -> Iterator[LaneContext]:
        """Be one more process: its own journal, its own clients."""
        with open_lanes(self.app, Mailboxes()) as context:
            try:
                yield context
            finally:
                self.loop.submit(context.provider.close()).result()

    def jobs(self, batch_id: str) -> Sequence[Job]:
        return list(self.app.history.iter_members(batch_id))

    def fault(self, **rule: object) -> None:
        """Replace the provider's faults by this one."""
        HTTP.put(f"{self.sandbox.control_url}/faults", json=[rule]).raise_for_status()

    def ledger(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = HTTP.get(f"{self.sandbox.control_url}/ledger").json()["data"]
        return rows

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = HTTP.get(f"{self.sandbox.control_url}/stats").json()
        return found


def die(context: LaneContext) -> None:
    """Leave as kill -9 would: the lock falls, the journal stays."""
    journal: Any = context.journal
    os.close(journal._fd)
    journal._fd = -1


@contextmanager
def open_desk(sandbox: RunningSandbox, folder: Path, database_url: str) -> Iterator[Desk]:
    """Open everything on one database."""
    settings = load_settings(
        {
            "data_dir": folder / "data",
            "database_url": database_url,
            "zai_base_url": sandbox.base_url,
            "zai_api_key": "id.secret",
            "egress_allow": sandbox.host_port,
            "ca_bundle": few_authorities(folder),
            "poll_intervals": "video=0.1..0.5,image=0.1..0.5",
            "tick_seconds": 0.1,
            "thumbnail_pixels": 0,  # tests of thumbnails have a maker of their own; a process each takes time
        }
    )
    with ExitStack() as stack:
        app = stack.enter_context(open_app(settings))
        settings.data_dir.mkdir(exist_ok=True)
        loop = LoopThread()
        stack.callback(loop.close)
        yield Desk(app, sandbox, loop, folder)

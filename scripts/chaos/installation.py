"""What a round runs on: a provider that keeps a ledger, a job table, and for a fleet a broker and PostgreSQL."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.config import load_settings
from orchestrator.db.migrate import upgrade
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from orchestrator.wiring import App, open_app
from scripts.chaos.plan import FAULTS, Plan
from tests.fixtures.brokers import Valkey, running_valkey
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server

TASK_SECONDS = 0.5
ASSUMED_LIFE = "15s"
"""A call that nobody knows the end of holds its slot for so long: far longer than any task here takes."""


@dataclass(frozen=True)
class Servers:
    """What a fleet needs, started once for all rounds."""

    postgres: PostgresServer
    valkey: Valkey


@dataclass(frozen=True)
class Installation:
    """One round's own folder, provider and job table."""

    folder: Path
    sandbox: RunningSandbox
    settings: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are started with."""
        around = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        return {**around, **{f"ORCHESTRATOR_{name.upper()}": value for name, value in self.settings.items()}}

    @contextmanager
    def app(self) -> Iterator[App]:
        """Open the job table as a process of our own that is never killed."""
        with open_app(load_settings(dict(self.settings))) as app:
            yield app

    def control(self, method: str, path: str, value: object = None) -> Any:  # noqa: ANN401 - whatever JSON it answers
        """Ask the provider's control surface."""
        data = json.dumps(value).encode() if value is not None else None
        url = f"{self.sandbox.control_url}/{path}"
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            return json.load(answer)


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Start a broker that keeps nothing and a database that keeps what it has confirmed."""
    with running_valkey() as valkey, running_server(*choose_binaries(), synchronous_commit="on") as postgres:
        yield Servers(postgres, valkey)


@contextmanager
def installed(plan: Plan, servers: Servers | None) -> Iterator[Installation]:
    """Give one round's installation; all of it is removed at the end. Without servers: SQLite, one process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="orchestrator-chaos-")))
        sandbox = stack.enter_context(start(SandboxOptions(seed=plan.seed)))
        settings = {
            "data_dir": str(folder / "data"),
            "zai_base_url": sandbox.base_url,
            "zai_api_key": "chaos.key",
            "egress_allow": sandbox.host_port,
            "poll_intervals": "video=0.2..1,image=0.2..1",
            "tick_seconds": "0.2",
            "limits": f"*={plan.limit}",
            "assumed_task_life": f"video={ASSUMED_LIFE},image={ASSUMED_LIFE}",
            "max_unknown_per_hour": "100000",  # held calls are what is counted here, not what stops the round
        }
        if servers is not None:
            settings |= _fleet_settings(plan, servers)
        installation = Installation(folder, sandbox, settings)
        installation.control("PUT", "limits", {"*": 1000})  # a provider that would let us go beyond our own limit
        installation.control("PUT", "latency", {"*": {"mean_seconds": TASK_SECONDS, "jitter": 0.3}})
        installation.control("PUT", "faults", list(FAULTS))
        yield installation


def _fleet_settings(plan: Plan, servers: Servers) -> dict[str, str]:
    database = f"chaos_{plan.seed}"
    servers.postgres.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    servers.postgres.execute(f"CREATE DATABASE {database}")
    url = servers.postgres.url(database)
    upgrade(url)
    servers.valkey.client.flushall()
    return {"database_url": url, "broker_url": servers.valkey.url}

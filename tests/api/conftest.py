"""The API over a fresh database and a local archive, asked as a caller would ask it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from orchestrator.api import Desk, create_app
from orchestrator.config import load_settings
from orchestrator.domain.access import Role
from orchestrator.domain.ports import LaneName
from orchestrator.services.access import create_key
from orchestrator.wiring import App, open_app

SERVER_KEY = b"a server's key of chance, long enough"
VIDEO = {"kind": "video", "body": {"model": "cogvideox-3", "prompt": "a kite"}}
Headers = dict[str, str]


@dataclass
class Woken:
    """Notes which lanes were told of work."""

    lanes: list[LaneName] = field(default_factory=list)

    def wake(self, lane: LaneName) -> None:
        self.lanes.append(lane)


@dataclass
class House:
    """One installation: the program, its API, and keys for whoever is to ask."""

    app: App
    api: FastAPI
    client: TestClient
    woken: Woken
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def key(self, role: str = "operator", owner: str = "studio", *, life: timedelta | None = None) -> str:
        """Make a key and return its text."""
        _, text = create_key(
            self.app.keys,
            name=f"{owner.replace('*', 'all')}-{next(self._numbers)}",
            role=Role(role),
            owner=owner,
            life=life,
            server_key=SERVER_KEY,
            rng=Random(f"{owner}-{role}-{next(self._numbers)}"),
            actor="local",
        )
        return text

    def headers(self, role: str = "operator", owner: str = "studio") -> Headers:
        return {"Authorization": f"Bearer {self.key(role, owner)}"}

    def make_job(self, headers: Headers, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = self.client.post("/v1/jobs", headers=headers, json={**VIDEO, **changes})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def audit(self) -> list[tuple[str, str, str]]:
        return [(entry.action, entry.subject, entry.actor) for entry in self.app.audit_log.list_entries(limit=100)]


@pytest.fixture
def open_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Give a function that opens an installation on a database."""
    with ExitStack() as stack:

        def build(database_url: str, **flags: object) -> House:
            settings = load_settings(
                {
                    "data_dir": tmp_path / "data",
                    "database_url": database_url,
                    "secret_key": SERVER_KEY.decode(),
                    **flags,
                }
            )
            settings.data_dir.mkdir(exist_ok=True)
            app = stack.enter_context(open_app(settings))
            woken = Woken()
            desk = Desk(app=app, server_key=SERVER_KEY, wakeup=woken, environment="test")
            api = create_app(desk, version="0")
            client = stack.enter_context(TestClient(api, raise_server_exceptions=False))
            return House(app, api, client, woken)

        yield build


@pytest.fixture
def house(open_house: Callable[..., House], sqlite_url_factory: Callable[..., str]) -> House:
    """Give an installation on SQLite: what is asked here does not depend on the database."""
    return open_house(sqlite_url_factory())


@pytest.fixture
def each_house(open_house: Callable[..., House], database_url: str) -> House:
    """Give an installation on SQLite and one on PostgreSQL."""
    return open_house(database_url)

"""The console of an installation, visited as a browser would: with a cookie, an Origin, and the token of its forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import Rejected
from tests.api.conftest import House, house, open_house
from tests.db.driver import Driver
from tests.fixtures.clock import FakeClock

__all__ = ["house", "open_house"]

ORIGIN = {"Origin": "http://testserver"}


@dataclass
class Person:
    """Somebody with a browser; `csrf` is what a form of theirs carries."""

    client: TestClient
    csrf: str = ""

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(f"/console{path}", headers=headers)

    def post(self, path: str, **fields: Any) -> Response:  # noqa: ANN401
        return self.client.post(f"/console{path}", data={"csrf": self.csrf, **fields}, headers=ORIGIN)

    def log_in(self, key: str, **fields: str) -> Response:
        return self.client.post("/console/login", data={"key": key, **fields}, headers=ORIGIN)


@dataclass
class Console:
    """An installation with whoever is to look at it."""

    house: House
    driver: Driver

    def add_failed(self, **changes: Any) -> Job:  # noqa: ANN401
        """Insert a job that the provider refuses: nothing is charged, and a new charge can be agreed to at once."""
        (job_id,) = self.driver.add_many(1, **changes)
        row = next(row for row in self.driver.claim(slots={"*": 1000}) if row.job.id == job_id)
        self.driver.report(row, Rejected("1214", "bad size"))
        return self.driver.get(job_id)

    def stranger(self) -> Person:
        return Person(TestClient(self.house.api, raise_server_exceptions=False, follow_redirects=False))

    def person(self, role: str = "operator", owner: str = "local", *, key: str | None = None) -> Person:
        person = self.stranger()
        answer = person.log_in(key or self.house.key(role, owner))
        assert answer.status_code == 303, answer.text
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', person.get("/").text)
        assert found is not None
        person.csrf = found[1]
        return person


@pytest.fixture
def console(house: House) -> Console:
    """Give the console of an installation on SQLite."""
    clock = FakeClock(house.app.clock.now())
    return Console(house, Driver(replace(house.app.database, clock=clock), clock))


@pytest.fixture
def each_console(open_house: Callable[..., House], database_url: str) -> Console:
    """Give one on SQLite and one on PostgreSQL."""
    house = open_house(database_url)
    return Console(house, Driver(house.app.database, FakeClock(house.app.clock.now())))

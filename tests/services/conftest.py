"""Fixtures of the lane tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from tests.fixtures.postgres import PostgresServer
from tests.services.bench import Bench, open_bench
from tests.services.desk import Desk, open_desk


@pytest.fixture
def lane_desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    """Give a desk on either database."""
    with start(SandboxOptions(seed=3, speed=50.0)) as sandbox, open_desk(sandbox, tmp_path, database_url) as desk:
        yield desk


@pytest.fixture(scope="session")
def shared_provider() -> Iterator[RunningSandbox]:
    """Give one simulated provider for the run; each test makes it forget."""
    with start(SandboxOptions(seed=3)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def bench_postgres(postgres_server: PostgresServer, postgres_template: str) -> str:
    """Give one migrated PostgreSQL database for the run: emptying it takes a tenth of the time of a fresh clone."""
    postgres_server.execute(f"CREATE DATABASE shared_by_benches TEMPLATE {postgres_template}")
    return postgres_server.url("shared_by_benches")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, shared_provider: RunningSandbox) -> Iterator[Bench]:
    """Give a bench on either database."""
    name = "bench_postgres" if request.param == "postgresql" else None
    url = request.getfixturevalue(name) if name else request.getfixturevalue("sqlite_url_factory")()
    with open_bench(shared_provider, tmp_path, url) as bench:
        yield bench


@pytest.fixture
def sqlite_bench(tmp_path: Path, sqlite_url_factory: object, shared_provider: RunningSandbox) -> Iterator[Bench]:
    """Give a bench on SQLite, where the database is not what is proven."""
    assert callable(sqlite_url_factory)
    with open_bench(shared_provider, tmp_path, sqlite_url_factory()) as bench:
        yield bench

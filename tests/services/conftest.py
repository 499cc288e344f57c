"""Fixtures of the lane tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator.db.engine import parse_url
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from tests.db.conftest import MovableEngine
from tests.fixtures.postgres import PostgresServer
from tests.services.bench import Bench, empty, open_bench
from tests.services.desk import Desk, open_desk


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


@pytest.fixture(scope="session")
def bench_engine() -> Iterator[Callable[[str], Engine]]:
    """Give a function that leads one engine of each sort to a database."""
    engines: dict[str, MovableEngine] = {}

    def move(url: str) -> Engine:
        sort = parse_url(url).get_backend_name()
        engines.setdefault(sort, MovableEngine(url))
        return engines[sort].move(url)

    yield move
    for movable in engines.values():
        movable.engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def emptied_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a database of either sort, with the newest schema and nothing in it."""
    if request.param == "sqlite":
        fresh: str = request.getfixturevalue("sqlite_url_factory")()
        return fresh
    shared: str = request.getfixturevalue("bench_postgres")
    empty(shared)
    return shared


@pytest.fixture
def lane_desk(tmp_path: Path, emptied_url: str) -> Iterator[Desk]:
    """Give a desk on either database."""
    with start(SandboxOptions(seed=3, speed=50.0)) as sandbox, open_desk(sandbox, tmp_path, emptied_url) as desk:
        yield desk


@pytest.fixture
def bench(
    tmp_path: Path, emptied_url: str, shared_provider: RunningSandbox, bench_engine: Callable[[str], Engine]
) -> Iterator[Bench]:
    """Give a bench on either database."""
    with open_bench(shared_provider, tmp_path, emptied_url, move=bench_engine) as bench:
        yield bench


@pytest.fixture
def sqlite_bench(
    tmp_path: Path,
    sqlite_url_factory: Callable[..., str],
    shared_provider: RunningSandbox,
    bench_engine: Callable[[str], Engine],
) -> Iterator[Bench]:
    """Give a bench on SQLite, where the database is not what is proven."""
    with open_bench(shared_provider, tmp_path, sqlite_url_factory(), move=bench_engine) as bench:
        yield bench

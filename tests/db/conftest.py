"""A database of each sort, and a driver that leads jobs through their states as the lanes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Dialect, Engine, delete, event
from sqlalchemy.engine import make_url

from orchestrator.db.engine import Database, make_engine, parse_url
from orchestrator.db.tables import Base
from tests.db.driver import Driver
from tests.fixtures.clock import FakeClock
from tests.fixtures.postgres import PostgresServer


class MovableEngine:
    """An engine that can be led to another database: what it compiled for one test serves the next."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = make_engine(url)
        self._url = make_url(url)
        event.listen(self.engine, "do_connect", self._connect)

    def move(self, url: str) -> Engine:
        """Close what is open and return the engine, which connects to `url` from now on."""
        self.engine.dispose()
        self._url = parse_url(url)
        return self.engine

    def _connect(self, dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        positional, named = dialect.create_connect_args(self._url)
        arguments[:] = positional
        options.update(named)


@pytest.fixture(scope="session")
def move_engine() -> Iterator[Callable[[str], Engine]]:
    """Give a function that returns an engine for a URL, one for each sort of database."""
    engines: dict[str, MovableEngine] = {}

    def move(url: str) -> Engine:
        sort = parse_url(url).get_backend_name()
        engines.setdefault(sort, MovableEngine(url))
        return engines[sort].move(url)

    yield move
    for movable in engines.values():
        movable.engine.dispose()


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: PostgresServer, postgres_template: str) -> str:
    """Give one migrated PostgreSQL database for the run: emptying it takes a tenth of the time of a fresh clone."""
    postgres_server.execute(f"CREATE DATABASE shared_by_db_tests TEMPLATE {postgres_template}")
    return postgres_server.url("shared_by_db_tests")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Run the test once per database; whoever changes the schema takes a fresh one of `database_url_factory`.

    A table that was emptied keeps its pages, and a planner goes by them: what is marked `plans` takes a fresh one too.
    """
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url_factory")()
    elif request.node.get_closest_marker("plans"):
        url = request.getfixturevalue("postgres_url_factory")()
    else:
        url = request.getfixturevalue("shared_postgres")
    return url


@pytest.fixture
def database(database_url: str, clock: FakeClock, move_engine: Callable[[str], Engine]) -> Iterator[Database]:
    """Give that database, empty, its time the test's clock."""
    database = Database(move_engine(database_url), clock)
    if not database.is_sqlite:
        with database.begin_write() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(delete(table))
    yield database
    database.close()


@pytest.fixture
def driver(database: Database, clock: FakeClock) -> Driver:
    """Give the driver of that database."""
    return Driver(database, clock)

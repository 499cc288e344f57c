"""A database of each sort, and a driver that leads jobs through their states as the lanes do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.db.engine import Database, open_database
from tests.db.driver import Driver
from tests.fixtures.clock import FakeClock


@pytest.fixture
def database(database_url: str, clock: FakeClock) -> Iterator[Database]:
    """Give a fresh database whose time is the test's clock."""
    database = open_database(database_url, clock=clock, asks_server_time=False)
    yield database
    database.close()


@pytest.fixture
def driver(database: Database, clock: FakeClock) -> Driver:
    """Give the driver of that database."""
    return Driver(database, clock)

"""Watching says when nobody works, whenever that begins, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.cli.absence import ABSENCE, Absence
from orchestrator.config import load_settings
from orchestrator.db import sweeps
from orchestrator.db.engine import Database, open_database
from orchestrator.wiring import App, make_app
from tests.factories import make_batch
from tests.fixtures.clock import FakeClock

CLOCK_STEP = timedelta(seconds=10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock, sqlite_url_factory: Callable[..., str]) -> Iterator[App]:
    settings = load_settings({"data_dir": tmp_path / "data", "database_url": sqlite_url_factory()})
    database: Database = open_database(settings.database, clock=clock)
    yield make_app(settings, clock, database)
    database.close()


def work(app: App) -> None:
    """Sweep once, as whoever works does twice a minute."""
    database = app.jobs._database
    database.write(lambda c: sweeps.claim(c, "batches", lease=timedelta(seconds=30), database=database))


def test_absence_is_said_once_whenever_it_begins(
    app: App, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has ever worked; then somebody does; then he dies while we watch."""
    batch = make_batch()
    absence = Absence(app, batch)
    absence.look()
    absence.look()
    clock.advance(CLOCK_STEP)
    absence.look()
    said = capsys.readouterr().err
    assert said.count("nobody has worked here yet") == 1
    assert re.search(rf"Run it with: orchestrator batches run {batch.id}", said)
    work(app)
    clock.advance(CLOCK_STEP)
    absence.look()
    assert capsys.readouterr().err == ""
    clock.advance(ABSENCE)
    absence.look()
    clock.advance(CLOCK_STEP)
    absence.look()
    assert capsys.readouterr().err.count("nobody has worked since") == 1

"""Several processes on one SQLite file, and processes killed while they write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from random import Random

import sqlalchemy
from sqlalchemy import text

from orchestrator.clock import SystemClock
from orchestrator.db.engine import open_database
from orchestrator.domain.errors import StepError
from tests.crashes.forks import FORKING, SECONDS

KILLS = 15
PROCESSES, WRITES = 8, 8


def write_one(number: int, connection: sqlalchemy.Connection) -> None:
    """Write a row."""
    connection.execute(text("INSERT INTO credentials (name) VALUES (:name)"), {"name": str(number)})


def write_some(url: str, first: int, count: int, told: Connection) -> None:
    """Write rows one by one; tell of each after its commit, or of the error."""
    with closing(open_database(url, clock=SystemClock())) as database:
        for number in range(first, first + count):
            try:
                database.write(partial(write_one, number))
                told.send(str(number))
            except StepError as error:
                told.send(f"refused: {error}")


def hear_all(told: Connection) -> list[str]:
    """Return everything that was told until the other end was closed."""
    heard: list[str] = []
    try:
        while True:
            heard.append(told.recv())
    except EOFError:
        return heard


def names(url: str) -> set[str]:
    """Return the rows of a file that is whole."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {str(name) for (name,) in connection.execute("SELECT name FROM credentials")}


def test_no_acknowledged_row_is_missing_after_kills(sqlite_url_factory: Callable[[], str]) -> None:
    """C13: whoever was told that it is written finds it, and the file is whole after every kill."""
    url, rng, acknowledged = sqlite_url_factory(), Random(13), set[str]()
    for number in range(KILLS):
        hearing, telling = FORKING.Pipe(duplex=False)
        process = FORKING.Process(target=write_some, args=(url, number * 1_000_000, 1_000_000, telling))
        process.start()
        telling.close()
        acknowledged |= {hearing.recv() for _ in range(rng.randint(1, 12))}
        process.kill()
        process.join(SECONDS)
        acknowledged |= set(hear_all(hearing))
        assert acknowledged <= names(url)
    assert not [each for each in acknowledged if each.startswith("refused")]


def test_eight_processes_write_in_turn(sqlite_url_factory: Callable[[], str]) -> None:
    """C12: no "database is locked" reaches anybody."""
    url = sqlite_url_factory()
    pairs = [FORKING.Pipe(duplex=False) for _ in range(PROCESSES)]
    processes = [
        FORKING.Process(target=write_some, args=(url, number * 1000, WRITES, telling))
        for number, (_, telling) in enumerate(pairs)
    ]
    for process, (_, telling) in zip(processes, pairs, strict=True):
        process.start()
        telling.close()
    heard = [each for hearing, _ in pairs for each in hear_all(hearing)]
    for process in processes:
        process.join(SECONDS)
    assert len(heard) == PROCESSES * WRITES
    assert set(heard) <= names(url)

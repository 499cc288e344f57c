"""Engines and transactions. Every transaction of the project begins here, and no database exception leaves.

PostgreSQL runs READ COMMITTED; SQLite takes its write lock at BEGIN (IMMEDIATE): a deferred one fails in a race.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random, SystemRandom
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from orchestrator.db.types import Utc, dump_json
from orchestrator.domain.errors import ConfigError, Permanent, StepError, Transient
from orchestrator.domain.ports import Clock
from orchestrator.domain.ports.webhooks import Render

T = TypeVar("T")

TRIES = 5  # whole transactions, on serialization failure or deadlock (fault C3)
FIRST_WAIT_SECONDS = 0.02  # doubles, with jitter: two that collided should not collide again
BUSY_SECONDS = 10  # how long SQLite waits for another process's write lock
WAL_RETRY_SECONDS = 0.01  # another's first transaction on a new file takes a few of these
POOL_SIZE = 10  # one connection per lane thread and a few for the API; more would only queue in the server
POOL_WAIT_SECONDS = 10
REPEATABLE = frozenset({"40001", "40P01"})  # serialization failure, deadlock: certainly rolled back
QUERY_CANCELED = "57014"
UNAVAILABLE = frozenset(
    {"08", "53", "55", "57", "58"}
)  # SQLSTATE classes: connection, resources, lock, operator, system
SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
SQLITE_LOWER = "unicode_lower"
"""A function of ours on SQLite connections: its own lower() knows ASCII only."""
_BEGIN = "sqlite_begin"
_TURN = "sqlite_turn"


def open_database(url: str, *, clock: Clock, asks_server_time: bool = True, render: Render | None = None) -> Database:
    """Return the database at `url`; nothing is connected yet. Raises ConfigError.

    `asks_server_time=False` (tests) makes `clock` rule on PostgreSQL too.
    """
    return Database(make_engine(url), clock, asks_server_time=asks_server_time, render=render)


def parse_url(url: str) -> URL:
    """Return the URL with the driver we use. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("DATABASE_URL", "not a database URL; sqlite:///PATH or postgresql://...") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError("DATABASE_URL", f"{backend} is not supported; sqlite:///PATH or postgresql://...")


def make_engine(url: str, *, has_foreign_keys: bool = True) -> Engine:
    """Return an engine for `url`; nothing is connected yet. Raises ConfigError.

    `has_foreign_keys=False` is for migrations on SQLite, which rebuild tables.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _make_sqlite(parsed, has_foreign_keys=has_foreign_keys)
    return _make_postgresql(parsed)


def _make_sqlite(url: URL, *, has_foreign_keys: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        json_serializer=dump_json,
        pool_size=POOL_SIZE,
        pool_timeout=POOL_WAIT_SECONDS,
    )

    engine.update_execution_options(**{_TURN: threading.Lock()})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if has_foreign_keys else 'OFF'}")
        connection.create_function(SQLITE_LOWER, 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. On a new file several may try at once, and SQLite's own patience does not cover it."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(WAL_RETRY_SECONDS)


def _make_postgresql(url: URL) -> Engine:
    connect = {
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "tcp_user_timeout": 30_000,  # milliseconds: a server that went away without a word is noticed
        "prepare_threshold": None,  # no session state: works behind a pooler in transaction mode (fault C16)
        "application_name": "orchestrator",
    }
    try:
        return create_engine(
            url,
            connect_args=connect,
            isolation_level="READ COMMITTED",
            json_serializer=dump_json,
            pool_pre_ping=True,
            pool_size=POOL_SIZE,
            pool_timeout=POOL_WAIT_SECONDS,
        )
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            "DATABASE_URL", "PostgreSQL needs the extra: pip install 'media-orchestrator[postgres]'"
        ) from error


@dataclass(frozen=True)
class Database:
    """An engine, a clock, and the way to run transactions on them.

    `asks_server_time` is for processes on the system's clock: on PostgreSQL the server's clock then rules, the same
    for every host. Tests inject their clock instead.
    """

    engine: Engine
    clock: Clock
    asks_server_time: bool = False
    rng: Random = field(default_factory=SystemRandom)
    wait: Callable[[float], None] = time.sleep
    render: Render | None = None
    """Writes the bodies of webhook events. Without it (tools that change no state) there are none."""

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """True on SQLite."""
        return self.engine.dialect.name == "sqlite"

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one writing transaction, whole, again if the database says it lost a race (C3).

        Raises Transient("database_unavailable") when it did not happen, or may have: read before doing it again.
        """
        for attempt in range(1, TRIES + 1):
            try:
                with self.begin_write() as connection:
                    return work(connection)
            except _LostRace as error:
                if attempt == TRIES:
                    raise Transient("database_unavailable", f"lost {TRIES} races in a row: {error}") from error
                self.wait(FIRST_WAIT_SECONDS * 2**attempt * self.rng.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one reading transaction."""
        with self.begin_read() as connection:
            return work(connection)

    @contextmanager
    def begin_write(self) -> Iterator[Connection]:
        """Open a writing transaction that commits when the block ends well."""
        with translated(), writing(self.engine) as connection:
            yield connection

    @contextmanager
    def begin_read(self) -> Iterator[Connection]:
        """Open a reading transaction; on SQLite one snapshot throughout."""
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    def now(self, connection: Connection) -> datetime:
        """Return the time that this transaction writes. Call it once the transaction holds its locks."""
        if self.asks_server_time and not self.is_sqlite:
            return connection.execute(select(func.clock_timestamp(type_=Utc()))).scalar_one()
        return self.clock.now()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that means to write; on SQLite it holds the write lock from its first moment."""
    options = {_BEGIN: "BEGIN IMMEDIATE"} if engine.dialect.name == "sqlite" else {}
    with _own_turn(engine), engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


@contextmanager
def _own_turn(engine: Engine) -> Iterator[None]:
    """On SQLite let this process's threads write one after the other.

    Its own way to wait for the lock is to sleep and look again, up to 0.1 s a time: with all lanes of a process on one
    file somebody's slot stood empty meanwhile. Other processes are still waited for in its way.
    """
    turn: threading.Lock | None = engine.get_execution_options().get(_TURN)
    if turn is None:
        yield
        return
    if not turn.acquire(timeout=BUSY_SECONDS):
        raise Transient("database_unavailable", f"the file was locked by this process for {BUSY_SECONDS} s")
    try:
        yield
    finally:
        turn.release()


def _lower(text: str | float | None) -> str | float | None:
    return text.lower() if isinstance(text, str) else text


class StatementTimeout(Transient):
    """A statement was stopped by the time it was given, or by an operator."""


class _LostRace(Transient):
    """Serialization failure or deadlock: the transaction is certainly rolled back."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn every database exception into a StepError of ours."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _translate(error) from error


def _translate(error: SQLAlchemyError) -> StepError:
    if not isinstance(error, DBAPIError):
        if type(error).__name__ == "TimeoutError":
            return Transient("database_unavailable", "no free database connection in time")
        return Permanent("database_refused", f"{type(error).__name__}: {error}")
    words = " ".join(str(error.orig).split())
    state = getattr(error.orig, "sqlstate", None)
    if state in REPEATABLE:
        return _LostRace("database_unavailable", words)
    if state == QUERY_CANCELED:
        return StatementTimeout("database_unavailable", words)
    if error.connection_invalidated or _is_unavailable(error.orig, state):
        return Transient("database_unavailable", words)
    return Permanent("database_refused", words)


def _is_unavailable(cause: BaseException | None, state: str | None) -> bool:
    """True for what passes by itself or by an operator's hand: no connection, locked, full, out of memory."""
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in SQLITE_UNAVAILABLE
    if state is None:  # psycopg's own word, without an answer of the server: the connection is at fault
        return type(cause).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
    return state[:2] in UNAVAILABLE

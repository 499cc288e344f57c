"""Transactions, times and errors: what every other module takes for granted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.db import engine as engine_module
from orchestrator.db.engine import TRIES, Database, make_engine, open_database, parse_url, translated
from orchestrator.db.types import clean_text, dump_json, format_utc
from orchestrator.domain.errors import ConfigError, Permanent, StepError, Transient
from tests.db.driver import Driver
from tests.factories import make_new_job
from tests.fixtures.clock import START, FakeClock


class FakeDriverError(Exception):
    """A driver's error with the SQLSTATE that the server gave."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(f"state {sqlstate}")
        self.sqlstate = sqlstate


def fail_with(sqlstate: str) -> DBAPIError:
    """Return what SQLAlchemy raises for a driver's error."""
    return DBAPIError("SELECT 1", {}, FakeDriverError(sqlstate))


class TestTime:
    """UTC through one type; the injected clock rules in tests, the server's in production."""

    @pytest.mark.parametrize(
        "moment",
        [
            START,
            START + timedelta(microseconds=1),
            datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ],
    )
    def test_a_time_comes_back_to_the_microsecond_in_utc(self, driver: Driver, moment: datetime) -> None:
        job = make_new_job(not_before=moment)
        driver.clock._now = min(START, moment.astimezone(UTC))
        driver.add(job)
        due = driver.get(job.id).due_at
        assert due == moment
        assert due is not None
        assert due.utcoffset() == timedelta(0)

    def test_text_sorts_like_time(self) -> None:
        """SQLite compares text: the width must not depend on the microseconds."""
        moments = [START + timedelta(microseconds=n) for n in (0, 1, 10, 999_999, 1_000_000)]
        texts = [format_utc(moment) for moment in moments]
        assert texts == sorted(texts)
        assert len({len(t) for t in texts}) == 1

    def test_a_naive_time_is_refused(self) -> None:
        with pytest.raises(ValueError, match="zone"):
            format_utc(datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake itself

    def test_the_server_is_asked_where_it_should_be(self, database_url: str, clock: FakeClock) -> None:
        """A22: on PostgreSQL every host then goes by one clock, however wrong its own; SQLite has only ours."""
        database = open_database(database_url, clock=clock, asks_server_time=True)
        with database.begin_write() as connection:
            first, second = database.now(connection), database.now(connection)
        if database.is_sqlite:
            assert first == START
        else:
            assert second > first > datetime(2020, 1, 1, tzinfo=UTC)
            assert first.utcoffset() == timedelta(0)
        database.close()

    def test_the_injected_clock_rules_in_tests(self, database: Database) -> None:
        with database.begin_read() as connection:
            assert database.now(connection) == START


class TestRetries:
    """C3: serialization failures and deadlocks are certain rollbacks; the whole transaction runs again."""

    def waits_of(self, database: Database) -> tuple[Database, list[float]]:
        waits: list[float] = []
        return Database(database.engine, database.clock, wait=waits.append), waits

    @pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
    def test_a_lost_race_is_run_again_whole(self, database: Database, sqlstate: str) -> None:
        patient, waits = self.waits_of(database)
        seen: list[int] = []

        def work(connection: Connection) -> int:
            connection.execute(text("INSERT INTO credentials (name) VALUES ('once')"))
            seen.append(len(seen))
            if len(seen) < 3:
                raise fail_with(sqlstate)
            return 42

        assert patient.write(work) == 42
        assert (len(seen), len(waits)) == (3, 2)
        with database.begin_read() as connection:
            assert connection.execute(text("SELECT count(*) FROM credentials")).scalar_one() == 1

    def test_it_gives_up_after_five(self, database: Database) -> None:
        patient, waits = self.waits_of(database)

        def work(connection: Connection) -> None:
            raise fail_with("40001")

        with pytest.raises(Transient, match="database_unavailable"):
            patient.write(work)
        assert len(waits) == TRIES - 1
        assert waits == sorted(waits)

    def test_nothing_else_is_run_again(self, database: Database) -> None:
        """A lost connection may have committed: only the caller can know (C2)."""
        patient, waits = self.waits_of(database)

        def work(connection: Connection) -> None:
            raise fail_with("08006")

        with pytest.raises(Transient):
            patient.write(work)
        assert waits == []

    def test_a_real_deadlock_is_survived(self, postgres_url_factory: object, clock: FakeClock) -> None:
        """Two crossed updates: the server ends one, and both are done in the end."""
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier
        from typing import cast

        url = cast("Callable[[], str]", postgres_url_factory)()
        database = open_database(url, clock=clock)
        with database.begin_write() as connection:
            connection.execute(text("INSERT INTO credentials (name) VALUES ('a'), ('b')"))
        barrier = Barrier(2)

        def cross(names: tuple[str, str]) -> int:
            tries = 0

            def work(connection: Connection) -> None:
                nonlocal tries
                tries += 1
                take = text("UPDATE credentials SET submit_pause_code = :code WHERE name = :name")
                connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
                connection.execute(take, {"code": str(names), "name": names[0]})
                if tries == 1:
                    barrier.wait(timeout=60)
                connection.execute(take, {"code": str(names), "name": names[1]})

            database.write(work)
            return tries

        with ThreadPoolExecutor(2) as pool:
            tries = list(pool.map(cross, [("a", "b"), ("b", "a")]))
        assert sorted(tries) == [1, 2]
        database.close()


class TestErrors:
    """No exception of the database or its library leaves."""

    @pytest.mark.parametrize(
        ("sqlstate", "kind"),
        [
            ("08006", Transient),  # connection failure
            ("57P01", Transient),  # the server is shutting down
            ("53100", Transient),  # disk full
            ("53300", Transient),  # too many connections
            ("55P03", Transient),  # lock timeout
            ("58030", Transient),  # I/O error
            ("23505", Permanent),  # a constraint: a bug of ours
            ("42P01", Permanent),  # no such table: a bug of ours
            ("22021", Permanent),  # text that cannot be stored
        ],
    )
    def test_server_errors(self, sqlstate: str, kind: type[StepError]) -> None:
        with pytest.raises(kind), translated():
            raise fail_with(sqlstate)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (sqlite3.SQLITE_BUSY, Transient),
            (sqlite3.SQLITE_FULL, Transient),
            (sqlite3.SQLITE_IOERR_FSYNC, Transient),
            (sqlite3.SQLITE_READONLY, Transient),
            (sqlite3.SQLITE_CANTOPEN, Transient),
            (sqlite3.SQLITE_CONSTRAINT_CHECK, Permanent),
            (sqlite3.SQLITE_ERROR, Permanent),
        ],
    )
    def test_sqlite_errors(self, code: int, kind: type[StepError]) -> None:
        cause = sqlite3.OperationalError("words")
        cause.sqlite_errorcode = code
        with pytest.raises(kind), translated():
            raise DBAPIError("SELECT 1", {}, cause)

    def test_every_class_of_the_library_is_translated(self) -> None:
        """Walks the exception tree, so that a new class cannot slip through."""
        classes, seen = [SQLAlchemyError], 0
        while classes:
            found = classes.pop()
            classes += found.__subclasses__()
            error = found.__new__(found)
            Exception.__init__(error, "words")
            error.__dict__.update(orig=None, connection_invalidated=False, statement=None, params=None, detail=[])
            with pytest.raises(StepError), translated():
                raise error
            seen += 1
        assert seen > 30

    def test_a_full_pool_is_transient(self) -> None:
        """C17: bounded wait, then a word."""
        with pytest.raises(Transient), translated():
            raise PoolTimeout

    def test_a_server_that_is_away_is_transient(self, tmp_path: Path, clock: FakeClock) -> None:
        for url in (f"sqlite:///{tmp_path}/no/such/folder/x.db", "postgresql://x@127.0.0.1:1/none"):
            database = open_database(url, clock=clock)
            with pytest.raises(Transient, match="database_unavailable"):
                database.read(lambda c: c.execute(text("SELECT 1")))
            database.close()

    def test_a_locked_file_is_transient_after_a_wait(
        self, sqlite_url_factory: object, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from typing import cast

        monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.05)
        url = cast("Callable[[], str]", sqlite_url_factory)()
        database, others = open_database(url, clock=clock), open_database(url, clock=clock)
        for holder in (database, others):  # a thread of this process, and as another process would
            with holder.begin_write(), pytest.raises(Transient, match="locked"), database.begin_write():
                pass
            holder.write(lambda c: c.execute(text("SELECT 1")))
        database.close()
        others.close()

    def test_our_own_errors_pass(self, database: Database) -> None:
        with pytest.raises(ConfigError), database.begin_write():
            raise ConfigError("X", "y")


class TestUrls:
    """DATABASE_URL in the words people use."""

    @pytest.mark.parametrize("url", ["postgresql://a@b/c", "postgres://a@b/c", "postgresql+psycopg://a@b/c"])
    def test_postgresql_means_psycopg(self, url: str) -> None:
        assert parse_url(url).drivername == "postgresql+psycopg"

    @pytest.mark.parametrize("url", ["mysql://a@b/c", "nonsense", ""])
    def test_others_are_refused_by_name(self, url: str) -> None:
        with pytest.raises(ConfigError, match="DATABASE_URL"):
            parse_url(url)

    def test_a_password_never_shows(self) -> None:
        assert "secret" not in repr(make_engine("postgresql://a:secret@b/c"))


def test_sqlite_survives_a_power_cut_and_keeps_references(sqlite_url_factory: object, clock: FakeClock) -> None:
    """C14: synchronous=FULL in WAL mode; foreign keys are on."""
    from typing import cast

    database = open_database(cast("Callable[[], str]", sqlite_url_factory)(), clock=clock)
    with database.begin_read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()


def test_threads_of_a_process_write_in_turn(sqlite_url_factory: Callable[[], str], clock: FakeClock) -> None:
    """None is sent away to look again later, as SQLite itself would: here with no patience at all."""
    database = open_database(sqlite_url_factory(), clock=clock)

    @event.listens_for(database.engine, "connect")
    def have_no_patience(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=0")

    database.write(lambda c: c.exec_driver_sql("CREATE TABLE tally (n INTEGER)"))

    def write_often(_: int) -> None:
        for _ in range(50):
            database.write(lambda c: c.exec_driver_sql("INSERT INTO tally VALUES (1)"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_often, range(4)))
    assert database.read(lambda c: c.exec_driver_sql("SELECT sum(n) FROM tally").scalar_one()) == 200
    database.close()


def test_postgresql_transactions_are_read_committed(database: Database) -> None:
    """Whatever the server's default: the claim counts on seeing what others committed."""
    if not database.is_sqlite:
        with database.begin_write() as connection:
            level = connection.execute(text("SHOW transaction_isolation")).scalar_one()
        assert level == "read committed"


def test_text_of_others_is_cleaned() -> None:
    """NUL and lone surrogates become U+FFFD; a written-out escape in the text stays as it is."""
    assert clean_text("a\0b\ud800c\U0001f600") == "a\ufffdb\ufffdc\U0001f600"
    assert dump_json({"a\0": ["\udfff", "\\u0000"]}) == '{"a\\ufffd":["\\ufffd","\\\\u0000"]}'
    assert dump_json({"smile": "\U0001f600"}) == '{"smile":"\\ud83d\\ude00"}'

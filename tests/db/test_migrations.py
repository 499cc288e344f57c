"""The schema: empty to newest, back and forth, equal to the models, and refused when it does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, Engine, MetaData, event, inspect, select, text
from sqlalchemy.engine import make_url

from orchestrator.db import migrate, search
from orchestrator.db.engine import make_engine, open_database
from orchestrator.db.migrate import Fit
from orchestrator.db.rows import JOBS
from orchestrator.db.tables import Base, OutputRow
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.query import parse_query
from orchestrator.domain.states import State
from tests.db.driver import Driver
from tests.factories import make_new_job
from tests.fixtures.clock import FakeClock
from tests.fixtures.postgres import PostgresServer

BEFORE_SEARCH = "0005_add_webhooks"
BEFORE_AT_RISK = "0008_add_access"
Factory = Callable[..., str]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Open a connection whose work is committed."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def describe(url: str) -> dict[str, object]:
    """Return everything that the database says of its tables but alembic's own."""
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'")
            )
            return {row.name: in_any_order(row.sql) for row in rows}
        inspector = inspect(connection)
        constraints = connection.execute(
            text(
                "SELECT conrelid::regclass::text || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'"
            )
        )
        indexes = connection.execute(
            text(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'alem%'"
            )
        )
        columns = {
            table: [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)]
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }
        named = {row[0]: row[1] for rows in (constraints, indexes) for row in rows}
        return {**named, **columns}


def in_any_order(sql: str) -> list[str]:
    """SQLite keeps the words of a statement: an altered table is quoted, and its new constraints stand elsewhere."""
    words = re.sub(r"\s+", " ", sql).replace('"', "").strip()
    head, _, rest = words.partition("(")
    parts, depth = [""], 0
    for sign in rest.rstrip(") ") if head.startswith("CREATE TABLE") else rest:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [head.strip(), *sorted(part.strip().rstrip(")") for part in parts)]


def test_an_empty_database_becomes_the_newest(database_url_factory: Factory) -> None:
    """The first start of anybody."""
    url = database_url_factory(migrated=False)
    assert migrate.current(url) is None
    assert migrate.check(url).fit is Fit.EMPTY
    migrate.upgrade(url)
    assert migrate.current(url) == migrate.newest()
    assert migrate.find_problem(url) is None
    migrate.upgrade(url)


def test_the_models_are_what_the_migrations_make(database_url_factory: Factory) -> None:
    """To the letter: types, names, checks, partial indexes, comments; but for the table of words, unlike on both."""
    migrated, created = database_url_factory(), database_url_factory(migrated=False)
    with connected(created) as connection:
        Base.metadata.create_all(connection)
    modelled = {name: what for name, what in describe(migrated).items() if search.OUTSIDE_MODELS not in name}
    assert modelled == describe(created)


def test_every_step_goes_down_and_up_again(database_url_factory: Factory) -> None:
    """The stairway: no revision leaves anything behind."""
    url = database_url_factory(migrated=False)
    migrate.upgrade(url)
    newest = describe(url)
    migrate.downgrade(url, "base")
    assert describe(url) == {}
    migrate.upgrade(url)
    assert describe(url) == newest


def test_rows_in_every_state_survive_an_upgrade(driver: Driver, database_url: str) -> None:
    """Upgrading a database in use loses and changes nothing."""
    driver.add_held()
    driver.add_processing("t1")
    driver.add_archiving(task_id="t2")
    driver.add_succeeded(task_id="t3")
    fill_final_states(driver)
    driver.add_many(1)
    driver.claim(slots={"*": 9})
    driver.add_many(1)
    before = driver.rows(JOBS)
    assert {row["state"] for row in before} == set(State)
    migrate.upgrade(database_url)
    assert driver.rows(JOBS) == before
    assert migrate.find_problem(database_url) is None


def fill_final_states(driver: Driver) -> None:
    """Add a failed and a cancelled job."""
    from orchestrator.domain.decide import decide_cancel
    from orchestrator.domain.outcomes import ProviderFailed

    (job_id,) = driver.add_many(1)
    driver.jobs.transact(job_id, decide_cancel, actor="ann", reason="")
    driver.finish_poll(driver.add_processing("t4").id, ProviderFailed(None, "no"))


def test_two_upgrades_at_once_take_turns(database_url_factory: Factory) -> None:
    """Two hosts are started together: neither fails and the schema is made once."""
    for _ in range(3):
        url = database_url_factory(migrated=False)
        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(migrate.upgrade, url) for _ in range(6)]:
                done.result()
        assert migrate.find_problem(url) is None


class PulledPlugError(BaseException):
    """The process has ended in the middle of a statement."""


@pytest.mark.parametrize("statement", [5, 40, 120])
def test_an_upgrade_that_was_cut_off_is_gone_on_with(database_url_factory: Factory, statement: int) -> None:
    """C15: what was half done is undone or kept whole, and the next upgrade ends in the same schema."""
    whole, cut = database_url_factory(migrated=False), database_url_factory(migrated=False)
    count = 0

    def pull_plug(*_arguments: object) -> None:
        nonlocal count
        count += 1
        if count == statement:
            raise PulledPlugError

    event.listen(Engine, "before_cursor_execute", pull_plug)
    try:
        with pytest.raises(PulledPlugError):
            migrate.upgrade(cut)
    finally:
        event.remove(Engine, "before_cursor_execute", pull_plug)
    migrate.upgrade(cut)
    migrate.upgrade(whole)
    assert migrate.find_problem(cut) is None
    assert describe(cut) == describe(whole)


@pytest.mark.parametrize(
    ("revision", "fit", "words"),
    [
        ("9999_add_future", Fit.NEWER, "newer version"),
        ("0000_abandoned", Fit.UNKNOWN, "does not know"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(
    database_url_factory: Factory, clock: FakeClock, revision: str, fit: Fit, words: str
) -> None:
    """C15: a process never works on a schema it was not written for."""
    url = database_url_factory()
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    assert migrate.check(url).fit is fit
    database = open_database(url, clock=clock)
    with pytest.raises(ConfigError, match=words):
        migrate.require_current(database)
    database.close()


def test_an_empty_schema_is_refused_with_the_remedy(database_url_factory: Factory, clock: FakeClock) -> None:
    """The message names the command that helps."""
    database = open_database(database_url_factory(migrated=False), clock=clock)
    with pytest.raises(ConfigError, match="orchestrator db upgrade"):
        migrate.require_current(database)
    database.close()


def test_a_current_schema_is_accepted(database_url: str, clock: FakeClock) -> None:
    """The usual start."""
    database = open_database(database_url, clock=clock)
    migrate.require_current(database)
    database.close()


def test_drifted_tables_are_told(database_url_factory: Factory) -> None:
    """Somebody's hand-made change is found and named."""
    url = database_url_factory()
    with connected(url) as connection:
        connection.execute(text("DROP INDEX ix_jobs_poll_lane"))
    verdict = migrate.check(url)
    assert verdict.fit is Fit.DRIFTED
    assert "ix_jobs_poll_lane" in (verdict.problem or "")


def test_every_constraint_and_column_speaks() -> None:
    """Constraints have names, columns have comments: both are read by people with psql."""
    metadata: MetaData = Base.metadata
    for table in metadata.tables.values():
        assert table.comment
        assert all(column.comment for column in table.columns), table.name
        assert all(constraint.name for constraint in table.constraints), table.name


def test_batches_of_the_first_schema_are_kept(database_url_factory: Factory) -> None:
    """An upgrade with jobs in flight: what is there stays, the new columns say nothing of it."""
    url = database_url_factory(migrated=False)
    migrate.upgrade(url, "0001_create_first_tables")
    with connected(url) as connection:
        connection.execute(
            text(
                "INSERT INTO batches (id, owner, name, identity_sha256, environment, archive_url, line_count, created_at,"
                " generation) VALUES ('batch_1', 'local', 'a.jsonl', 'x', 'sandbox', 'file:///a', 1,"
                " '2026-11-01T00:00:00.000000Z', 1)"
            )
        )
        connection.commit()
    migrate.upgrade(url)
    with connected(url) as connection:
        row = connection.execute(text("SELECT * FROM batches")).mappings().one()
    assert (row["id"], row["refused_count"], row["max_cost_micros"], row["parent_id"]) == ("batch_1", 0, None, None)


def test_a_history_from_before_can_be_searched(database_url_factory: Factory, clock: FakeClock) -> None:
    """The upgrade enters the prompts and tags of every job that is there, page by page."""
    url = database_url_factory()
    prompts = ["A \u00c4ther", "the sea", "a zeppelin"]
    with closing(open_database(url, clock=clock)) as database:
        driver = Driver(database, clock)
        jobs = [make_new_job(input={"prompt": prompt}, tags={"n": prompt, "x": "y"}) for prompt in prompts]
        driver.add(*jobs, make_new_job(input={}))
    migrate.downgrade(url, BEFORE_SEARCH)
    migrate.upgrade(url)
    with closing(open_database(url, clock=clock)) as database:
        driver = Driver(database, clock)
        for query in ("\u00e4ther", 'tag:n="A \u00c4ther"', "-sea -zeppelin tag:x"):
            found = driver.history.list_jobs(parse_query(query, now=clock.now()))
            assert [job.id for job in found.jobs] == [jobs[0].id], query


@pytest.mark.postgres
def test_without_the_extension_words_are_found_slowly_and_check_says_so(
    postgres_server: PostgresServer, postgres_url_factory: Factory, clock: FakeClock
) -> None:
    """A managed server may refuse it: nothing stops, and the next upgrade after it is there makes the index."""
    url = postgres_url_factory()
    with connected(url) as connection:
        assert search.find_problem(connection) is None
        connection.execute(text("DROP EXTENSION pg_trgm CASCADE"))
    role = f"plain_{url.rpartition('/')[2].partition('?')[0]}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    with connected(url) as connection:
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text(f"GRANT ALL ON SCHEMA public TO {role}"))
    plain = str(make_url(url).set(username=role))
    migrate.upgrade(plain)
    assert migrate.find_problem(plain) is None
    assert "CREATE EXTENSION pg_trgm" in (migrate.find_search_problem(plain) or "")
    with closing(open_database(plain, clock=clock)) as database:
        driver = Driver(database, clock)
        driver.add(held := make_new_job(input={"prompt": "a zeppelin"}), make_new_job())
        found = driver.history.list_jobs(parse_query("ZEPPELIN", now=clock.now()))
        assert [job.id for job in found.jobs] == [held.id]
    migrate.upgrade(url)
    assert migrate.find_search_problem(url) is None


def test_outputs_in_flight_are_told_of_after_an_upgrade(database_url_factory: Factory) -> None:
    """What was announced before the column was there has half of its link's life all the same; the archived has none."""
    url = database_url_factory(migrated=False)
    migrate.upgrade(url, BEFORE_AT_RISK)
    job = (
        "INSERT INTO jobs (id, kind, model, state, owner, fair_key, credential, tags, priority, input, body, body_sha256,"
        " archive_url, archive_class, created_at, waiting_on_count, submission_count, poll_count, attempt_count,"
        " ask_count, death_count, sequence, due_at) VALUES ('job_1', 'video', 'm', 'archiving', 'local', 'f', 'default',"
        " '{}', 5, '{}', '{}', 'x', 'file:///a', 'video', :at, 0, 1, 0, 0, 0, 0, 1, :at)"
    )
    output = (
        "INSERT INTO outputs (id, job_id, index, role, source_expires_at, is_expiry_assumed, attempt_count, ask_count,"
        " dead_links, notes, created_at, lost_at) VALUES (:id, 'job_1', :index, 'video', '2026-11-02T00:00:00.000000Z',"
        " false, 0, 0, '[]', '[]', :at, :lost)"
    ).replace(" index,", ' "index",')
    at = "2026-11-01T00:00:00.000000Z"
    with connected(url) as connection:
        connection.execute(text(job), {"at": at})
        for index, lost in enumerate((None, at)):
            connection.execute(text(output), {"id": f"out_{index}", "index": index, "at": at, "lost": lost})
        connection.commit()
    migrate.upgrade(url)
    with connected(url) as connection:
        halves = connection.execute(select(OutputRow.at_risk_at).order_by(OutputRow.id)).scalars().all()
    assert halves == [datetime(2026, 11, 1, 12, tzinfo=UTC), None]

"""The schema's revisions: bring a database to the newest, say where it stands, refuse one that does not fit.

Migrations lie in the wheel as orchestrator/_migrations and in a checkout as migrations/. A revision is its file's stem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from orchestrator.db import search
from orchestrator.db.engine import Database, make_engine, translated, writing
from orchestrator.db.tables import Base
from orchestrator.domain.errors import ConfigError

UPGRADE_LOCK = 7_246_331_905  # any number that is ours: PostgreSQL's advisory locks share one space per database
LOCK_TIMEOUT = "10s"  # a migration that waits for a table lock stops everything behind it


class Fit(Enum):
    """How a database's schema stands to this version of the program."""

    CURRENT = "current"
    EMPTY = "empty"
    OLDER = "older"
    NEWER = "newer"
    UNKNOWN = "unknown"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class SchemaVerdict:
    """The fit, the revision found, and what differs when the tables are not what the revision says."""

    fit: Fit
    revision: str | None
    differences: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """What is wrong in words, None when nothing is."""
        found = f"the schema is at {self.revision}"
        match self.fit:
            case Fit.CURRENT:
                return None
            case Fit.EMPTY:
                return "the database has no schema: run `orchestrator db upgrade`"
            case Fit.OLDER:
                return f"{found}, older than {newest()}: run `orchestrator db upgrade`"
            case Fit.NEWER:
                return f"{found}, newer than {newest()}: use a newer version of the program"
            case Fit.UNKNOWN:
                return f"{found}, which this version does not know; it knows {newest()}"
            case Fit.DRIFTED:
                return f"the tables are not what {self.revision} made: {'; '.join(self.differences)}"


def newest() -> str:
    """Return the revision that this version needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; two that do it at once take turns. Raises ConfigError, Transient."""
    _run(url, lambda config: command.upgrade(config, revision), then=search.ensure_index)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`, or to `base`."""
    _run(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """Return the revision that the database is at, None when it has no schema."""
    with _reading(url) as connection:
        return _find_revision(connection)


def check(url: str) -> SchemaVerdict:
    """Compare the database with what this version needs, its tables included."""
    with _reading(url) as connection:
        verdict = _judge(_find_revision(connection))
        if verdict.fit is not Fit.CURRENT:
            return verdict
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_modelled})
        differences = tuple(_describe(change) for change in compare_metadata(context, Base.metadata))
        return SchemaVerdict(Fit.DRIFTED, verdict.revision, differences) if differences else verdict


def find_problem(url: str) -> str | None:
    """Return what is wrong with the schema in words, None when nothing is."""
    return check(url).problem


def find_search_problem(url: str) -> str | None:
    """Return in words why looking for words in the history is slow, None when it is not or when there is no history."""
    with _reading(url) as connection:
        return search.find_problem(connection) if _judge(_find_revision(connection)).fit is Fit.CURRENT else None


def require_current(database: Database) -> None:
    """Raise ConfigError unless the schema is exactly the one that this version needs."""
    with database.begin_read() as connection:
        problem = _judge(_find_revision(connection)).problem
    if problem is not None:
        raise ConfigError("DATABASE_URL", problem)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_find_migrations()).replace("%", "%%"))
    return config


def _find_migrations() -> Path:
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError("the migrations are missing from this installation")


def _run(url: str, act: Callable[[Config], None], *, then: Callable[[Connection], None] | None = None) -> None:
    """Run Alembic in one transaction of ours, alone: all of it happens or nothing does."""
    engine = make_engine(url, has_foreign_keys=False)
    try:
        with translated(), writing(engine) as connection:
            if connection.dialect.name != "sqlite":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            config = _config()
            config.attributes["connection"] = connection
            act(config)
            if then is not None:
                then(connection)
    finally:
        engine.dispose()


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    engine = make_engine(url)
    try:
        with translated(), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _find_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _judge(revision: str | None) -> SchemaVerdict:
    if revision is None:
        return SchemaVerdict(Fit.EMPTY, None)
    if revision == newest():
        return SchemaVerdict(Fit.CURRENT, revision)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision in known:
        return SchemaVerdict(Fit.OLDER, revision)
    is_newer = revision[:4].isdigit() and revision[:4] > newest()[:4]
    return SchemaVerdict(Fit.NEWER if is_newer else Fit.UNKNOWN, revision)


def _is_modelled(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or not (name or "").startswith(search.OUTSIDE_MODELS)


def _describe(change: object) -> str:
    """Return one difference in words: Alembic gives tuples, or lists of them for the columns of one table."""
    if isinstance(change, list):
        return ", ".join(_describe(part) for part in change)
    if isinstance(change, tuple):
        return " ".join(str(getattr(part, "name", part)) for part in change if part is not None)
    return str(change)

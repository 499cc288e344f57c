"""The schema, for commands."""

from __future__ import annotations

from orchestrator.config import Settings
from orchestrator.db import migrate
from orchestrator.wiring.app import App


def newest_schema() -> str:
    """Return the revision that this version needs."""
    return migrate.newest()


def current_schema(settings: Settings) -> str | None:
    """Return the revision that the database is at; None when it has no schema."""
    return migrate.current(settings.database)


def upgrade_database(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema up to date; return the revisions before and after."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    before = migrate.current(settings.database)
    migrate.upgrade(settings.database)
    return before, migrate.newest()


def require_current_schema(app: App) -> None:
    """Raise ConfigError unless the schema is the one that this version needs, Transient when nobody can say."""
    migrate.require_current(app.database)


def check_database(settings: Settings) -> str | None:
    """Return what is wrong with the schema in words, None when nothing is."""
    return migrate.find_problem(settings.database)


def check_search(settings: Settings) -> str | None:
    """Return in words why looking for words in prompts is slow, None when it is not."""
    return migrate.find_search_problem(settings.database)

"""What commands that work with the fleet share: its settings, Celery when it is there, and waking the workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.ports import Clock, Wakeup

BROKER_URL = "ORCHESTRATOR_BROKER_URL"


def require_broker(settings: Settings) -> str:
    """Return the broker's URL; raise ConfigError where a fleet cannot work with these settings."""
    if settings.broker_url is None:
        raise ConfigError(BROKER_URL, "needed for workers, such as redis://localhost:6379/0")
    if settings.database.startswith("sqlite"):
        raise ConfigError(
            "ORCHESTRATOR_DATABASE_URL", "workers need PostgreSQL: a SQLite file serves the processes of one host only"
        )
    return settings.broker_url


def load_celery() -> ModuleType:
    """Return orchestrator.celery_app; Celery is an extra that one process alone does not need."""
    try:
        from orchestrator import celery_app
    except ModuleNotFoundError as error:
        raise ConfigError(BROKER_URL, "install Celery with: pip install 'media-orchestrator[fleet]'") from error
    return celery_app


@contextmanager
def waking(broker_url: str, *, clock: Clock) -> Iterator[Wakeup]:
    """Give what wakes the workers, to a process that runs no lanes itself. Best effort: they look by themselves."""
    celery_app = load_celery()
    with celery_app.fleet_wakeup(celery_app.make_celery(broker_url), clock=clock) as wakeup:
        yield wakeup

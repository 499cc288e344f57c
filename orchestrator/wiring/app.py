"""What every command works with, made from the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from random import Random, SystemRandom

from orchestrator.clock import SystemClock
from orchestrator.config import Settings
from orchestrator.db import migrate
from orchestrator.db.access import SqlAuditLog, SqlKeys
from orchestrator.db.audit import SqlAudit
from orchestrator.db.batch_cancels import SqlBatchCancels
from orchestrator.db.batch_reports import SqlBatchReports
from orchestrator.db.batches import SqlBatches
from orchestrator.db.bulk import SqlBulkJobs
from orchestrator.db.endpoints import SqlEndpoints
from orchestrator.db.engine import Database, open_database
from orchestrator.db.figures import SqlFigures
from orchestrator.db.history import SqlHistory
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.models import SqlModels
from orchestrator.db.overview import SqlOverview
from orchestrator.db.papers import SqlPapers
from orchestrator.db.progress import SqlProgress
from orchestrator.db.restoring import SqlRestores
from orchestrator.db.retention import SqlRetention
from orchestrator.db.single_intake import SqlSingleIntakes
from orchestrator.db.unarchived import SqlUnarchived
from orchestrator.db.uploads import SqlUploads
from orchestrator.db.usage import SqlUsage
from orchestrator.domain.errors import NotFound
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Clock, Stores
from orchestrator.domain.retry import Rules
from orchestrator.services.lanes.context import Delivering
from orchestrator.services.models import ModelDesk
from orchestrator.services.webhook_bodies import EventBodies
from orchestrator.services.webhooks import EndpointDesk
from orchestrator.wiring.limits import kinds_by_name, make_rules, make_submit_limits, slots_per_model
from orchestrator.wiring.storing import make_stores
from orchestrator.wiring.webhooks import make_delivering


@dataclass(frozen=True)
class App:
    """What every command works with: the job table, the archives, the kinds."""

    settings: Settings
    clock: Clock
    rng: Random
    database: Database
    jobs: SqlJobs
    batches: SqlBatches
    reports: SqlBatchReports
    cancels: SqlBatchCancels
    bulk: SqlBulkJobs
    history: SqlHistory
    usage: SqlUsage
    models: SqlModels
    progress: SqlProgress
    restores: SqlRestores
    retention: SqlRetention
    audit: SqlAudit
    keys: SqlKeys
    audit_log: SqlAuditLog
    single_intakes: SqlSingleIntakes
    uploads: SqlUploads
    unarchived: SqlUnarchived
    papers: SqlPapers
    figures: SqlFigures
    overview: SqlOverview
    stores: Stores
    kinds: Mapping[str, Kind]
    endpoints: SqlEndpoints
    open_delivering: Callable[[], Delivering]

    @property
    def delivering(self) -> Delivering:
        """What the deliver lane works with; made on first use, since most commands send nothing."""
        return self.open_delivering()

    @property
    def endpoint_desk(self) -> EndpointDesk:
        """What looks after webhook endpoints."""
        tools = self.delivering
        return EndpointDesk(self.endpoints, tools.send, tools.open_secrets, self.clock, self.rng)

    @property
    def rules(self) -> Rules:
        """Every number that decisions need. Raises ConfigError when a setting names no kind."""
        return make_rules(self.kinds, self.settings)


@contextmanager
def open_app(settings: Settings, *, may_migrate: bool = False) -> Iterator[App]:
    """Open the database and the archives. The embedded runner migrates its own file; others refuse a wrong schema."""
    clock = SystemClock()
    is_own_file = settings.database_url is None
    if may_migrate and settings.database.startswith("sqlite"):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        migrate.upgrade(settings.database)
    elif is_own_file and not settings.database_file.exists():
        raise NotFound(f"there are no jobs in {settings.data_dir} yet", hint=_hint_at_jobs(settings))
    with closing(open_database(settings.database, clock=clock)) as database:
        migrate.require_current(database)
        yield make_app(settings, clock, database)


def _hint_at_jobs(settings: Settings) -> str:
    """A newcomer's first jobs are the simulator's: those have a data directory of their own."""
    sandbox = settings.model_copy(update={"data_dir": settings.data_dir / "sandbox"})
    if sandbox.database_file.exists():
        return f"those of `run --sandbox` are there: --data-dir {sandbox.data_dir}"
    return "--data-dir names another place"


def make_app(settings: Settings, clock: Clock, database: Database, *, rng: Random | None = None) -> App:
    """Return the app over an open database; `rng` is the system's unless a run is to be repeated."""
    rng = rng or SystemRandom()
    kinds = kinds_by_name()
    database = replace(database, render=EventBodies(kinds))
    return App(
        settings=settings,
        clock=clock,
        rng=rng,
        database=database,
        jobs=SqlJobs(database, rng=rng),
        batches=SqlBatches(database, rng=rng),
        reports=SqlBatchReports(database),
        cancels=SqlBatchCancels(database, rng=rng),
        bulk=SqlBulkJobs(database, rng=rng),
        history=SqlHistory(database),
        usage=SqlUsage(database),
        models=SqlModels(database),
        progress=SqlProgress(database, make_submit_limits(settings)),
        restores=SqlRestores(replace(database, rng=rng)),
        retention=SqlRetention(database, rng=rng),
        audit=SqlAudit(database),
        keys=SqlKeys(database, rng=rng),
        audit_log=SqlAuditLog(database, rng=rng),
        single_intakes=SqlSingleIntakes(database, rng=rng),
        uploads=SqlUploads(database, rng=rng),
        unarchived=SqlUnarchived(database),
        papers=SqlPapers(replace(database, rng=rng)),
        figures=SqlFigures(database),
        overview=SqlOverview(database),
        stores=make_stores(settings),
        kinds=kinds,
        endpoints=SqlEndpoints(database, rng=rng),
        open_delivering=cache(lambda: make_delivering(settings, clock, rng, database)),
    )


def make_model_desk(app: App) -> ModelDesk:
    """Return what models are looked at and steered with."""
    return ModelDesk(
        models=app.models,
        kinds=app.kinds,
        slots=slots_per_model(app.kinds, app.settings.limits),
        is_slot_held_until_final=app.settings.slot_rule == "until_final",
    )

"""The composition root: settings in, services out. The only place that knows every adapter."""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from random import Random, SystemRandom

from orchestrator import http
from orchestrator.clock import SystemClock
from orchestrator.config import Settings
from orchestrator.db import migrate
from orchestrator.db.access import SqlAuditLog, SqlKeys
from orchestrator.db.audit import SqlAudit
from orchestrator.db.batch_cancels import SqlBatchCancels
from orchestrator.db.batch_reports import SqlBatchReports
from orchestrator.db.batches import SqlBatches
from orchestrator.db.bulk import SqlBulkJobs
from orchestrator.db.deliveries import SqlDeliveries
from orchestrator.db.endpoints import SqlEndpoints
from orchestrator.db.engine import Database, open_database
from orchestrator.db.figures import SqlFigures
from orchestrator.db.history import SqlHistory
from orchestrator.db.jobs import SqlJobs
from orchestrator.db.models import SqlModels
from orchestrator.db.overview import SqlOverview
from orchestrator.db.progress import SqlProgress, SubmitLimits
from orchestrator.db.restoring import SqlRestores
from orchestrator.db.single_intake import SqlSingleIntakes
from orchestrator.db.uploads import SqlUploads
from orchestrator.db.usage import SqlUsage
from orchestrator.domain import codes
from orchestrator.domain.advice import Catalogue
from orchestrator.domain.audit import Violation
from orchestrator.domain.errors import ConfigError, NotFound, Permanent, RequestError
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Clock, Stores, Wakeup
from orchestrator.domain.ports.audit import Audit, Ledger
from orchestrator.domain.retry import PollSchedule, Rules
from orchestrator.egress import EgressGuard, GuardedFetch, GuardedPost
from orchestrator.egress import advice as egress_advice
from orchestrator.journal import FileJournal, JournalFolder
from orchestrator.journal import entries as journal_entries
from orchestrator.services.batch_files import Clerk
from orchestrator.services.doctor import Look, Patient, Place
from orchestrator.services.doctor.archive import Archives
from orchestrator.services.jobfile import codes as fault_codes
from orchestrator.services.jobfile.fields import Judge
from orchestrator.services.lanes.context import Delivering, LaneContext, LaneLimits
from orchestrator.services.models import ModelDesk
from orchestrator.services.webhook_bodies import EventBodies
from orchestrator.services.webhooks import EndpointDesk
from orchestrator.storage import StoreOptions, StoreSet
from orchestrator.storage import advice as storage_advice
from orchestrator.webhooks import SecretBox, WebhookSender, read_or_make_key
from orchestrator.webhooks import advice as webhook_advice
from orchestrator.zai import advice as zai_advice
from orchestrator.zai.client import ZaiProvider
from orchestrator.zai.codes import CONTENT_CODES, LANDED_CODES, OVERLOAD_CODES
from orchestrator.zai.kinds import load_kinds

DISTRIBUTION = "media-orchestrator"
UNLISTED_SLOTS = 1  # zai-api.md 13: 1302 at low use; a new account may have a concurrency of 1

OUTPUTS_STORED_PER_JOB = 2


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
    audit: SqlAudit
    keys: SqlKeys
    audit_log: SqlAuditLog
    single_intakes: SqlSingleIntakes
    uploads: SqlUploads
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
        return _make_rules(self.kinds, self.settings)


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
        yield _make_app(settings, clock, database)


def _hint_at_jobs(settings: Settings) -> str:
    """A newcomer's first jobs are the simulator's: those have a data directory of their own."""
    sandbox = settings.model_copy(update={"data_dir": settings.data_dir / "sandbox"})
    if sandbox.database_file.exists():
        return f"those of `run --sandbox` are there: --data-dir {sandbox.data_dir}"
    return "--data-dir names another place"


def _make_app(settings: Settings, clock: Clock, database: Database) -> App:
    rng = SystemRandom()
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
        progress=SqlProgress(database, _make_submit_limits(settings)),
        restores=SqlRestores(replace(database, rng=rng)),
        audit=SqlAudit(database),
        keys=SqlKeys(database, rng=rng),
        audit_log=SqlAuditLog(database, rng=rng),
        single_intakes=SqlSingleIntakes(database, rng=rng),
        uploads=SqlUploads(database, rng=rng),
        figures=SqlFigures(database),
        overview=SqlOverview(database),
        stores=_make_stores(settings),
        kinds=kinds,
        endpoints=SqlEndpoints(database, rng=rng),
        open_delivering=cache(lambda: _make_delivering(settings, clock, rng, database)),
    )


def _make_delivering(settings: Settings, clock: Clock, rng: Random, database: Database) -> Delivering:
    return Delivering(
        deliveries=SqlDeliveries(database, rng=rng),
        send=make_sender(settings),
        open_secrets=cache(lambda: make_secret_box(settings)),
        clock=clock,
        rng=rng,
        limits=_make_deliver_limits(settings),
    )


def _make_deliver_limits(settings: Settings) -> LaneLimits:
    plain = LaneLimits()
    return replace(plain, deliver_lease=settings.leases.get("deliver", plain.deliver_lease))


def _make_stores(settings: Settings) -> StoreSet:
    options = StoreOptions(
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        use_instance_role=settings.s3_use_instance_role,
        ca_bundle=settings.ca_bundle,
        max_connections=storing_threads({**LaneLimits().archive_windows, **settings.archive_concurrency}),
    )
    return StoreSet(options)


def host_name() -> str:
    """Return what this host is called in the names of processes and of its sweeps."""
    return socket.gethostname()


@contextmanager
def open_lanes(
    app: App, wakeup: Wakeup, *, batch_id: str | None = None, total_slots: int | None = None
) -> Iterator[LaneContext]:
    """Open what the lanes need beside the app: the provider, the guarded fetch, this process's journal."""
    settings = app.settings
    process = f"{host_name()}-{secrets.token_hex(8)}"
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    limits = _make_limits(app.kinds, settings, total_slots)
    with (
        closing(FileJournal(settings.journal_dir, process)) as journal,
        ThreadPoolExecutor(storing_threads(limits.archive_windows), thread_name_prefix="storing") as storing,
    ):
        yield LaneContext(
            jobs=app.jobs,
            batches=app.batches,
            reports=app.reports,
            provider=_make_provider(app),
            stores=app.stores,
            fetch=GuardedFetch(allow=settings.egress_allow, ca_bundle=settings.ca_bundle),
            journal=journal,
            clock=app.clock,
            wakeup=wakeup,
            rules=app.rules,
            rng=app.rng,
            storing=storing,
            spool=settings.spool_dir,
            archive_url=settings.archive,
            limits=limits,
            tool_version=importlib.metadata.version(DISTRIBUTION),
            delivering=replace(app.delivering, process=process),
            batch_id=batch_id,
        )


def make_clerk(app: App) -> Clerk:
    """Return what the files of batches are written with."""
    return Clerk(
        reports=app.reports,
        stores=app.stores,
        clock=app.clock,
        kinds=app.kinds,
        spool=app.settings.spool_dir,
        tool_version=importlib.metadata.version(DISTRIBUTION),
    )


def make_sender(settings: Settings) -> WebhookSender:
    """Return what sends events to endpoints; to be closed on the event loop that sent."""
    post = GuardedPost(allow=settings.egress_allow, ca_bundle=settings.ca_bundle)
    return WebhookSender(post, version=importlib.metadata.version(DISTRIBUTION))


def webhook_judge(settings: Settings) -> Judge:
    """Return the guard's look at a webhook's URL. It raises RequestError, and ConfigError where nothing could be signed."""
    open_sender = cache(lambda: make_sender(settings))

    def judge(url: str) -> None:
        _require_secret_key(settings)
        open_sender().check(url)

    return judge


def make_link_judge(settings: Settings) -> Judge:
    """Return the guard's look at an input's link: spelling, port and literal address. It raises RequestError."""
    guard = EgressGuard(settings.egress_allow)

    def judge(url: str) -> None:
        try:
            guard.check(url)
        except Permanent as refused:
            hint = "name the file instead; an operator may list hosts in ORCHESTRATOR_EGRESS_ALLOW"
            raise RequestError(refused.message, hint=hint) from refused

    return judge


def make_secret_box(settings: Settings) -> SecretBox:
    """Return what seals the secrets of endpoints. Raises ConfigError as `read_secret_key`."""
    return SecretBox(read_secret_key(settings))


def read_secret_key(settings: Settings) -> str:
    """Return the installation's key. On the data directory's own SQLite one is made on first need.

    Raises ConfigError naming the setting when there is none: processes that share a server's job table must share it.
    """
    _require_secret_key(settings)
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().strip()
    return read_or_make_key(settings.secret_key_file)


def _require_secret_key(settings: Settings) -> None:
    if settings.secret_key is None and not settings.database.startswith("sqlite"):
        raise ConfigError(
            "ORCHESTRATOR_SECRET_KEY",
            "needed for webhooks and API keys: every process on this database works with it; `openssl rand -base64 32` makes one",
        )


def make_model_desk(app: App) -> ModelDesk:
    """Return what models are looked at and steered with."""
    return ModelDesk(
        models=app.models,
        kinds=app.kinds,
        slots=slots_per_model(app.kinds, app.settings.limits),
        is_slot_held_until_final=app.settings.slot_rule == "until_final",
    )


def storing_threads(archive_windows: Mapping[str, int]) -> int:
    """Return how many outputs are stored at once: a video has its cover beside it."""
    return OUTPUTS_STORED_PER_JOB * sum(archive_windows.values())


def ask_provider(app: App, ask: Callable[[ZaiProvider], Awaitable[None]]) -> None:
    """Put one question to the provider and leave. Raises what `ask` raises, and ConfigError without a key."""

    async def work() -> None:
        provider = _make_provider(app)
        try:
            await ask(provider)
        finally:
            await provider.close()

    asyncio.run(work())


def _make_provider(app: App) -> ZaiProvider:
    settings = app.settings
    if settings.zai_api_key is None:
        raise ConfigError(
            "ORCHESTRATOR_ZAI_API_KEY", "needed to call the Z.ai API; or try --sandbox, which needs no key"
        )

    async def read_input(archive_url: str, key: str) -> bytes:
        store = app.stores.open(archive_url)
        return await asyncio.to_thread(lambda: b"".join(store.read_chunks(key)))

    return ZaiProvider(
        base_url=settings.zai_base_url,
        api_key=settings.zai_api_key.get_secret_value(),
        paid=http.paid_client(proxy=settings.http_proxy, ca_bundle=settings.ca_bundle),
        poll=http.poll_client(proxy=settings.http_proxy, ca_bundle=settings.ca_bundle),
        clock=app.clock,
        read_input=read_input,
        call_deadlines=settings.call_deadlines,
        link_lives=settings.link_life,
    )


def _make_rules(kinds: Mapping[str, Kind], settings: Settings) -> Rules:
    margin = settings.leases.get("submit", LaneLimits().submit_margin)
    deadlines = {name: settings.call_deadlines.get(name, kind.call_deadline) for name, kind in kinds.items()}
    return Rules(
        schedules=poll_schedules(kinds, settings),
        overload_codes=OVERLOAD_CODES,
        content_codes=CONTENT_CODES,
        landed_codes=LANDED_CODES,
        resubmit_waits={name: deadline + margin + deadline for name, deadline in deadlines.items()},  # lease + deadline
    )


def poll_schedules(kinds: Mapping[str, Kind], settings: Settings) -> dict[str, PollSchedule]:
    """Return each kind's poll schedule, the settings' bounds over its own."""
    schedules = {name: kind.schedule for name, kind in kinds.items()}
    for name, (shortest, longest) in settings.poll_intervals.items():
        _check_kind(name, kinds, "ORCHESTRATOR_POLL_INTERVALS")
        first = timedelta(seconds=shortest)
        schedules[name] = PollSchedule(first=first, shortest=first, longest=timedelta(seconds=longest))
    return schedules


def _make_limits(kinds: Mapping[str, Kind], settings: Settings, total_slots: int | None) -> LaneLimits:
    for name in (*settings.call_deadlines, *settings.assumed_task_life, *settings.link_life):
        _check_kind(name, kinds, "ORCHESTRATOR_CALL_DEADLINES, _ASSUMED_TASK_LIFE, _LINK_LIFE")
    plain, leases = LaneLimits(), settings.leases
    return LaneLimits(
        archive_windows={**plain.archive_windows, **settings.archive_concurrency},
        submit_margin=leases.get("submit", plain.submit_margin),
        poll_lease=leases.get("poll", plain.poll_lease),
        poll_questions=http.POLL_CONNECTIONS,
        archive_lease=leases.get("archive", plain.archive_lease),
        output_max_bytes=settings.output_max_bytes,
        max_unknown_per_hour=settings.max_unknown_per_hour,
        resubmit_max=_resubmit_max(settings),
        total_slots=total_slots,
        is_slot_held_until_final=settings.slot_rule == "until_final",
        call_deadlines=settings.call_deadlines,
        task_lives=settings.assumed_task_life,
        slots=slots_per_model(kinds, settings.limits),
    )


def _make_submit_limits(settings: Settings) -> SubmitLimits:
    return SubmitLimits(
        slots=slots_per_model(kinds_by_name(), settings.limits),
        max_unknown_per_hour=settings.max_unknown_per_hour,
        is_slot_held_until_final=settings.slot_rule == "until_final",
    )


def _resubmit_max(settings: Settings) -> int:
    """Return how often the policy may pay again for one job; 0 unless both settings ask for it."""
    if settings.on_unknown == "resubmit" and settings.resubmit_max == 0:
        raise ConfigError(
            "ORCHESTRATOR_RESUBMIT_MAX", "must be 1 or more for ORCHESTRATOR_ON_UNKNOWN=resubmit to do anything"
        )
    return settings.resubmit_max if settings.on_unknown == "resubmit" else 0


def slots_per_model(kinds: Mapping[str, Kind], limits: Mapping[str, int]) -> dict[str, int]:
    """Return the slots of every model. A `*` in the setting speaks for all models that the setting does not name."""
    if "*" in limits:
        return dict(limits)
    documented = {model.name: model.slots for kind in kinds.values() for model in kind.models.values()}
    return {**documented, **limits, "*": UNLISTED_SLOTS}


def _check_kind(name: str, kinds: Mapping[str, Kind], setting: str) -> None:
    if name not in kinds:
        raise ConfigError(setting, f"{name!r} is no kind; the kinds are {', '.join(sorted(kinds))}")


def kinds_by_name() -> Mapping[str, Kind]:
    """Return every kind that there is; needs no settings."""
    return load_kinds()


# -- the doctor ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Closeness:
    """How closely the doctor looks at archives: the share of objects that is hashed, 0 to 1, and whether all keys are
    looked up or only the newest.
    """

    verified: float = 0.0
    is_whole: bool = False


def make_patient(app: App, *, ledger: Ledger | None = None, closeness: Closeness | None = None) -> Patient:
    """Return what was written, to be examined: job table, archives, journals, ledger. Not this host."""
    return _make_patient(app.settings, app.audit, app.stores, app.clock, ledger, closeness or Closeness())


def make_patient_without_table(settings: Settings, problem: Violation | Look) -> Patient:
    """Return what can still be examined when the job table cannot be opened."""
    stores = _make_stores(settings)
    patient = _make_patient(settings, None, stores, SystemClock(), None, Closeness())
    return replace(patient, problems=(problem,))


def _make_patient(
    settings: Settings,
    audit: Audit | None,
    stores: Stores,
    clock: Clock,
    ledger: Ledger | None,
    closeness: Closeness,
) -> Patient:
    plain = Archives(stores=stores, rng=SystemRandom(), now=clock.now, verified=closeness.verified)
    return Patient(
        audit=audit,
        archives=replace(plain, listed_keys=None) if closeness.is_whole else plain,
        journals=JournalFolder(settings.journal_dir),
        max_unknown_per_hour=settings.max_unknown_per_hour,
        ledger=ledger,
    )


def with_place(patient: Patient, settings: Settings, *, ask_broker: Callable[[], None] | None) -> Patient:
    """Return the patient with this host and its surroundings."""
    place = Place(
        clock=SystemClock(),
        archive_url=settings.archive,
        data_dir=settings.data_dir,
        spool=settings.spool_dir,
        ask_broker=ask_broker,
    )
    return replace(patient, place=place)


@cache
def error_catalogue() -> Catalogue:
    """Return every code that a person can meet, with what happens next and what to do; needs no settings."""
    tables = (
        codes.entries,
        fault_codes.entries,
        zai_advice.entries,
        storage_advice.entries,
        egress_advice.entries,
        webhook_advice.entries,
        journal_entries,
    )
    return Catalogue(entry for table in tables for entry in table())


# -- the schema ----------------------------------------------------------------------------------------------------


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

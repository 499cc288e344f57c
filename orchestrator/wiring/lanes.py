"""What the lanes need beside the app, and one question to the provider."""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace

from orchestrator import http
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.ports import Wakeup
from orchestrator.egress import Bandwidth, GuardedFetch
from orchestrator.journal import FileJournal
from orchestrator.services.batch_files import Clerk
from orchestrator.services.lanes.context import LaneContext
from orchestrator.wiring.app import App
from orchestrator.wiring.limits import make_limits
from orchestrator.wiring.names import DISTRIBUTION, host_name
from orchestrator.wiring.storing import make_thumbnails, storing_threads
from orchestrator.zai.client import ZaiProvider


@contextmanager
def open_lanes(
    app: App, wakeup: Wakeup, *, batch_id: str | None = None, total_slots: int | None = None
) -> Iterator[LaneContext]:
    """Open what the lanes need beside the app: the provider, the guarded fetch, this process's journal."""
    settings = app.settings
    process = f"{host_name()}-{secrets.token_hex(8)}"
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    limits = make_limits(app.kinds, settings, total_slots)
    thumbnails = make_thumbnails(settings)
    with (
        closing(FileJournal(settings.journal_dir, process)) as journal,
        ThreadPoolExecutor(storing_threads(limits.archive_windows), thread_name_prefix="storing") as storing,
        nullcontext() if thumbnails is None else closing(thumbnails),  # before the threads that wait for it
    ):
        yield LaneContext(
            jobs=app.jobs,
            batches=app.batches,
            reports=app.reports,
            retention=app.retention,
            papers=app.papers,
            provider=_make_provider(app),
            stores=app.stores,
            fetch=GuardedFetch(
                allow=settings.egress_allow,
                ca_bundle=settings.ca_bundle,
                bandwidth=Bandwidth(settings.archive_bandwidth),
            ),
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
            thumbnails=thumbnails,
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

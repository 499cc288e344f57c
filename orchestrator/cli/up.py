"""`orchestrator up`: the HTTP API and every lane in one process."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.interrupts import interrupts
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_one
from orchestrator.cli.sandbox import ENVIRONMENT, sandboxed
from orchestrator.cli.serving import LOOPBACK, Serving, listen, load_api, safe_host, url_of
from orchestrator.domain.access import LOCAL, Role
from orchestrator.embedded import EmbeddedLanes, running_lanes
from orchestrator.services.access import create_key, revoke_named
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.sweep import replay_dead_journals, settle_own_unfinished
from orchestrator.wiring import DISTRIBUTION, App, open_app, open_lanes, read_secret_key

KEY_NAME = "up"
"""Of the key that lives as long as the process; one that a killed process left behind is revoked by the next."""


@click.command()
@click.option("--sandbox", is_flag=True, help="Use the simulator in place of the real API.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@common_options
def up(common: CommonOptions, sandbox: bool, host: str, port: int) -> None:
    """Serve the HTTP API and do the work, in one process: nothing else needs to run.

    Prints the address and a fresh administrator's key that is good until this process ends. Ctrl-C: take no more,
    finish the paid calls in flight. Without a key made by `keys create` it listens on loopback only.

    \b
    orchestrator up --sandbox
    """
    settings = common.settings()
    api = load_api()
    with ExitStack() as stack:
        if sandbox:
            settings = stack.enter_context(sandboxed(settings))
        app = stack.enter_context(open_app(settings, may_migrate=True))
        server_key = read_secret_key(settings).encode()
        wakeup = Mailboxes()
        desk = api.Desk(
            app=app,
            server_key=server_key,
            wakeup=wakeup,
            environment=ENVIRONMENT if sandbox else settings.zai_base_url,
            public_url=settings.public_url,
        )
        context = stack.enter_context(open_lanes(app, wakeup))
        replay_dead_journals(context)
        revoke_named(app.keys, KEY_NAME, actor=LOCAL, reason="its process has ended")
        taken = listen(safe_host(app, host), port)
        with running_lanes(context, wakeup, tick_seconds=settings.tick_seconds) as lanes:
            serving = Serving(api.create_app(desk, version=importlib.metadata.version(DISTRIBUTION)), check=lanes.check)
            both = _Both(serving, lanes)
            with interrupts(both) as signals, _key(app, server_key) as key:
                print_one({"url": url_of(taken), "key": key}, common.format_for(one=True))
                sys.stdout.flush()
                serving.run(taken)
            lanes.check()
        if signals.is_aborted:
            settle_own_unfinished(context)
    sys.exit(Exit.OK if not signals.is_aborted else signals.exit_code)


@dataclass(frozen=True)
class _Both:
    """The server and the lanes: a signal is for both."""

    serving: Serving
    lanes: EmbeddedLanes

    def request_stop(self) -> None:
        """Claim nothing more, take nothing more in."""
        self.lanes.request_stop()
        self.serving.request_stop()

    def abort(self) -> None:
        """Give up what is in flight."""
        self.lanes.abort()
        self.serving.abort()


@contextmanager
def _key(app: App, server_key: bytes) -> Iterator[str]:
    """Give a key that is good until the end of the block."""
    _, text = create_key(
        app.keys, name=KEY_NAME, role=Role.ADMIN, owner=LOCAL, server_key=server_key, rng=app.rng, actor=LOCAL
    )
    try:
        yield text
    finally:
        revoke_named(app.keys, KEY_NAME, actor=LOCAL, reason="its process has ended")

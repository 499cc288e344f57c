"""`orchestrator serve`: the HTTP API by itself."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.fleet import require_broker, waking
from orchestrator.cli.interrupts import Notices, interrupts
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.serving import LOOPBACK, Serving, listen, load_api, safe_host, url_of
from orchestrator.config import Settings
from orchestrator.domain.ports import Clock, LaneName, Wakeup
from orchestrator.wiring import DISTRIBUTION, open_app, read_secret_key

NOTICES = Notices("stopping: requests under way are finished first", "cutting the requests under way")


class NobodyToWake:
    """Without a broker the workers, if there are any, look by themselves."""

    def wake(self, lane: LaneName) -> None:
        """Never blocks, never raises."""


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@common_options
def serve(common: CommonOptions, host: str, port: int) -> None:
    """Serve the HTTP API: it takes jobs in and tells of them; workers or `up` do the work.

    Without any key it listens on loopback only. Ctrl-C or SIGTERM: requests under way are finished first.

    \b
    orchestrator keys create studio --role submit
    orchestrator serve --host 0.0.0.0 --port 8000
    """
    settings = common.settings()
    api = load_api()
    with open_app(settings, may_migrate=True) as app, _wakeup(settings, app.clock) as wakeup:
        desk = api.Desk(
            app=app,
            server_key=read_secret_key(settings).encode(),
            wakeup=wakeup,
            environment=settings.zai_base_url,
            public_url=settings.public_url,
        )
        taken = listen(safe_host(app, host), port)
        serving = Serving(api.create_app(desk, version=importlib.metadata.version(DISTRIBUTION)))
        with interrupts(serving, NOTICES) as signals:
            click.echo(f"listening on {url_of(taken)}", err=True)
            serving.run(taken)
    # A stop that was asked for is a server's ordinary end.
    sys.exit(Exit.OK if not signals.is_aborted else signals.exit_code)


@contextmanager
def _wakeup(settings: Settings, clock: Clock) -> Iterator[Wakeup]:
    if settings.broker_url is None:
        yield NobodyToWake()
    else:
        with waking(require_broker(settings), clock=clock) as wakeup:
            yield wakeup

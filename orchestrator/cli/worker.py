"""`orchestrator worker`: a process of the fleet."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.fleet import load_celery, require_broker
from orchestrator.cli.interrupts import interrupts
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.domain.ports import LaneName
from orchestrator.services.lanes.sweep import replay_dead_journals, settle_own_unfinished
from orchestrator.wiring import open_app, open_lanes


class Queues(click.ParamType[tuple[LaneName, ...]]):
    """A comma-separated choice of queues, in their usual order."""

    name = "queues"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[LaneName, ...]:
        """Refuse what is no queue."""
        wanted = {word.strip() for word in str(value).split(",") if word.strip()}
        if not wanted or not wanted <= set(LaneName):
            self.fail(f"{value!r}: the queues are {','.join(LaneName)}", param, ctx)
        return tuple(lane for lane in LaneName if lane in wanted)


@click.command()
@click.option(
    "--queues",
    type=Queues(),
    metavar="LIST",
    default=",".join(LaneName),
    show_default=True,
    help="Which lanes this process serves.",
)
@common_options
def worker(common: CommonOptions, queues: tuple[LaneName, ...]) -> None:
    """Serve lanes of the fleet: one process, one thread a lane; start as many as you like, on as many hosts.

    Jobs come from the database (PostgreSQL), wake-ups from the broker (Redis, Valkey or RabbitMQ). SIGTERM or Ctrl-C:
    claim nothing more, finish the paid calls in flight, give everything else back. A second one gives the calls up:
    their jobs are held for review.

    \b
    ORCHESTRATOR_DATABASE_URL=postgresql://... ORCHESTRATOR_BROKER_URL=redis://... orchestrator worker
    orchestrator worker --queues poll,sweep
    """
    settings = common.settings()
    url = require_broker(settings)
    celery_app = load_celery()
    with ExitStack() as stack:
        app = stack.enter_context(open_app(settings))
        celery = celery_app.make_celery(url)
        wakeup = stack.enter_context(celery_app.fleet_wakeup(celery, clock=app.clock))
        context = stack.enter_context(open_lanes(app, wakeup))
        replay_dead_journals(context)  # a killed worker's answers first: its jobs need not wait for their leases
        tick_seconds = settings.tick_seconds
        with (
            celery_app.lane_worker(celery, context, wakeup, queues, tick_seconds=tick_seconds) as running,
            interrupts(running) as signals,
        ):
            name = context.journal.process
            click.echo(f"worker {name} serves {', '.join(queues)} from {_where(url)}; Ctrl-C stops it", err=True)
            running.run(name=name, queues=queues)
        if signals.is_aborted:
            settle_own_unfinished(context)
    # A stop that was asked for is a worker's ordinary end: supervisors take anything else for a crash.
    sys.exit(Exit.OK if not signals.is_aborted else signals.exit_code)


def _where(url: str) -> str:
    """The broker's address without its password."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"

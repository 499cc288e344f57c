"""`orchestrator webhooks add|list|show|enable|disable|delete|rotate|secret`: who hears what becomes of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click

from orchestrator.cli.noting import note, note_endpoint
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_one, print_rows
from orchestrator.cli.prefix import program
from orchestrator.cli.webhook_place import open_webhooks
from orchestrator.config import Settings, parse_duration
from orchestrator.domain.errors import NotFound
from orchestrator.domain.redact import redact_links
from orchestrator.domain.webhooks import ALL_OF_JOBS, Endpoint
from orchestrator.services.webhook_views import endpoint_object
from orchestrator.services.webhooks import WithSecret, add_endpoint, rotate_secret
from orchestrator.wiring import open_app

COLUMNS = ("id", "status", "scope", "events", "url", "failing_since", "last_success_at")
ENDPOINT = click.argument("endpoint_id", metavar="ID")
BY_HAND = "by hand"
NOTHING = ("0", "0s")


class Duration(click.ParamType[timedelta]):
    """A span such as 90s, 15m, 24h, 7d; 0 is none."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the span."""
        if isinstance(value, timedelta):
            return value
        if str(value) in NOTHING:
            return timedelta(0)
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("url", metavar="URL")
@click.option(
    "--events",
    default=",".join(ALL_OF_JOBS),
    show_default=True,
    metavar="TYPE,...",
    help="What it hears: types of events, or a family such as job.*",
)
@common_options
def add(common: CommonOptions, url: str, events: str) -> None:
    """Add an endpoint that hears of every job. Its secret is shown this once: keep it where the receiver finds it."""
    with open_app(common.settings(), may_migrate=True) as app:
        note(app, "webhook_endpoint.create", redact_links(url), owner=app.endpoint_desk.owner)
        made = add_endpoint(app.endpoint_desk, url, events.split(","))
        _print_with_secret(made, common)
        click.echo(f"try it: {program()} webhooks test {made.endpoint.id}", err=True)


@click.command("list")
@common_options
def list_endpoints(common: CommonOptions) -> None:
    """List the endpoints, those that jobs and batches named among them (scope `named`)."""
    settings = common.settings()
    endpoints, hint = _list_all(settings)
    print_rows(map(endpoint_object, endpoints), COLUMNS, common.format_for(one=False))
    if not endpoints:
        click.echo(f"there are no endpoints in {settings.data_dir} yet: {program()} webhooks add URL", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _list_all(settings: Settings) -> tuple[Sequence[Endpoint], str | None]:
    """Return the endpoints; with a place where nothing has been done yet, where else there may be some."""
    try:
        with open_app(settings) as app:
            return app.endpoints.list_all(), None
    except NotFound as error:
        return (), error.hint


@click.command()
@ENDPOINT
@common_options
def show(common: CommonOptions, endpoint_id: str) -> None:
    """Show one endpoint: what it hears, whether it works, how long its last secret still signs."""
    with open_webhooks(common.settings()) as app:
        print_one(endpoint_object(app.endpoints.get(endpoint_id)), common.format_for(one=True))


@click.command()
@ENDPOINT
@common_options
def enable(common: CommonOptions, endpoint_id: str) -> None:
    """Let an endpoint take events again. What was cancelled stays so; `webhooks resend` sends it after all."""
    with open_webhooks(common.settings()) as app:
        note_endpoint(app, "enable", endpoint_id)
        print_one(endpoint_object(app.endpoints.set_enabled(endpoint_id, reason=None)), common.format_for(one=True))


@click.command()
@ENDPOINT
@click.option("--reason", default=BY_HAND, show_default=True, help="Shown with the endpoint.")
@common_options
def disable(common: CommonOptions, endpoint_id: str, reason: str) -> None:
    """Let an endpoint take no more events: what is queued for it is cancelled within a second."""
    with open_webhooks(common.settings()) as app:
        note_endpoint(app, "disable", endpoint_id, reason=reason)
        disabled = app.endpoints.set_enabled(endpoint_id, reason=reason or BY_HAND)
        print_one(endpoint_object(disabled), common.format_for(one=True))


@click.command()
@ENDPOINT
@common_options
def delete(common: CommonOptions, endpoint_id: str) -> None:
    """Remove an endpoint and its secrets. What is queued for it is cancelled; the log of its deliveries stays."""
    with open_webhooks(common.settings()) as app:
        note_endpoint(app, "delete", endpoint_id)
        app.endpoints.delete(endpoint_id)
        click.echo(f"{endpoint_id}: deleted", err=True)


@click.command()
@ENDPOINT
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long the old secret signs too; 0: no longer.",
)
@common_options
def rotate(common: CommonOptions, endpoint_id: str, overlap: timedelta) -> None:
    """Give an endpoint a new secret, shown this once. Until the overlap is over both sign, so receivers can change."""
    with open_webhooks(common.settings()) as app:
        note_endpoint(app, "rotate", endpoint_id)
        _print_with_secret(rotate_secret(app.endpoint_desk, endpoint_id, overlap=overlap), common)


@click.command()
@common_options
def secret(common: CommonOptions) -> None:
    """Print the project's secret: it signs for endpoints that a job, a batch or a line of a file named."""
    with open_app(common.settings(), may_migrate=True) as app:
        click.echo(app.endpoint_desk.open_secrets().default_secret)


def _print_with_secret(made: WithSecret, common: CommonOptions) -> None:
    print_one({**endpoint_object(made.endpoint), "secret": made.secret}, common.format_for(one=True))
    click.echo("its secret is shown this once", err=True)

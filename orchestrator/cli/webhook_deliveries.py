"""`orchestrator webhooks test|deliveries|resend`: what was sent, what came back, and sending it again."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.fleet import require_broker, waking
from orchestrator.cli.noting import ACTOR, note, note_endpoint
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import next_page, program
from orchestrator.cli.webhook_place import open_webhooks
from orchestrator.clock import SystemClock
from orchestrator.config import parse_duration
from orchestrator.domain.access import EVERYONE, AuditEntry
from orchestrator.domain.deliveries import Disable
from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState, Endpoint
from orchestrator.embedded import deliver_now, deliver_one
from orchestrator.services.webhook_views import delivery_object
from orchestrator.wiring import App

COLUMNS = ("id", "status", "type", "attempt_count", "next_attempt_at", "endpoint_id", "job_id", "last.message")
NOW_AT_MOST = timedelta(seconds=10)  # what is under way then still ends, within its 15 s


class Moment(click.ParamType[datetime]):
    """A time, or how long ago: 2026-11-30T08:00:00Z, 2h, 7d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time in UTC; a span counts back from now."""
        text = str(value)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
        try:
            return SystemClock().now() - parse_duration(text)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no time such as 2026-11-30T08:00:00Z, 2h or 7d", param, ctx)


@click.command()
@click.argument("endpoint_id", metavar="ID")
@common_options
def test(common: CommonOptions, endpoint_id: str) -> None:
    """Send a webhook.test event to an endpoint. Without a broker it is sent here and now, and nothing else that is due;
    exit 3 when it fails.
    """
    with open_webhooks(common.settings()) as app:
        note_endpoint(app, "test", endpoint_id)
        delivery_id = app.endpoints.add_test(endpoint_id)
        is_handed_over = _send_one(app, delivery_id)
        record = app.endpoints.get_delivery(delivery_id)
        print_one(delivery_object(record), common.format_for(one=True))
        _tell_if_disabled(app.endpoints.get(endpoint_id))
    if not is_handed_over and record.state is not DeliveryState.DELIVERED:
        sys.exit(Exit.NOT_ALL_SUCCEEDED)


def _tell_if_disabled(endpoint: Endpoint) -> None:
    """The test itself may have ended what it was to try."""
    if endpoint.disabled_at is not None:
        why = "it answered 410, gone" if endpoint.disabled_reason == Disable.GONE else endpoint.disabled_reason
        back = f"{program()} webhooks enable {endpoint.id}"
        click.echo(inert_line(f"{endpoint.id} is now disabled ({why}); once it is mended: {back}"), err=True)


@click.command()
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Only to this endpoint.")
@click.option("--failed", is_flag=True, help="Only those that were given up or cancelled.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most deliveries shown.")
@click.option("--after", metavar="ID", help="Go on behind this delivery.")
@common_options
def deliveries(common: CommonOptions, endpoint_id: str | None, failed: bool, limit: int, after: str | None) -> None:
    """List deliveries, newest first, with every attempt: status, how long it took, what the receiver answered."""
    states = (DeliveryState.FAILED, DeliveryState.CANCELLED) if failed else ()
    with open_webhooks(common.settings()) as app:
        if endpoint_id is not None:
            app.endpoints.get(endpoint_id)
        found = app.endpoints.list_deliveries(endpoint_id=endpoint_id, states=states, limit=limit + 1, after=after)
        rows = [delivery_object(record) for record in found[:limit]]
        attempts = [record.attempts[-1:] for record in found]
        shown = [
            {**row, "last": {"message": last[0].message if last else None}}
            for row, last in zip(rows, attempts, strict=False)
        ]
        output = common.format_for(one=False)
        print_rows(shown if output in {"table", "csv"} else rows, COLUMNS, output)
        if not found and after is None:
            click.echo(f"there are no {'failed ' if failed else ''}deliveries", err=True)
        if len(found) > limit:
            same = [*(("--endpoint", endpoint_id) if endpoint_id else ()), *(("--failed",) if failed else ())]
            click.echo(f"more: {next_page('webhooks deliveries', found[limit - 1].id, *same)}", err=True)


@click.command()
@click.argument("delivery_id", metavar="DELIVERY", required=False)
@click.option("--failed", is_flag=True, help="Every delivery that was given up or cancelled since --since.")
@click.option("--since", type=Moment(), metavar="T", help="With --failed: a time, or how long ago (2h, 7d).")
@common_options
def resend(common: CommonOptions, delivery_id: str | None, failed: bool, since: datetime | None) -> None:
    """Send a delivery again, or all that failed since a time: the same id and body, a new timestamp and signature.

    Its schedule begins anew. An endpoint that is disabled is to be enabled first. Without a broker one DELIVERY is sent here
    and now, and nothing else; with --failed all that is due is, for ten seconds, and the next run goes on with the rest.
    """
    if (delivery_id is None) == (not failed) or failed != (since is not None):
        raise click.UsageError("name one DELIVERY, or give --failed with --since T")
    with open_webhooks(common.settings()) as app:
        if delivery_id is not None:
            endpoint = app.endpoints.get(app.endpoints.get_delivery(delivery_id).endpoint_id)
            note(app, "webhook_delivery.resend", delivery_id, owner=endpoint.owner)
            app.endpoints.resend(delivery_id)
            _send_one(app, delivery_id)
            print_one(delivery_object(app.endpoints.get_delivery(delivery_id)), common.format_for(one=True))
            count = 1
        else:
            line = AuditEntry(ACTOR, "webhook_delivery.resend", "failed", EVERYONE)
            count = app.endpoints.resend_failed(since=since or app.clock.now(), audit=line)
            if not _wake_workers(app):
                deliver_now(app.delivering, limit=NOW_AT_MOST)
        click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} made due again", err=True)


def _send_one(app: App, delivery_id: str) -> bool:
    """Have one delivery sent: True when that is another process's work, False when it was done here."""
    if _wake_workers(app):
        return True
    if deliver_one(app.delivering, delivery_id):
        return False
    look = f"{program()} webhooks deliveries"
    click.echo(f"another process is sending to this endpoint, and sends it: `{look}` shows what came of it", err=True)
    return True


def _wake_workers(app: App) -> bool:
    """Tell the workers, if there are any to tell."""
    if app.settings.broker_url is None:
        return False
    with waking(require_broker(app.settings), clock=app.clock) as wakeup:
        wakeup.wake(LaneName.DELIVER)
    return True

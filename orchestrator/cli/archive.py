"""`orchestrator archive`: what is not archived yet, and the archive itself."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from orchestrator.cli.archive_lanes import Stopping, open_workshop
from orchestrator.cli.exits import Exit
from orchestrator.cli.interrupts import Notices, interrupts
from orchestrator.cli.options import CommonOptions, common_options, sandbox_options
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import command, pasteable
from orchestrator.cli.retention import retention
from orchestrator.config import parse_duration
from orchestrator.services.archive.at_risk import iter_unarchived, risk_object
from orchestrator.services.archive.sweep import Sweep, sweep_archive
from orchestrator.services.archive.usage import iter_disks, kept_object, show_bytes
from orchestrator.wiring import open_app

COLUMNS = ("job_id", "role", "host", "source_expires_at", "is_assumed", "time_left", "status", "message")
USAGE_COLUMNS = ("archive", "kind", "jobs", "files", "bytes")
NOTICES = Notices("stopping: what is being fetched is given back", "giving up what is under way; it is fetched again")


class Span(click.ParamType[timedelta]):
    """`90s`, `15m`, `72h`, `30d`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return it as a timedelta."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
@common_options
def archive(common: CommonOptions) -> None:
    """See what is not archived yet, fetch it now, prove what is archived, rebuild the job table from it."""


@archive.command("at-risk")
@click.option("--within", type=Span(), help="Only outputs whose links die within this time: 12h, 72h, 7d. [all]")
@sandbox_options
def at_risk(common: CommonOptions, within: timedelta | None) -> None:
    """List outputs that are not archived yet, those whose links die first; exit 3 when there are any.

    is_assumed: the link does not say when it dies, ORCHESTRATOR_LINK_LIFE (or the kind's own figure) does; such an end
    only orders the work, and is never taken as proof of loss.
    """
    with open_app(common.settings()) as app:
        now = app.clock.now()
        found = iter_unarchived(app.unarchived, now=now, within=within)
        rows = [risk_object(each, now=now, kinds=app.kinds) for each in found]
        for row in rows:
            row["message"] = pasteable(str(row["message"]))
        print_rows(rows, COLUMNS, common.format_for(one=False))
    sys.exit(Exit.NOT_ALL_SUCCEEDED if rows else Exit.OK)


@archive.command()
@click.option("--sandbox", is_flag=True, help="Of what `run --sandbox` has made; the simulator runs meanwhile.")
@common_options
def sweep(common: CommonOptions, *, sandbox: bool) -> None:
    """Do now, once, what the archive and sweep lanes do: exit 3 when something is still not archived.

    Waiting times are cut short: every output is fetched that can be, the provider is asked for fresh links in place of
    dead ones, uploads that died half-way are aborted, stale spool files removed. Nothing is paid. Workers may run
    meanwhile; what they hold is left to them. -o json: the counts.
    """
    stopping = Stopping()
    with open_workshop(common.settings(), sandbox=sandbox) as shop, interrupts(stopping, NOTICES) as signals:
        app = shop.app
        if not shop.may_ask:
            tell("no ORCHESTRATOR_ZAI_API_KEY: the provider is not asked for fresh links")
        tally = sweep_archive(Sweep(shop.context, shop.loop, app.unarchived, stopping.stop, shop.may_ask, tell))
        left = sum(1 for _ in iter_unarchived(app.unarchived, now=app.clock.now()))
        counts = {"archived": tally.stored, "failed_tries": tally.failed, "dead_links": tally.dead, "unarchived": left}
        print_one(counts, common.format_for(one=True))
        if left:
            tell(f"{left} outputs are not archived: {command('archive at-risk')}")
    sys.exit(signals.exit_code or (Exit.NOT_ALL_SUCCEEDED if left else Exit.OK))


@archive.command()
@common_options
def usage(common: CommonOptions) -> None:
    """Show what the archive holds by the job table, per kind, and the room on the disks that are used here."""
    settings = common.settings()
    with open_app(settings) as app:
        rows = [kept_object(kept) for kept in app.retention.sum_kept()]
        folders = [("archive", settings.archive_folder), ("data", settings.data_dir), ("spool", settings.spool_dir)]
        disks = list(iter_disks([(what, folder) for what, folder in folders if folder is not None]))
        output = common.format_for(one=False)
        print_rows([*rows, *disks] if output in ("json", "jsonl") else rows, USAGE_COLUMNS, output)
        for disk in disks:
            free, total = show_bytes(int(str(disk["free"]))), show_bytes(int(str(disk["total"])))
            tell(f"{disk['what']}: {free} of {total} free in {disk['path']}")


archive.add_command(retention)


def tell(line: str) -> None:
    """Print one line for people on stderr."""
    click.echo(inert_line(pasteable(line)), err=True)

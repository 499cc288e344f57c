"""`orchestrator archive`: what is not archived yet, and the archive itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta

import click

from orchestrator.cli.archive_lanes import Stopping, Workshop, open_workshop
from orchestrator.cli.archive_thumbnails import thumbnails
from orchestrator.cli.archive_usage import usage
from orchestrator.cli.doctor import Share
from orchestrator.cli.exits import Exit
from orchestrator.cli.interrupts import Notices, interrupts
from orchestrator.cli.options import CommonOptions, common_options, sandbox_options
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import command, pasteable
from orchestrator.cli.retention import retention
from orchestrator.config import parse_duration
from orchestrator.domain.access import LOCAL
from orchestrator.services.archive.at_risk import iter_unarchived, risk_object
from orchestrator.services.archive.mend import Mender, advise
from orchestrator.services.archive.reindex import reindex as rebuild_jobs
from orchestrator.services.archive.sweep import Sweep, Tally, sweep_archive
from orchestrator.services.archive.verify import Checked, JobDrift, Reader, Sample, find_drift
from orchestrator.services.views import Object
from orchestrator.wiring import open_app

COLUMNS = ("job_id", "role", "host", "source_expires_at", "is_assumed", "time_left", "status", "message")
DRIFT_COLUMNS = ("job_id", "output_id", "problem", "is_mended", "message")
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
@click.option("--wait", "must_wait", is_flag=True, help="Stay until no task runs at the provider any more.")
@click.option("--sandbox", is_flag=True, help="Of what `run --sandbox` has made; the simulator runs meanwhile.")
@common_options
def sweep(common: CommonOptions, *, must_wait: bool, sandbox: bool) -> None:
    """Do now, once, what the poll, archive and sweep lanes do: exit 3 when something is still not archived, or still runs.

    Waiting times are cut short: the provider is asked about every running task and for fresh links in place of dead
    ones, every output is fetched that can be, uploads that died half-way are aborted, stale spool files removed. Nothing
    is submitted, nothing paid. Workers may run meanwhile; what they hold is left to them. -o json: the counts.
    """
    stopping = Stopping()
    with open_workshop(common.settings(), sandbox=sandbox) as shop, interrupts(stopping, NOTICES) as signals:
        app = shop.app
        if not shop.may_ask:
            tell("no ORCHESTRATOR_ZAI_API_KEY: the provider is asked neither about tasks nor for fresh links")
        job = Sweep(shop.context, shop.loop, app.unarchived, stopping.stop, shop.may_ask, tell, must_wait)
        tally = sweep_archive(job)
        left = sum(1 for _ in iter_unarchived(app.unarchived, now=app.clock.now()))
        running = app.unarchived.count_running()
        print_one(_counts(tally, left, running), common.format_for(one=True))
        if left:
            tell(f"{left} outputs are not archived: {command('archive at-risk')}")
        if running:
            tell(f"{running} tasks are still running at the provider: {command('archive sweep --wait')}")
    sys.exit(signals.exit_code or (Exit.NOT_ALL_SUCCEEDED if left or running else Exit.OK))


def _counts(tally: Tally, left: int, running: int) -> dict[str, object]:
    return {
        "archived": tally.stored,
        "failed_tries": tally.failed,
        "dead_links": tally.dead,
        "unarchived": left,
        "running": running,
    }


@archive.command()
@click.option("--archive", "archive_url", metavar="URL", help="The archive to read. [ORCHESTRATOR_ARCHIVE_URL]")
@click.option("--merge", "may_merge", is_flag=True, help="Into a job table with jobs: add those that it lacks.")
@sandbox_options
def reindex(common: CommonOptions, *, archive_url: str | None, may_merge: bool) -> None:
    """Rebuild jobs and outputs from the manifests in the archive alone; exit 3 when a manifest could not be used.

    For a job table that was lost. Rebuilt jobs are finished; nothing becomes due, nothing is paid. A table that has jobs
    is refused without --merge, which leaves those as they are. What had not been archived has no manifest: the same job
    file, run again, pays for it, so adopt tasks that are still at the provider first (orchestrator jobs adopt).
    """
    flags = {} if archive_url is None else {"archive_url": archive_url}
    with open_app(common.settings(**flags), may_migrate=True) as app:
        store = app.stores.open(app.settings.archive)
        report = rebuild_jobs(app.papers, store, may_merge=may_merge, actor=LOCAL, tell=tell)
    row: dict[str, object] = {
        "archive": store.url,
        "rebuilt_count": report.made_count,
        "known_count": report.known_count,
        "left_out": [{"key": key, "message": why} for key, why in report.damaged.items()],
        "unknown_parent_count": report.unknown_parent_count,
    }
    output = common.format_for(one=True)
    if output == "table":
        row["left_out"] = f"{len(report.damaged)} manifests" if report.damaged else "none"
        for key, why in report.damaged.items():
            tell(f"left out: {key}: {why}")
    print_one(row, output)
    tell(f"prove that the objects are there and whole: {command('archive verify')}")
    sys.exit(Exit.NOT_ALL_SUCCEEDED if report.damaged else Exit.OK)


@archive.command()
@click.option("--sample", type=Share(), default="100%", show_default=True, help="Read this share of the outputs.")
@click.option("--seed", default="", metavar="WORD", help="Another word chooses other outputs for the same share.")
@click.option("--no-mend", is_flag=True, help="Only look: put nothing back, ask nobody.")
@click.option("--replace", "may_replace", is_flag=True, help="Also replace what is there and not as it was stored.")
@click.option("--sandbox", is_flag=True, help="Of what `run --sandbox` has made; the simulator runs meanwhile.")
@common_options
def verify(common: CommonOptions, *, sample: float, seed: str, no_mend: bool, may_replace: bool, sandbox: bool) -> None:
    """Read archived outputs again, compare their SHA-256 with the job table; exit 3 when anything is not as stored.

    What is missing is put back where that can be done for nothing: a transcript from the job table, a file by a fresh
    link of the provider as long as it knows the task, a manifest from the job table. Only bytes with the SHA-256 of the
    row are put in place. What is there and differs is left alone without --replace: somebody may have put it there.
    """
    checked = Checked()
    with open_workshop(common.settings(), sandbox=sandbox) as shop:
        app = shop.app
        reader = Reader(app.audit, app.stores, Sample(sample, seed), app.clock.monotonic, tell)
        mender = None if no_mend else Mender(shop.context, shop.may_ask, may_replace, LOCAL)
        rows = _drift_rows(shop, find_drift(reader, checked), mender)
        print_rows(rows, DRIFT_COLUMNS, common.format_for(one=False))
    tell(checked.words())
    sys.exit(Exit.NOT_ALL_SUCCEEDED if checked.drifts else Exit.OK)


def _drift_rows(shop: Workshop, pages: Iterator[list[JobDrift]], mender: Mender | None) -> Iterator[Object]:
    """Yield a row per drift as soon as it was mended, or could not be."""
    for page in pages:
        drifts = advise(page) if mender is None else shop.loop.submit(mender.mend(page)).result()
        for drift in drifts:
            yield {
                "object": "archive_drift",
                "job_id": drift.job_id,
                "output_id": drift.output_id,
                "problem": str(drift.problem),
                "is_mended": drift.is_mended,
                "archive": drift.archive_url,
                "key": drift.key,
                "message": drift.message,
            }


def tell(line: str) -> None:
    """Print one line for people on stderr."""
    click.echo(inert_line(pasteable(line)), err=True)


archive.add_command(usage)
archive.add_command(thumbnails)
archive.add_command(retention)

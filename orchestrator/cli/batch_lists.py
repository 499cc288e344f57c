"""`orchestrator batches list|show|results|errors`: what became of batches."""

from __future__ import annotations

from collections.abc import Mapping

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import pasteable, program
from orchestrator.cli.running import result_text
from orchestrator.services.batch_files import ERRORS, INPUT, RESULTS, SUMMARY, batch_key, iter_results
from orchestrator.services.batch_views import batch_object, error_group_object
from orchestrator.services.views import Object
from orchestrator.wiring import App, open_app

COLUMNS = (
    *("id", "name", "status", "done_count", "job_counts.total", "job_counts.failed", "job_counts.needs_review"),
    *("cost.final", "cost.currency", "created_at"),
)
RESULT_COLUMNS = ("custom_id", "id", "status", "error.code", "error.message", "error.advice")
ERROR_COLUMNS = ("count", "code", "provider_code", "status", "examples", "advice")


@click.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most batches shown.")
@click.option("--after", metavar="ID", help="Go on behind this batch.")
@common_options
def list_batches(common: CommonOptions, limit: int, after: str | None) -> None:
    """List batches, newest first: how many of their jobs are done, failed or held, and what they cost so far."""
    with open_app(common.settings()) as app:
        found = app.reports.list_batches(limit=limit + 1, after=after)
        page = found[:limit]
        ids = [batch.id for batch in page]
        counts, costs = app.reports.count_states_of(ids), app.reports.sum_costs_of(ids)
        rows = [batch_object(batch, counts[batch.id], costs[batch.id]) for batch in page]
        print_rows(rows, COLUMNS, common.format_for(one=False))
        if len(found) > limit:
            click.echo(f"more: {program()} batches list --after {page[-1].id}", err=True)


@click.command()
@click.argument("batch_id", metavar="ID")
@common_options
def show(common: CommonOptions, batch_id: str) -> None:
    """Show one batch whole: its jobs per state, its cost (by the table, final, unknown), its family and its files.

    linked_count are lines that jobs of other batches answer: those are charged to the other batches, not to this one's
    budget.
    """
    with open_app(common.settings()) as app:
        print_one(show_batch(app, batch_id), common.format_for(one=True))


def show_batch(app: App, batch_id: str) -> Object:
    """Return the batch object with its family, and its files once they are written."""
    batch = app.batches.get(batch_id)
    counts = app.reports.count_states_of([batch_id])[batch_id]
    costs = app.reports.sum_costs_of([batch_id])[batch_id]
    value = batch_object(batch, counts, costs, unpriced_count=app.reports.count_unpriced(batch_id))
    value["family"] = [member.id for member in app.reports.list_family(batch_id)]
    value["linked_count"] = app.reports.count_shared(batch_id).linked_count
    is_written = batch.files_written_at is not None
    files = {name: f"{batch.archive_url}/{batch_key(batch_id, name)}" for name in (RESULTS, ERRORS, SUMMARY, INPUT)}
    value["files"] = files if is_written else None
    return value


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option("--effective", is_flag=True, help="Of the batch and all its retries, each line once: the best of it.")
@common_options
def results(common: CommonOptions, batch_id: str, effective: bool) -> None:
    """Print one results line per job, in the order of the file, whatever state it is in."""
    with open_app(common.settings()) as app:
        family = [batch.id for batch in app.reports.list_family(batch_id)]
        whose = family[0] if effective else batch_id
        lines = iter_results(app.reports, whose, clock=app.clock, kinds=app.kinds, family=family if effective else ())
        output = common.format_for(one=False)
        if output == "table":
            for line in lines:
                click.echo(result_text(line, output))
        else:
            print_rows(lines, RESULT_COLUMNS, output)


@click.command()
@click.argument("batch_id", metavar="ID")
@common_options
def errors(common: CommonOptions, batch_id: str) -> None:
    """Show what went wrong, grouped by code: how many jobs, a few of their names, and what to do."""
    with open_app(common.settings()) as app:
        batch = app.batches.get(batch_id)
        rows = [error_group_object(group, app.kinds) for group in app.reports.group_errors(batch_id)]
        output = common.format_for(one=False)
        if output == "table":
            for row in rows:
                _tell_group(row)
        else:
            print_rows(rows, ERROR_COLUMNS, output)
        if batch.refused_count:
            where = f"{batch.archive_url}/{batch_key(batch_id, ERRORS)}"
            click.echo(f"{batch.refused_count} lines of the file were refused; they are in {where}", err=True)
        if not rows:
            click.echo("no job of it failed, was cancelled or is held", err=True)


def _tell_group(row: Mapping[str, object]) -> None:
    theirs = f", provider code {row['provider_code']}" if row["provider_code"] else ""
    examples = row["examples"]
    names = ", ".join(str(name) for name in examples) if isinstance(examples, list) else ""
    is_part = isinstance(examples, list) and len(examples) < int(str(row["count"]))
    click.echo(inert_line(f"{row['count']} x {row['code']} ({row['status']}{theirs}): {names}{', ...' * is_part}"))
    if row["advice"]:
        click.echo(inert_line(f"  hint: {pasteable(str(row['advice']))}"))

"""`orchestrator batches list|show|results|errors`: what became of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from orchestrator.cli.options import CommonOptions, sandbox_options
from orchestrator.cli.output import counted, inert_line, print_one, print_rows
from orchestrator.cli.prefix import next_page, pasteable
from orchestrator.cli.running import result_text
from orchestrator.domain.errors import ConfigError, StepError
from orchestrator.domain.job import Batch
from orchestrator.services.batch_files import ERRORS, RESULTS, SUMMARY, batch_key, find_input, iter_results
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
@sandbox_options
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
            click.echo(f"more: {next_page('batches list', page[-1].id)}", err=True)


@click.command()
@click.argument("batch_id", metavar="ID")
@sandbox_options
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
    family = app.reports.list_family(batch_id)
    value["family"] = [member.id for member in family]
    value["linked_count"] = app.reports.count_shared(batch_id).linked_count
    value["files"] = _find_files(app, batch, family) if batch.files_written_at is not None else None
    return value


def _find_files(app: App, batch: Batch, family: Sequence[Batch]) -> Mapping[str, str]:
    """Return where the files are by their names. The job file's name is for the archive to say: an archive that is away
    leaves it out.
    """
    keys = [batch_key(batch.id, name) for name in (RESULTS, ERRORS, SUMMARY)]
    try:
        input_key = find_input(app.stores.open(batch.archive_url), family)
    except (StepError, ConfigError) as error:
        click.echo(inert_line(f"the archive cannot be asked for the job file: {error}"), err=True)
        input_key = None
    if input_key is not None:
        keys.append(input_key)
    return {key.rpartition("/")[2]: f"{batch.archive_url}/{key}" for key in keys}


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option("--effective", is_flag=True, help="Of the batch and all its retries, each line once: the best of it.")
@sandbox_options
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
@sandbox_options
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
            were, they = ("was", "it is") if batch.refused_count == 1 else ("were", "they are")
            lines = counted(batch.refused_count, "line")
            click.echo(f"{lines} of the file {were} refused; {they} in {where}", err=True)
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

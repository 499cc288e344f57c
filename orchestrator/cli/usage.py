"""`orchestrator usage`: what was asked for, what it cost and what came of it, added up."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_rows
from orchestrator.domain.query import parse_moment
from orchestrator.domain.usage import GroupBy
from orchestrator.services.usage import list_usage
from orchestrator.wiring import open_app

COLUMNS = (
    *("group", "jobs", "succeeded", "failed", "cancelled", "needs_review", "active", "cost.currency", "cost.estimate"),
    *("cost.final", "cost.unknown_count", "outputs", "bytes", "seconds"),
)


@click.command()
@click.option(
    "--by",
    type=click.Choice([group.value for group in GroupBy]),
    help="A line per model, batch, tag or UTC day. [one for all]",
)
@click.option("--since", metavar="T", help="Only jobs created since: an age (7d), a date, or a time with its zone.")
@common_options
def usage(common: CommonOptions, by: str | None, since: str | None) -> None:
    """Add up jobs, cost, and the files that were archived.

    cost.final is what is known to be charged, cost.estimate the table price of every job, cost.unknown_count how many
    charges nobody can know. A job with several tags counts under each. bytes and seconds are of archived outputs.
    """
    with open_app(common.settings()) as app:
        group = GroupBy(by) if by is not None else None
        moment = parse_moment("--since", since, now=app.clock.now()) if since is not None else None
        print_rows(list_usage(app.usage, group, since=moment), COLUMNS, common.format_for(one=False))

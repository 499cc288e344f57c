"""`orchestrator jobs review`: every held job with its evidence and the commands that settle it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_rows
from orchestrator.cli.prefix import next_page, program
from orchestrator.domain.job import Job
from orchestrator.domain.query import parse_query
from orchestrator.services.review import review_object, review_text
from orchestrator.services.views import Object
from orchestrator.wiring import App, open_app

COLUMNS = ("id", "custom_id", "kind", "model", "held_since", "status_reason", "at_stake.amount", "at_stake.currency")


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most jobs shown.")
@click.option("--after", metavar="ID", help="Go on behind this job.")
@common_options
def review(common: CommonOptions, limit: int, after: str | None) -> None:
    """List held jobs, newest first: what is known of each, what is at stake, and the commands that settle it."""
    output = common.format_for(one=False)
    with open_app(common.settings()) as app:
        page = app.history.list_jobs(parse_query("status:needs_review", now=app.clock.now()), limit=limit, after=after)
        reviews = _reviews(app, page.jobs)
        if output == "table":
            for each in reviews:
                for line in review_text(each):
                    click.echo(inert_line(line))
        else:
            print_rows(reviews, COLUMNS, output)
        if not page.jobs:
            click.echo("no job waits for a person", err=True)
        if page.has_more:
            click.echo(f"more: {next_page('jobs review', page.jobs[-1].id)}", err=True)


def _reviews(app: App, jobs: tuple[Job, ...]) -> Iterator[Object]:
    for found in jobs:
        job, records = app.history.get_job(found.id), app.history.list_submissions(found.id)
        yield review_object(job, records, now=app.clock.now(), rules=app.rules, kinds=app.kinds, program=program())

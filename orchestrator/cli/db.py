"""`orchestrator db`: the schema of the job table."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_one
from orchestrator.cli.prefix import pasteable
from orchestrator.cli.restored import mark_restored
from orchestrator.config import Settings
from orchestrator.wiring import check_database, check_search, current_schema, newest_schema, upgrade_database


@click.group()
@common_options
def db(common: CommonOptions) -> None:
    """Look at the database schema and bring it up to date."""


@db.command()
@common_options
def upgrade(common: CommonOptions) -> None:
    """Apply the migrations that are missing. Safe to run twice, and from two hosts at once."""
    settings = common.settings()
    before, after = upgrade_database(settings)
    click.echo(f"already at {after}" if before == after else f"upgraded from {before or 'nothing'} to {after}")
    _warn_of_search(settings)


@db.command()
@common_options
def current(common: CommonOptions) -> None:
    """Print the revision that the database is at."""
    revision = current_schema(common.settings())
    output = common.format_for(one=True)
    if output == "table":
        click.echo(revision or pasteable("no schema: run `orchestrator db upgrade`"))
    else:
        print_one({"revision": revision, "newest": newest_schema()}, output)


@db.command()
@common_options
def check(common: CommonOptions) -> None:
    """Compare the database with what this version needs; exit 3 when they differ.

    A server without the extension pg_trgm is a warning only: words are then looked for without an index.
    """
    settings = common.settings()
    problem = check_database(settings)
    if problem is None:
        click.echo("the schema is up to date")
        _warn_of_search(settings)
        return
    click.echo(problem, err=True)
    sys.exit(Exit.NOT_ALL_SUCCEEDED)


def _warn_of_search(settings: Settings) -> None:
    if words := check_search(settings):
        click.echo(f"warning: {words}", err=True)


db.add_command(mark_restored)

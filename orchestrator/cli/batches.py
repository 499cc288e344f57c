"""`orchestrator batches`: job files and what became of them."""

from __future__ import annotations

import click

from orchestrator.cli.batch_actions import cancel, retry, run_recorded, watch
from orchestrator.cli.batch_budget import budget
from orchestrator.cli.batch_gallery import gallery
from orchestrator.cli.batch_intake import check, submit
from orchestrator.cli.batch_lists import errors, list_batches, results, show
from orchestrator.cli.options import CommonOptions, common_options


@click.group()
@common_options
def batches(common: CommonOptions) -> None:
    """Check job files and record them as batches; look after those: how far each is, what it cost, what failed; stop one, try it again.

    \b
    Batches of `run --sandbox` live in a data directory of their own; --sandbox looks there:
        orchestrator batches list --sandbox
    """


for command in (
    check,
    submit,
    list_batches,
    show,
    watch,
    run_recorded,
    cancel,
    results,
    errors,
    retry,
    budget,
    gallery,
):
    batches.add_command(command)

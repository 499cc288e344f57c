"""`orchestrator batches budget`: the one way to change what any batch may cost, one that tries another again included."""

from __future__ import annotations

import click

from orchestrator.cli.jobfiles import Money
from orchestrator.cli.leaving import leave
from orchestrator.cli.noting import note_batch
from orchestrator.cli.options import CommonOptions, sandbox_options
from orchestrator.cli.output import print_one
from orchestrator.domain.states import State
from orchestrator.services.batches import show_micros
from orchestrator.services.family_budgets import Given, give_budget
from orchestrator.wiring import App, open_app


@click.command()
@click.argument("batch_id", metavar="ID")
@click.argument("amount", type=Money(), metavar="AMOUNT")
@sandbox_options
def budget(common: CommonOptions, batch_id: str, amount: int) -> None:
    """Let a batch and all that try it again cost AMOUNT in all, what is charged already included.

    Budgets of batches that it tries again are raised by what they lack for it, and named. Refused (exit 4) where what
    is charged and what is queued come to more.
    """
    with open_app(common.settings()) as app:
        note_batch(app, "budget", batch_id, reason=f"to {show_micros(amount)}")
        given = give_budget(app.batches, batch_id, amount)
        former = None if given.former is None else show_micros(given.former)
        row = {"id": batch_id, "max_cost": show_micros(amount), "former": former, "raised": list(given.raised)}
        print_one(row, common.format_for(one=True))
        _tell(app, batch_id, given, former)


def _tell(app: App, batch_id: str, given: Given, former: str | None) -> None:
    batch = app.batches.get(batch_id)
    click.echo(f"budget: {show_micros(batch.max_cost_micros or 0)} from now on; it was {former or 'none'}", err=True)
    for above in given.raised:
        limit = show_micros(app.batches.get(above).max_cost_micros or 0)
        click.echo(f"budget of {above}, which it tries again: {limit} from now on", err=True)
    if app.batches.count_states(batch_id).by_state.get(State.QUEUED, 0):
        click.echo(leave(app, batch), err=True)

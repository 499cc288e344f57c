"""`orchestrator batches watch|run|cancel|retry`: what moves a whole batch."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from orchestrator.cli.asking import ask
from orchestrator.cli.jobfiles import Money
from orchestrator.cli.leaving import leave
from orchestrator.cli.noting import ACTOR, note_batch
from orchestrator.cli.options import CommonOptions, common_options, sandbox_options
from orchestrator.cli.output import counted, inert_line, print_one
from orchestrator.cli.prefix import command
from orchestrator.cli.running import HowToRun, opened_to_run, run_to_end
from orchestrator.domain.advice import Source, Then
from orchestrator.domain.errors import Conflict, Fault, InvalidParams
from orchestrator.domain.job import Batch
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import (
    RetryDesk,
    RetryPlan,
    cancel_batch,
    find_running_retries,
    plan_retry,
    retry_batch,
)
from orchestrator.services.batch_files import write_due_files
from orchestrator.services.batch_views import count_active
from orchestrator.services.batches import show_micros
from orchestrator.wiring import App, error_catalogue, make_clerk, open_app

PAID = (State.SUBMITTING, State.PROCESSING, State.ARCHIVING)
ONLY = ("failed", "cancelled")
REFUSED_SHOWN = 5
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
REASON = click.option("--reason", default="", help="Kept in the history.")


@click.command()
@click.argument("batch_id", metavar="ID")
@sandbox_options
def watch(common: CommonOptions, batch_id: str) -> None:
    """Follow a batch until nothing in it moves any more: a results line per job, live progress on a terminal.

    Watching does no work: a `run` or a worker must be running elsewhere. Exit codes as of `run`.
    """
    with open_app(common.settings()) as app:
        app.batches.get(batch_id)
        code = run_to_end(app, batch_id, output=common.format_for(one=False), how=HowToRun(is_watching=True))
    sys.exit(code)


@click.command("run")
@click.argument("batch_id", metavar="ID")
@click.option("--sandbox", is_flag=True, help="The batch was recorded with --sandbox.")
@click.option("--concurrency", type=click.IntRange(1), help="Most tasks in flight, over all models.")
@common_options
def run_recorded(common: CommonOptions, batch_id: str, sandbox: bool, concurrency: int | None) -> None:
    """Run the lanes here until a recorded batch has ended: what `batches retry` left for later."""
    with opened_to_run(common.settings(), sandbox=sandbox, what="batch") as app:
        batch = app.batches.get(batch_id)
        if not batch.is_intake_done:
            raise Conflict(f"{batch_id} is not taken in whole", hint="repeat the command that was taking it in")
        code = run_to_end(app, batch_id, output=common.format_for(one=False), how=HowToRun(concurrency))
    sys.exit(code)


@click.command()
@click.argument("batch_id", metavar="ID")
@YES
@REASON
@sandbox_options
def cancel(common: CommonOptions, batch_id: str, yes: bool, reason: str) -> None:
    """Stop what is not yet paid for. What the provider has runs on: it cannot be stopped, and its outputs are kept.

    Batches that try it again are named and left alone. Of a batch that has finished nothing is left to cancel: exit 2.
    """
    with open_app(common.settings()) as app:
        batch = app.batches.get(batch_id)
        _tell_retries(app, batch_id)
        if batch.finished_at is None:
            _ask_cancel(app, batch, is_sure=yes)
        else:  # the service says that nothing is left; a cancel that died just before its end may have left the files
            _write_files(app, batch_id)
        note_batch(app, "cancel", batch_id, reason=reason, count=count_active(app.batches.count_states(batch_id)))
        done = cancel_batch(app.cancels, batch_id, actor=ACTOR, reason=reason)
        counts = app.batches.count_states(batch_id)
        runs_on = sum(counts.by_state.get(state, 0) for state in PAID)
        if not count_active(counts):
            app.batches.finish_done()
            _write_files(app, batch_id)
        row = {"id": batch_id, "stopped": done.stopped_count, "runs_on": runs_on}
        output = common.format_for(one=True)
        if output == "table":
            click.echo(_cancelled_text(done.stopped_count, runs_on))
        else:
            print_one(row, output)
            click.echo(_cancelled_text(done.stopped_count, runs_on), err=True)


def _tell_retries(app: App, batch_id: str) -> None:
    for child in find_running_retries(app.reports, batch_id):
        click.echo(
            f"{child.id} tries it again and is not cancelled with it: {command('batches cancel', child.id)}", err=True
        )


def _ask_cancel(app: App, batch: Batch, *, is_sure: bool) -> None:
    counts = app.batches.count_states(batch.id)
    queued = counts.by_state.get(State.QUEUED, 0)
    saved = app.batches.price_unpaid(batch.id)
    runs_on = sum(counts.by_state.get(state, 0) for state in PAID)
    text = f"{batch.name}: stop {counted(queued, 'queued job')}, about {show_micros(saved.micros)} not spent"
    if not batch.is_intake_done:
        text += "; lines that are not in yet stay out"
    if shared := app.reports.count_shared(batch.id).stoppable_count:
        text += f"; {shared} of them are lines of other batches too, and stop there as well"
    click.echo(inert_line(f"{text}; {runs_on} are being paid for or are paid and run on"), err=True)
    ask("cancel it?", is_sure=is_sure, otherwise="nothing was cancelled")


def _cancelled_text(stopped: int, runs_on: int) -> str:
    text = f"{stopped} stopped before they were paid for"
    if not runs_on:
        return text
    verb = "is already paid and cannot be stopped: it goes on and is kept"
    many = "already paid and cannot be stopped: they go on and are kept"
    return f"{text}; {runs_on} {verb if runs_on == 1 else many}"


def _write_files(app: App, batch_id: str) -> None:
    reason = write_due_files(make_clerk(app)).failed.get(batch_id)
    if reason:
        click.echo(inert_line(f"warning: its results are not in the archive yet: {reason}"), err=True)


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option(
    "--only",
    multiple=True,
    default=("failed",),
    show_default=True,
    metavar="WHAT",
    help="failed, cancelled, or a failure code such as dependency_failed; can be repeated.",
)
@click.option(
    "--max-cost",
    type=Money(),
    help="Budget of the new charges: refused before the first cent if they would cost more, and held.",
)
@YES
@REASON
@sandbox_options
def retry(
    common: CommonOptions, batch_id: str, only: tuple[str, ...], max_cost: int | None, yes: bool, reason: str
) -> None:
    """Try again what did not succeed: first what costs nothing, the rest as new charges in a child batch.

    Lines that a retry has brought further already are left alone; held jobs are for `jobs review`. The requests are
    those that were frozen when the file was taken in: nothing is read from disk again.
    """
    _check_only(only)
    settings = common.settings()
    with open_app(settings) as app:
        desk = retry_desk(app)
        plan = plan_retry(desk, batch_id, only)
        _tell_budget(plan, max_cost)
        _ask_retry(plan, is_sure=yes)
        note_batch(app, "retry", batch_id, reason=reason, count=len(plan.free) + plan.cost.count)
        done = retry_batch(desk, batch_id, only, max_cost_micros=max_cost, actor=ACTOR, reason=reason)
        _tell_refused(done.refused)
        child = done.child
        row = {"id": batch_id, "goes_on": done.free_count, "child": child and child.id, "new": done.new_count}
        print_one(row, common.format_for(one=True))
        if done.free_count:
            go = "job goes" if done.free_count == 1 else "jobs go"
            click.echo(f"{done.free_count} {go} on for nothing; {leave(app, app.batches.get(batch_id))}", err=True)
        if child is not None:
            lines = "line is" if done.new_count == 1 else "lines are"
            click.echo(f"{done.new_count} {lines} tried again in {child.id}; {leave(app, child)}", err=True)
        elif max_cost is not None:
            _tell_unused(app, batch_id, max_cost)


def retry_desk(app: App) -> RetryDesk:
    """Return what batches are tried again with."""
    return RetryDesk(app.jobs, app.batches, app.reports, app.clock, app.rng, app.kinds, app.rules)


def _check_only(only: tuple[str, ...]) -> None:
    codes = [entry.code for entry in error_catalogue() if entry.source is Source.JOB and entry.then is Then.FAILED]
    for name in only:
        if name not in (*ONLY, *codes):
            hint = ", ".join([*ONLY, *sorted(set(codes) - set(ONLY))])
            raise InvalidParams([Fault("invalid_only", "--only", f"{name!r} is nothing that a job ends with", hint)])


def _ask_retry(plan: RetryPlan, *, is_sure: bool) -> None:
    cost = plan.cost
    if not plan.free and not cost.count:
        click.echo("nothing of it can be tried again", err=True)
        return
    text = f"{len(plan.free)} can go on for nothing; {cost.count} would be new charges"
    if cost.count:
        text += f" of about {show_micros(cost.micros)} {cost.currency}"
    if cost.unpriced_count:
        text += f", {cost.unpriced_count} of them without a price"
    click.echo(text, err=True)
    if cost.count:
        ask("pay for them again?", is_sure=is_sure)


def _tell_budget(plan: RetryPlan, max_cost: int | None) -> None:
    """Say what the new charges may come to, where they are held to anything."""
    if not plan.cost.count:
        return
    if max_cost is not None:
        raised = "; the batch's own is raised by as much where it lacks it" if plan.left_micros is not None else ""
        click.echo(f"budget of the new charges: {show_micros(max_cost)}{raised}", err=True)
    elif plan.left_micros is not None:
        left = show_micros(plan.left_micros)
        click.echo(
            f"budget of the new charges: {left}, what is left of the batch's; --max-cost gives another", err=True
        )


def _tell_unused(app: App, batch_id: str, max_cost: int) -> None:
    """An amount that nothing new was to be paid with changes nothing, and is not for a retry that is under way."""
    amount = show_micros(max_cost)
    click.echo(f"--max-cost {amount} has changed nothing: there are no new charges that it could be for", err=True)
    for child in find_running_retries(app.reports, batch_id):
        click.echo(f"{child.id} tries it again; its budget: {command('batches budget', child.id, amount)}", err=True)


def _tell_refused(refused: Mapping[str, str]) -> None:
    for reason in list(refused.values())[:REFUSED_SHOWN]:
        click.echo(inert_line(f"left alone: {reason}"), err=True)
    if (more := len(refused) - REFUSED_SHOWN) > 0:
        click.echo(f"left alone: {more} more", err=True)

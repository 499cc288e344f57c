"""`orchestrator jobs cancel|retry`: jobs named one by one, or all that a query finds, after a look at what it comes to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from orchestrator.cli.actions import REASON, for_each
from orchestrator.cli.exits import Exit
from orchestrator.cli.next_step import tell_next_step
from orchestrator.cli.noting import ACTOR, note, note_job
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_one
from orchestrator.domain.errors import Fault, InvalidParams
from orchestrator.domain.query import parse_query
from orchestrator.domain.states import State
from orchestrator.services import bulk
from orchestrator.services.batches import show_micros
from orchestrator.services.bulk import BulkDesk, BulkDone, BulkPlan
from orchestrator.services.jobfile.tally import Estimate
from orchestrator.services.lifecycle import cancel_job, retry_job
from orchestrator.wiring import App, open_app

RUNS_ON = "the paid task cannot be stopped; it will end as cancelled, its outputs are kept"
REFUSED_SHOWN = 5
QUERY = click.option("--query", metavar="QUERY", help="All jobs that QUERY finds, as of `jobs list`, instead of IDs.")


@click.command()
@click.argument("job_ids", metavar="[ID...]", nargs=-1)
@QUERY
@click.option("--yes", "-y", is_flag=True, help="With --query: do not ask.")
@REASON
@common_options
def cancel(common: CommonOptions, job_ids: tuple[str, ...], query: str | None, yes: bool, reason: str) -> None:
    """Cancel jobs. What is not yet submitted stops here; a task that the provider has runs on and is kept."""
    _require_one(job_ids, query)
    with open_app(common.settings()) as app:

        def cancel_one(job_id: str) -> str:
            note_job(app, "cancel", job_id, reason=reason)
            is_over = cancel_job(app.jobs, job_id, actor=ACTOR, reason=reason).decision is not None
            return "cancelled" if is_over else RUNS_ON

        if query is None:
            sys.exit(for_each(job_ids, cancel_one))
        desk = _desk(app)
        plan = bulk.plan_cancel(desk, parse_query(query, now=app.clock.now(), kinds=app.kinds))
        text = f"stop {len(plan.free)} queued jobs{_not_spent(plan.cost)}; {len(plan.runs_on)} are paid and run on"
        _ask(plan, text, "cancel them?", is_sure=yes)
        note(app, "jobs.cancel", query[:200] or "all", reason=reason, count=len(plan.free) + len(plan.runs_on))
        with _told() as advance:
            done = bulk.cancel_planned(desk, plan, actor=ACTOR, reason=reason, advance=advance)
        app.batches.finish_done()
        _report(common, {"stopped": done.moved[State.CANCELLED], "runs_on": done.flagged_count}, plan, done)


@click.command()
@click.argument("job_ids", metavar="[ID...]", nargs=-1)
@QUERY
@click.option("--yes", "-y", is_flag=True, help="Agree to new charges where nothing else is left.")
@REASON
@common_options
def retry(common: CommonOptions, job_ids: tuple[str, ...], query: str | None, yes: bool, reason: str) -> None:
    """Retry failed, cancelled or held jobs: first what costs nothing; a new charge only with --yes.

    With --query what it comes to is shown and asked for, and no job is paid for that was not shown.
    """
    _require_one(job_ids, query)
    settings = common.settings()
    with open_app(settings) as app:
        moved: list[str] = []

        def retry_one(job_id: str) -> str:
            note_job(app, "retry", job_id, reason=reason)
            decision = retry_job(app.jobs, job_id, rules=app.rules, may_charge=yes, actor=ACTOR, reason=reason).decision
            moved.append(job_id)
            return f"{decision.target}: {decision.reason}" if decision else "nothing to do"

        if query is None:
            code = for_each(job_ids, retry_one)
            tell_next_step(app, moved)
            sys.exit(code)
        desk = _desk(app)
        plan = bulk.plan_retry(desk, parse_query(query, now=app.clock.now(), kinds=app.kinds))
        text = f"{len(plan.free)} can go on for nothing; {len(plan.paid)} would be new charges{_price(plan.cost)}"
        _ask(plan, text, "pay for them again?" if plan.paid else "go on?", is_sure=yes)
        note(app, "jobs.retry", query[:200] or "all", reason=reason, count=len(plan.free) + len(plan.paid))
        with _told() as advance:
            done = bulk.retry_planned(desk, plan, actor=ACTOR, reason=reason, advance=advance)
        tell_next_step(app, done.going)
        _report(common, {str(state): count for state, count in sorted(done.moved.items())}, plan, done)


def _require_one(job_ids: tuple[str, ...], query: str | None) -> None:
    if bool(job_ids) is (query is not None):
        raise InvalidParams([Fault("invalid_jobs", "--query", "name jobs by ID, or all of a query: one of both")])


def _desk(app: App) -> BulkDesk:
    return BulkDesk(app.history, app.bulk, app.clock, app.kinds, app.rules)


def _not_spent(cost: Estimate) -> str:
    return f", about {show_micros(cost.micros)} {cost.currency} not spent" if cost.count else ""


def _price(cost: Estimate) -> str:
    if not cost.count:
        return ""
    unpriced = f", {cost.unpriced_count} of them without a price" if cost.unpriced_count else ""
    return f" of about {show_micros(cost.micros)} {cost.currency}{unpriced}"


def _ask(plan: BulkPlan, text: str, question: str, *, is_sure: bool) -> None:
    """Say what it comes to; ask whoever is there. Where nobody can answer, a script has to say --yes."""
    left = ", ".join(f"{count} {state}" for state, count in sorted(plan.refused.items()))
    click.echo(inert_line(text + (f"; left alone: {left}" if left else "")), err=True)
    if not (plan.free or plan.paid or plan.runs_on):
        click.echo("nothing to do", err=True)
        sys.exit(Exit.OK)
    if not is_sure and not click.confirm(question, err=True):
        click.echo("nothing was changed", err=True)
        sys.exit(Exit.BUDGET)


@contextmanager
def _told() -> Iterator[bulk.Advance]:
    """Show on a terminal how far it has come."""

    def advance(done: BulkDone) -> None:
        if sys.stderr.isatty():
            count = done.moved.total() + done.flagged_count + len(done.refused)
            click.echo(f"\r{count} looked at", err=True, nl=False)

    yield advance
    if sys.stderr.isatty():
        click.echo(err=True)


def _report(common: CommonOptions, counts: dict[str, int], plan: BulkPlan, done: BulkDone) -> None:
    for reason in list(done.refused.values())[:REFUSED_SHOWN]:
        click.echo(inert_line(f"left alone: {reason}"), err=True)
    left = plan.refused.total() + len(done.refused)
    print_one({**counts, "left_alone": left}, common.format_for(one=True))

"""`orchestrator archive retention`: how long results are kept, and their removal once somebody has agreed to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta

import click

from orchestrator.cli.actions import REASON
from orchestrator.cli.asking import ask
from orchestrator.cli.exits import Exit
from orchestrator.cli.noting import ACTOR
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_rows
from orchestrator.cli.prefix import command
from orchestrator.config import parse_duration
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.errors import Fault, InvalidParams, NotFound
from orchestrator.domain.retention import Rule, Selector
from orchestrator.services.archive.retention import (
    EVERYONE,
    Done,
    Keeper,
    Plan,
    expire,
    make_plan,
    remove_rule,
    set_rule,
)
from orchestrator.services.archive.usage import show_bytes
from orchestrator.services.views import show_time
from orchestrator.wiring import App, open_app

COLUMNS = ("selector", "keep", "agreed_at", "created_by", "reason")
PLAN_COLUMNS = ("selector", "jobs", "files", "bytes")
HELD = "held"


@click.group()
@common_options
def retention(common: CommonOptions) -> None:
    """Say how long results are kept; see what would go; let it go.

    \b
    A rule is for kind:video, tag:campaign=spring, batch:ID, job:ID, or * for every job. The closest
    one to a job holds for it; a hold stands over all others. What a rule takes away: the job's files
    and manifest.json in the archive, its request with the prompt, the raw answers. What stays: the
    job's row with its cost, its submissions and its history.

    A new or changed rule takes nothing away until `archive retention run` has shown what would go and
    somebody has agreed; from then on the sweep carries it out every hour.
    """


@retention.command("list")
@common_options
def list_rules(common: CommonOptions) -> None:
    """List the rules. agreed_at: since when the sweep carries one out by itself."""
    with open_app(common.settings()) as app:
        print_rows([_rule_object(rule) for rule in app.retention.list_rules()], COLUMNS, common.format_for(one=False))


@retention.command()
@click.argument("selector", metavar="WHICH")
@click.argument("age", metavar="AGE")
@REASON
@common_options
def keep(common: CommonOptions, selector: str, age: str, reason: str) -> None:
    """Keep the results of WHICH jobs for AGE after their end (12h, 90d), then take them away."""
    which, span = Selector.parse(selector), _read_age(age)
    with open_app(common.settings(), may_migrate=True) as app:
        set_rule(_keeper(app), which, span, actor=ACTOR, reason=reason)
    click.echo(inert_line(f"{which}: kept for {age} after the end of a job"))
    click.echo(f"nothing goes before somebody has seen what: {command('archive retention run')}", err=True)


@retention.command()
@click.argument("selector", metavar="WHICH")
@REASON
@common_options
def hold(common: CommonOptions, selector: str, reason: str) -> None:
    """Put a legal hold on WHICH jobs: whatever other rules say, nothing of them goes until it is removed."""
    which = Selector.parse(selector)
    with open_app(common.settings(), may_migrate=True) as app:
        set_rule(_keeper(app), which, None, actor=ACTOR, reason=reason)
    click.echo(inert_line(f"{which}: held; end it with: {command('archive retention remove', str(which))}"))


@retention.command()
@click.argument("selector", metavar="WHICH")
@REASON
@common_options
def remove(common: CommonOptions, selector: str, reason: str) -> None:
    """Remove the rule for WHICH jobs."""
    which = Selector.parse(selector)
    with open_app(common.settings()) as app:
        if not remove_rule(_keeper(app), which, actor=ACTOR, reason=reason):
            raise NotFound(
                f"there is no rule for {which}", hint=f"those are shown by {command('archive retention list')}"
            )
    click.echo(inert_line(f"{which}: removed"))


@retention.command()
@click.option("--dry-run", is_flag=True, help="Show what would go, and end.")
@click.option("--yes", "is_sure", is_flag=True, help="Agree to it without being asked.")
@common_options
def run(common: CommonOptions, *, dry_run: bool, is_sure: bool) -> None:
    """Show what the rules take away now; ask; take it away.

    Agreeing also lets the sweep carry these rules out from now on. What is interrupted is gone on with by the next run.
    Exit 3 when the archive refused some of it.
    """
    with open_app(common.settings()) as app:
        keeper, rules = _keeper(app), app.retention.list_rules()
        if not rules:
            raise NotFound("there are no rules", hint=f"make one: {command('archive retention keep kind:video 90d')}")
        plan = make_plan(keeper, rules)
        print_rows(_plan_rows(plan), PLAN_COLUMNS, common.format_for(one=False))
        click.echo(_describe(plan), err=True)
        if dry_run:
            return
        ask(
            f"take away the results of {_jobs(plan.job_count)} for good?",
            is_sure=is_sure,
            otherwise="nothing was taken away",
        )
        _agree(app, rules, plan)
        done = expire(keeper, rules, actor=ACTOR, on_progress=_tell_progress)
        for failure in done.failures:
            click.echo(inert_line(f"not finished: {failure}"), err=True)
        click.echo(f"{_jobs(done.job_count)} erased, the files of {done.deleted_count} deleted", err=True)
    sys.exit(Exit.NOT_ALL_SUCCEEDED if done.failures else Exit.OK)


def _agree(app: App, rules: Sequence[Rule], plan: Plan) -> None:
    entry = AuditEntry(
        ACTOR, "retention.run", ",".join(str(rule.selector) for rule in rules), EVERYONE, "", plan.job_count
    )
    app.retention.agree([rule for rule in rules if rule.keep is not None], entry)


def _tell_progress(done: Done) -> None:
    click.echo(f"{done.deleted_count} jobs emptied", err=True)


def _describe(plan: Plan) -> str:
    held = f"; holds keep {_jobs(plan.held_count)} more" if plan.held_count else ""
    size = show_bytes(plan.byte_counts.total())
    return f"{_jobs(plan.job_count)} with {plan.files.total()} files, {size}{held}"


def _plan_rows(plan: Plan) -> list[dict[str, object]]:
    return [
        {"selector": name, "jobs": count, "files": plan.files[name], "bytes": plan.byte_counts[name]}
        for name, count in sorted(plan.jobs.items())
    ]


def _rule_object(rule: Rule) -> dict[str, object]:
    return {
        "object": "retention_rule",
        "selector": str(rule.selector),
        "keep": HELD if rule.keep is None else _show(rule.keep),
        "keep_seconds": None if rule.keep is None else int(rule.keep.total_seconds()),
        "agreed_at": show_time(rule.agreed_at),
        "created_at": show_time(rule.created_at),
        "created_by": rule.created_by,
        "reason": rule.reason,
    }


def _show(span: timedelta) -> str:
    days, rest = divmod(span, timedelta(days=1))
    return f"{days}d" if not rest else f"{int(span.total_seconds())}s"


def _read_age(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidParams(
            [Fault("invalid_age", "AGE", str(error), "90d; `archive retention hold` keeps for ever")]
        ) from error


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _keeper(app: App) -> Keeper:
    return Keeper(app.retention, app.stores, app.clock)

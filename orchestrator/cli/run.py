"""`orchestrator run FILE`: the main job, in one process, nothing else running."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from orchestrator.cli.asking import ask
from orchestrator.cli.batch_actions import retry_desk
from orchestrator.cli.exits import tell_request_error
from orchestrator.cli.fleet import require_broker
from orchestrator.cli.jobfiles import (
    ALLOW_PARTIAL,
    ALLOW_UNKNOWN_MODEL,
    FILE,
    FORMAT,
    WEBHOOK,
    Money,
    checked_file,
    take_checked,
)
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.running import HowToRun, run_to_end
from orchestrator.cli.sandbox import ENVIRONMENT, sandboxed
from orchestrator.config import Settings
from orchestrator.domain.errors import BudgetError, ConfigError, Conflict
from orchestrator.domain.states import State
from orchestrator.services.batch_actions import find_own_failed
from orchestrator.services.batches import show_micros
from orchestrator.services.family_budgets import find_left
from orchestrator.services.intake import CheckOptions
from orchestrator.services.lifecycle import needs_new_charge, retry_job
from orchestrator.wiring import App, open_app, webhook_judge


@click.command()
@FILE
@click.option("--sandbox", is_flag=True, help="Use the simulator in place of the real API: no key, nothing is paid.")
@click.option("--archive", help="Where outputs go: file:///... or s3://bucket/prefix.")
@click.option("--concurrency", type=click.IntRange(1), help="Most tasks in flight, over all models.")
@click.option(
    "--max-cost",
    type=Money(),
    help="Its budget: refused before the first cent if it would cost more, and held while it runs.",
)
@click.option("--retry-failed", is_flag=True, help="Retry failed jobs of an earlier run; this can be a new charge.")
@click.option("--force-new", is_flag=True, help="Pay for every line again, even if the same file has run before.")
@ALLOW_PARTIAL
@FORMAT
@ALLOW_UNKNOWN_MODEL
@click.option("--broker", is_flag=True, help="Hand the jobs to running workers (ORCHESTRATOR_BROKER_URL) and watch.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before paying again.")
@WEBHOOK
@common_options
def run(
    common: CommonOptions,
    file: Path,
    sandbox: bool,
    archive: str | None,
    concurrency: int | None,
    max_cost: int | None,
    retry_failed: bool,
    force_new: bool,
    allow_partial: bool,
    form: str | None,
    allow_unknown_model: bool,
    broker: bool,
    yes: bool,
    webhook: str | None,
) -> None:
    """Run every job of FILE (JSONL, CSV or YAML; - reads stdin) and archive what comes out.

    The whole file is checked first: if any line is wrong, every fault is shown and nothing is submitted. Then one
    results line is printed per job as it ends. Run the same file again to go on where it stopped: nothing is paid for
    twice. Ctrl-C stops cleanly.

    \b
    Try it without a key:    orchestrator run examples/quickstart.jsonl --sandbox
    For real:                ORCHESTRATOR_ZAI_API_KEY=... orchestrator run jobs.jsonl --max-cost 10
    By a fleet of workers:   orchestrator run jobs.jsonl --broker
    """
    settings = common.settings(archive_url=archive)
    broker_url = _broker(settings, sandbox=sandbox, concurrency=concurrency) if broker else None
    how = HowToRun(concurrency, broker_url, again="run the same file again to go on")
    options = CheckOptions(
        ENVIRONMENT if sandbox else settings.zai_base_url, allow_unknown_model, webhook_judge(settings)
    )
    with checked_file(file, settings, options, form=form) as checked:
        checked.require_good(is_partial=allow_partial)
        if not (sandbox or broker) and settings.zai_api_key is None:
            raise ConfigError("ORCHESTRATOR_ZAI_API_KEY", "needed to run jobs; or try --sandbox, which needs no key")
        with ExitStack() as stack:
            if sandbox:
                settings = stack.enter_context(sandboxed(settings))
            app = stack.enter_context(open_app(settings, may_migrate=not broker))
            intake = take_checked(
                app,
                checked,
                is_forced=force_new,
                is_partial=allow_partial,
                max_cost=max_cost,
                is_sure=yes,
                webhook=webhook,
            )
            if retry_failed:
                _retry_failed(app, intake.batch.id, is_sure=yes)
            code = run_to_end(app, intake.batch.id, output=common.format_for(one=False), how=how)
    sys.exit(code)


def _broker(settings: Settings, *, sandbox: bool, concurrency: int | None) -> str:
    """Return the broker's URL; refuse options that speak of this process's own work."""
    if sandbox or concurrency is not None:
        name = "--sandbox" if sandbox else "--concurrency"
        setting = "ORCHESTRATOR_ZAI_BASE_URL" if sandbox else "ORCHESTRATOR_LIMITS"
        raise click.UsageError(f"{name} is for work in this process; with --broker set {setting} for the workers")
    return require_broker(settings)


def _retry_failed(app: App, batch_id: str, *, is_sure: bool) -> None:
    desk = retry_desk(app)
    failed, elsewhere = find_own_failed(desk, batch_id)
    if elsewhere:
        click.echo(f"left alone: {elsewhere} lines that `batches retry` has taken up; it goes on with them", err=True)
    charged = [job for job in failed if needs_new_charge(job, app.rules, app.clock.now())]
    micros = sum(job.price.micros for job in charged if job.price)
    if failed:
        click.echo(
            f"retrying {len(failed)} failed jobs, {len(charged)} as new charges of about {show_micros(micros)}",
            err=True,
        )
    left = find_left(app.batches, app.reports, batch_id) if charged else None
    if left is not None and micros > left:
        raise BudgetError(
            f"trying them again costs about {show_micros(micros)}; {show_micros(left)} of the budget is left",
            hint="--max-cost raises the batch's budget",
        )
    if charged:
        ask("go on?", is_sure=is_sure, is_said=True)
    for job in sorted(failed, key=lambda job: job.failure_code == "dependency_failed"):
        if app.history.get_job(job.id).state is not State.FAILED:
            continue  # it came back with the job that it depends on
        try:
            retry_job(app.jobs, job.id, rules=app.rules, may_charge=True, actor="local", reason="run --retry-failed")
        except Conflict as conflict:  # an unexplained call of it may still be under way: the others need not wait
            tell_request_error(conflict)

"""`orchestrator batches check|submit FILE`: say everything of a job file before anything is paid, and record its jobs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from orchestrator.cli.asking import ask, is_terminal
from orchestrator.cli.checking import show_check, tell_check
from orchestrator.cli.exits import Exit
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
from orchestrator.cli.leaving import leave
from orchestrator.cli.options import CommonOptions, at_sandbox, common_options
from orchestrator.cli.output import inert_line, print_one
from orchestrator.cli.prefix import command
from orchestrator.cli.sandbox import ENVIRONMENT, sandboxed
from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError, NotFound, StepError
from orchestrator.services.batches import Intake, show_micros
from orchestrator.services.forecast import Known, find_known
from orchestrator.services.intake import CheckedFile, CheckOptions
from orchestrator.wiring import App, open_app, webhook_judge


@click.command()
@FILE
@click.option("--price", is_flag=True, help="Say count and cost per model, and when it would be done.")
@click.option("--strict", is_flag=True, help="Exit 3 when there are warnings.")
@click.option("--sandbox", is_flag=True, help="Look for earlier jobs of the simulator.")
@FORMAT
@ALLOW_UNKNOWN_MODEL
@common_options
def check(
    common: CommonOptions,
    file: Path,
    price: bool,
    strict: bool,
    sandbox: bool,
    form: str | None,
    allow_unknown_model: bool,
) -> None:
    """Read FILE (JSONL, CSV or YAML; - reads stdin) to its end and report every fault. Submits and stores nothing.

    Faults are data on stdout; how many there are is said on stderr. Needs no key. Exit codes: 0 good, 2 faults,
    3 warnings with --strict.
    """
    settings = common.settings()
    options = CheckOptions(
        ENVIRONMENT if sandbox else settings.zai_base_url, allow_unknown_model, webhook_judge(settings)
    )
    with checked_file(file, settings, options, form=form, is_quiet=True) as checked:
        known = _find_known(checked, settings, sandbox=sandbox)
        show_check(checked, known, settings, common.format_for(one=price), is_priced=price)
    if checked.fault_count:
        sys.exit(Exit.USAGE)
    if strict and checked.warning_count:
        sys.exit(Exit.NOT_ALL_SUCCEEDED)


def _find_known(checked: CheckedFile, settings: Settings, *, sandbox: bool) -> Known | None:
    """Return what earlier jobs answer, None when nobody can say. A place without jobs is left as it is."""
    if sandbox:
        settings = at_sandbox(settings)
    if not checked.is_whole:
        return None
    try:
        with open_app(settings) as app:
            return find_known(checked, app.batches)
    except NotFound:
        return Known(0, ())
    except (ConfigError, StepError) as error:
        click.echo(inert_line(f"earlier jobs were not looked for: {error}"), err=True)
        return None


@click.command()
@FILE
@ALLOW_PARTIAL
@click.option("--max-cost", type=Money(), help="Refuse before the first cent if the file would cost more.")
@click.option("--force-new", is_flag=True, help="Pay for every line again, even if the same file has run before.")
@click.option("--sandbox", is_flag=True, help="For the simulator: nothing is paid.")
@FORMAT
@ALLOW_UNKNOWN_MODEL
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@WEBHOOK
@common_options
def submit(
    common: CommonOptions,
    file: Path,
    allow_partial: bool,
    max_cost: int | None,
    force_new: bool,
    sandbox: bool,
    form: str | None,
    allow_unknown_model: bool,
    yes: bool,
    webhook: str | None,
) -> None:
    """Record every job of FILE as a batch. All lines or none, unless --allow-partial is given.

    Says count and cost first and, on a terminal, asks. Workers take the jobs at once when ORCHESTRATOR_BROKER_URL is
    set, so that in a pipe --yes is needed then. Else nothing is paid before the command that is named runs them, and a
    pipe needs no --yes.
    """
    settings = common.settings()
    broker_url = require_broker(settings) if settings.broker_url is not None and not sandbox else None
    options = CheckOptions(
        ENVIRONMENT if sandbox else settings.zai_base_url, allow_unknown_model, webhook_judge(settings)
    )
    with checked_file(file, settings, options, form=form) as checked, ExitStack() as stack:
        checked.require_good(is_partial=allow_partial)
        if sandbox:
            settings = stack.enter_context(sandboxed(settings))
        app = stack.enter_context(open_app(settings, may_migrate=broker_url is None))
        _ask_submit(app, checked, is_sure=yes, is_paid_at_once=broker_url is not None)
        intake = take_checked(
            app, checked, is_forced=force_new, is_partial=allow_partial, max_cost=max_cost, is_sure=yes, webhook=webhook
        )
        print_one(_batch_row(intake, checked), common.format_for(one=True))
        batch = intake.batch
        if batch.finished_at is None:
            click.echo(f"recorded; {leave(app, batch)}", err=True)
        else:
            click.echo(f"nothing of it is left to run. Look with: {command('batches show', batch.id)}", err=True)


def _ask_submit(app: App, checked: CheckedFile, *, is_sure: bool, is_paid_at_once: bool) -> None:
    """Say what the file comes to, and ask unless it is a batch already. What is paid for again is asked for by itself.

    Where workers begin to pay at once, a command line alone agrees to nothing.
    """
    batch = app.batches.find_newest(checked.identity_sha256, checked.options.environment)
    if batch is not None and batch.is_intake_done:
        return
    is_asking = not is_sure and is_terminal()
    known = find_known(checked, app.batches) if is_asking else None
    tell_check(checked, known, app.settings, is_priced=True)
    ask("submit them?", is_sure=is_sure, is_said=not is_paid_at_once)


def _batch_row(intake: Intake, checked: CheckedFile) -> dict[str, object]:
    batch = intake.batch
    return {
        "id": batch.id,
        "object": "batch",
        "name": batch.name,
        "job_count": batch.line_count,
        "new_count": intake.new_count,
        "reused_count": intake.reused_count,
        "unheard_count": intake.unheard_count,
        "refused_count": batch.refused_count,
        "max_cost": None if batch.max_cost_micros is None else show_micros(batch.max_cost_micros),
        "cost": {"currency": intake.cost.currency, "estimate": show_micros(intake.cost.micros)},
        "unpriced_count": intake.cost.unpriced_count,
        "is_resumed": intake.is_resumed,
        "archive": f"{batch.archive_url}/batches/{batch.id}/",
        "input": f"input{checked.form.extension}",
    }

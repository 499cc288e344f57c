"""`orchestrator run FILE`: the main job, in one process, nothing else running."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from orchestrator.cli.exits import Exit, fault_text, tell_request_error
from orchestrator.cli.fleet import require_broker
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.running import HowToRun, run_to_end
from orchestrator.cli.sandbox import ENVIRONMENT, sandboxed
from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError, Conflict
from orchestrator.services.batches import Intake, Taker, show_micros
from orchestrator.services.intake import CheckedFile, CheckOptions, check_file, take_file
from orchestrator.services.lifecycle import needs_new_charge, retry_job
from orchestrator.wiring import App, kinds_by_name, open_app

MICROS = 1_000_000


class Money(click.ParamType[int]):
    """An amount in the price table's currency, kept in micro-units."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return micro-units."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount such as 12.50", param, ctx)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount such as 12.50", param, ctx)
        return int(amount * MICROS)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
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
@click.option("--allow-unknown-model", is_flag=True, help="Let models through that are not in our tables, unpriced.")
@click.option("--broker", is_flag=True, help="Hand the jobs to running workers (ORCHESTRATOR_BROKER_URL) and watch.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before paying again.")
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
    allow_unknown_model: bool,
    broker: bool,
    yes: bool,
) -> None:
    """Run every job of FILE (JSONL, one request a line; - reads stdin) and archive what comes out.

    The whole file is checked first: if any line is wrong, every fault is shown and nothing is submitted. Then one
    results line is printed per job as it ends. Run the same file again to go on where it stopped: nothing is paid for
    twice. Ctrl-C stops cleanly.

    \b
    Try it without a key:    orchestrator run examples/quickstart.jsonl --sandbox
    For real:                ORCHESTRATOR_ZAI_API_KEY=... orchestrator run jobs.jsonl --max-cost 10
    By a fleet of workers:   orchestrator run jobs.jsonl --broker
    """
    settings = common.settings(archive_url=archive)
    how = HowToRun(concurrency, _broker(settings, sandbox=sandbox, concurrency=concurrency) if broker else None)
    options = CheckOptions(ENVIRONMENT if sandbox else settings.zai_base_url, allow_unknown_model)
    with _job_file(file) as (path, folder, name):
        checked = check_file(
            path, kinds_by_name(), options=options, folder=folder, file_roots=_roots(settings), name=name
        )
        for warning in checked.warnings:
            click.echo(fault_text(warning), err=True)
        checked.require_good()
        if not (sandbox or broker) and settings.zai_api_key is None:
            raise ConfigError("ORCHESTRATOR_ZAI_API_KEY", "needed to run jobs; or try --sandbox, which needs no key")
        with ExitStack() as stack:
            if sandbox:
                settings = stack.enter_context(sandboxed(settings))
            app = stack.enter_context(open_app(settings, may_migrate=not broker))
            intake = _take(app, checked, is_forced=force_new, max_cost=max_cost, is_sure=yes)
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


@contextmanager
def _job_file(file: Path) -> Iterator[tuple[Path, Path | None, str | None]]:
    """Give the path to read; stdin is kept in a file first, since it is read twice. Paths in it are relative to here."""
    if str(file) != "-":
        yield file, None, None
        return
    with tempfile.NamedTemporaryFile(prefix="orchestrator-", suffix=".jsonl") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name), Path.cwd(), "stdin"


def _roots(settings: Settings) -> list[Path]:
    return [Path(root) for root in settings.file_roots]


def _take(app: App, checked: CheckedFile, *, is_forced: bool, max_cost: int | None, is_sure: bool) -> Intake:
    taker = Taker(
        batches=app.batches,
        store=app.stores.open(app.settings.archive),
        clock=app.clock,
        rng=app.rng,
        spool=app.settings.spool_dir,
    )
    known = app.batches.find_newest(checked.identity_sha256, checked.options.environment)
    if is_forced and known is not None:
        cost = show_micros(checked.estimate.micros)
        _ask(f"{checked.line_count} jobs ran before; pay for them again, about {cost}?", is_sure=is_sure)
    intake = take_file(checked, taker, is_forced=is_forced, max_cost_micros=max_cost)
    _tell_intake(intake, checked)
    return intake


def _tell_intake(intake: Intake, checked: CheckedFile) -> None:
    _tell_budget(intake)
    if intake.batch.cancel_requested_at is not None:
        click.echo(f"{intake.batch.id} is being cancelled: lines that were not in yet stay out", err=True)
    name = f"{checked.name}: {checked.line_count} jobs ({intake.batch.id})"
    if intake.is_resumed and not intake.new_count and not intake.reused_count:
        click.echo(f"{name}, known already: going on where it stopped; nothing is paid for twice", err=True)
        return
    parts = [f"{intake.new_count} new"]
    if intake.reused_count:
        parts.append(f"{intake.reused_count} reused from earlier runs, not paid again")
    click.echo(f"{name}: {', '.join(parts)}; {_price_text(intake)}", err=True)


def _tell_budget(intake: Intake) -> None:
    """Say what holds for a known batch: the budget it has, or the one that it had."""
    limit, former = intake.batch.max_cost_micros, intake.former_budget
    if limit is None or not intake.is_resumed:
        return
    if limit == former:
        click.echo(f"budget: {show_micros(limit)}, as before; --max-cost changes it", err=True)
    else:
        before = "none" if former is None else show_micros(former)
        click.echo(f"budget: {show_micros(limit)} from now on; it was {before}", err=True)


def _price_text(intake: Intake) -> str:
    text = f"{show_micros(intake.cost.micros)} {intake.cost.currency} by the price table"
    return f"{text}, {intake.cost.unpriced_count} without a price" if intake.cost.unpriced_count else text


def _ask(question: str, *, is_sure: bool) -> None:
    """Ask whoever sits at the terminal before something is paid again; scripts have said it with the option."""
    if is_sure or not sys.stdin.isatty() or click.confirm(question, err=True):
        return
    click.echo("nothing was submitted", err=True)
    sys.exit(Exit.BUDGET)


def _retry_failed(app: App, batch_id: str, *, is_sure: bool) -> None:
    failed = list(app.history.iter_members(batch_id, states=("failed",)))
    charged = [job for job in failed if needs_new_charge(job, app.rules, app.clock.now())]
    micros = sum(job.price.micros for job in charged if job.price)
    if failed:
        click.echo(
            f"retrying {len(failed)} failed jobs, {len(charged)} as new charges of about {show_micros(micros)}",
            err=True,
        )
    if charged:
        _ask("go on?", is_sure=is_sure)
    for job in failed:
        try:
            retry_job(app.jobs, job.id, rules=app.rules, may_charge=True, actor="local", reason="run --retry-failed")
        except Conflict as conflict:  # an unexplained call of it may still be under way: the others need not wait
            tell_request_error(conflict)

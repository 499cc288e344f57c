"""What every command that takes a job file shares: its options, where the file comes from, and how a check is told."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from orchestrator.cli.adopting import open_taker
from orchestrator.cli.asking import ask
from orchestrator.cli.exits import fault_text
from orchestrator.cli.noting import ACTOR, note
from orchestrator.cli.output import counted
from orchestrator.config import Settings
from orchestrator.domain.redact import inert
from orchestrator.services.batches import Intake, show_micros
from orchestrator.services.intake import CheckedFile, CheckOptions, check_file, take_file
from orchestrator.services.jobfile.entries import Form
from orchestrator.services.jobfile.lines import CHUNK_BYTES
from orchestrator.wiring import App, kinds_by_name, make_link_judge

MICROS = 1_000_000
OVER, GOING_ON = "it has finished", "going on where it stopped"
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
FORMAT = click.option(
    "--format", "form", type=click.Choice([form.value for form in Form]), help="Form of FILE. [by its name; jsonl]"
)
ALLOW_PARTIAL = click.option(
    "--allow-partial", is_flag=True, help="Leave bad lines out instead of refusing the file; their faults are kept."
)
ALLOW_UNKNOWN_MODEL = click.option(
    "--allow-unknown-model", is_flag=True, help="Let models through that are not in our tables, unpriced."
)


WEBHOOK = click.option(
    "--webhook", metavar="URL", help="Hears what becomes of it, signed with the project's secret (webhooks secret)."
)


MOST = 1_000_000_000
"""More money than any budget, and well within what the databases count in micro-units."""


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
        if amount > MOST:
            self.fail(f"{value!r} is more than can be counted; {MOST} is the most", param, ctx)
        return int(amount * MICROS)


@contextmanager
def checked_file(
    file: Path, settings: Settings, options: CheckOptions, *, form: str | None = None, is_quiet: bool = False
) -> Iterator[CheckedFile]:
    """Check the file and, unless `is_quiet`, say its warnings; it stays readable until the end of the block."""
    with _job_file(file, Form(form) if form else Form.JSONL) as (path, folder, name):
        checked = check_file(
            path,
            kinds_by_name(),
            options=options,
            folder=folder,
            file_roots=[Path(root) for root in settings.file_roots],
            name=name,
            form=Form(form) if form else None,
            judge_link=make_link_judge(settings),
        )
        for warning in () if is_quiet else checked.warnings:
            click.echo(inert(fault_text(warning)), err=True)
        yield checked


@contextmanager
def _job_file(file: Path, form: Form) -> Iterator[tuple[Path, Path | None, str | None]]:
    """Give the path to read; stdin is kept in a file first, since it is read twice. Paths in it are relative to here.

    No more of stdin is kept than one byte over what a file may have: the check then says that it is too large.
    """
    if str(file) != "-":
        yield file, None, None
        return
    with tempfile.NamedTemporaryFile(prefix="orchestrator-", suffix=".jsonl") as copy:
        left = form.max_bytes + 1
        while left and (chunk := sys.stdin.buffer.read(min(left, CHUNK_BYTES))):
            copy.write(chunk)
            left -= len(chunk)
        copy.flush()
        yield Path(copy.name), Path.cwd(), "stdin"


def take_checked(
    app: App,
    checked: CheckedFile,
    *,
    is_forced: bool,
    is_partial: bool,
    max_cost: int | None,
    is_sure: bool,
    webhook: str | None,
) -> Intake:
    """Make the file a batch; ask before anything is paid again, and say what came of it."""
    taker = open_taker(app)
    if webhook is not None and checked.options.judge is not None:
        checked.options.judge(webhook)
    known = app.batches.find_newest(checked.identity_sha256, checked.options.environment)
    if is_forced and known is not None:
        cost = show_micros(checked.estimate.micros)
        ask(f"{counted(checked.good_count, 'job')} ran before; pay again, about {cost}?", is_sure=is_sure, is_said=True)
    if is_partial and checked.is_whole and checked.good_count:
        _tell_refused(checked)
    note(app, "batch.create", checked.sha256, owner=ACTOR, count=checked.good_count)
    intake = take_file(
        checked, taker, is_forced=is_forced, max_cost_micros=max_cost, is_partial=is_partial, webhook=webhook
    )
    _tell_intake(intake, checked)
    if webhook is not None and intake.batch.finished_at is not None:
        click.echo(f"{intake.batch.id} has ended: a webhook that is named now hears nothing of that", err=True)
    return intake


def _tell_refused(checked: CheckedFile) -> None:
    for fault in checked.faults:
        click.echo(inert(fault_text(fault)), err=True)
    if checked.refused:
        click.echo(f"{len(checked.refused)} of {checked.line_count} lines are left out", err=True)


def _tell_intake(intake: Intake, checked: CheckedFile) -> None:
    _tell_budget(intake)
    if intake.batch.finished_at is not None and intake.batch.cancel_requested_at is not None:
        advice = "`batches retry` tries its lines again, --force-new all of the file"
        click.echo(f"{intake.batch.id} was cancelled and has finished; {advice}", err=True)
    elif intake.batch.cancel_requested_at is not None:
        click.echo(f"{intake.batch.id} is being cancelled: lines that were not in yet stay out", err=True)
    name = inert(f"{checked.name}: {counted(intake.batch.line_count, 'job')} ({intake.batch.id})")
    if intake.is_resumed and not intake.new_count and not intake.reused_count:
        is_over = intake.batch.finished_at is not None
        click.echo(f"{name}, known already: {OVER if is_over else GOING_ON}; nothing is paid for twice", err=True)
        return
    parts = [f"{intake.new_count} new"]
    if intake.reused_count:
        parts.append(f"{intake.reused_count} reused from earlier runs, not paid again")
    click.echo(f"{name}: {', '.join(parts)}; {_price_text(intake)}", err=True)
    if count := intake.unheard_count:
        whose = "a line is" if count == 1 else f"{count} lines are"
        click.echo(f"{whose} answered by jobs that had ended: no webhook named there hears of those", err=True)


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

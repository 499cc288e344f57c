"""`orchestrator doctor`: the auditor on the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import click
from pydantic import SecretStr

from orchestrator.cli.diagnosis import show_report
from orchestrator.cli.exits import Exit
from orchestrator.cli.fleet import load_celery
from orchestrator.cli.ledgers import find_ledger
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.sandbox import SANDBOX_KEY
from orchestrator.config import Settings
from orchestrator.domain.audit import Violation
from orchestrator.domain.errors import ConfigError, StepError
from orchestrator.services.doctor import Look, Patient, examine
from orchestrator.services.doctor.mend import run_maintenance
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.wiring import (
    App,
    Closeness,
    check_database,
    check_search,
    make_patient,
    make_patient_without_table,
    newest_schema,
    open_app,
    open_lanes,
    with_place,
)


class Share(click.ParamType[float]):
    """`1%`, `100%`."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a part of one."""
        text = str(value).removesuffix("%")
        try:
            percent = float(text)
        except ValueError:
            percent = -1
        if not 0 <= percent <= 100:
            self.fail(f"{value!r} is not a share such as 1% or 100%", param, ctx)
        return percent / 100


@click.command()
@click.option(
    "--fix", is_flag=True, help="First run the maintenance that a worker runs anyway: costs nothing, decides nothing."
)
@click.option(
    "--verify", type=Share(), default="0%", show_default=True, help="Read and hash this share of the archived objects."
)
@click.option("--all", "is_whole", is_flag=True, help="Look up every key in the archive, not only the newest 20,000.")
@click.option("--ledger", metavar="URL|DIR", help="Compare with this sandbox's ledger: its address, or what it keeps.")
@common_options
def doctor(common: CommonOptions, fix: bool, verify: float, is_whole: bool, ledger: str | None) -> None:
    """Compare job table, archive, journals and a sandbox's ledger; exit 3 when anything was found.

    Every finding says in words what is not as it must be, and the command that mends it. Also shown: each setting with
    where it came from, secrets hidden, and how database, broker, archive, clocks and disk stand. Changes nothing
    without --fix, but for a small object that is written to the archive and deleted again.

    \b
    Jobs of `run --sandbox` live in a data directory of their own, with their ledger:
        orchestrator --data-dir .orchestrator/sandbox doctor
    """
    settings, sources = common.settings_and_sources()
    with ExitStack() as stack:
        patient, app = _open(stack, settings, Closeness(verify, is_whole))
        if app is not None:
            found = find_ledger(settings, ledger)
            notes = (*patient.problems, *found.notes)
            patient = replace(patient, ledger=found.read, problems=notes)
        fixed = _mend(app) if fix else ()
        report = examine(with_place(patient, settings, ask_broker=_asking(settings)), fixed=fixed)
    show_report(report, settings, sources, common.format_for(one=True))
    sys.exit(Exit.OK if report.is_healthy else Exit.NOT_ALL_SUCCEEDED)


def _open(stack: ExitStack, settings: Settings, closeness: Closeness) -> tuple[Patient, App | None]:
    """Open the job table; what keeps it shut is the first finding, and the rest is examined without it."""
    problem: Violation | Look
    if settings.database_url is None and not settings.database_file.exists():
        problem = Look("job table", f"there are no jobs in {settings.data_dir} yet")
        return make_patient_without_table(settings, problem), None
    try:
        words = check_database(settings)
        if words is None:
            app = stack.enter_context(open_app(settings))
            schema = Look("schema", f"{newest_schema()}, as this version needs it")
            search = Look("search", check_search(settings) or "words of prompts have their index")
            return replace(make_patient(app, closeness=closeness), problems=(schema, search)), app
        problem = Violation("schema_wrong", "database", {"problem": words})
    except StepError as error:
        problem = Violation("database_unreachable", "database", {"problem": str(error)})
    return make_patient_without_table(settings, problem), None


def _mend(app: App | None) -> tuple[Look, ...]:
    """Run the maintenance. The lanes want a key of the provider; maintenance calls nobody, so any will do."""
    if app is None:
        return (Look("maintenance", "not run: there is no job table to work on"),)
    settings = app.settings
    if settings.zai_api_key is None:
        settings = settings.model_copy(update={"zai_api_key": SecretStr(SANDBOX_KEY)})
    try:
        with open_lanes(replace(app, settings=settings), Mailboxes()) as context:
            try:
                return run_maintenance(context)
            finally:
                asyncio.run(context.provider.close())
    except ConfigError as error:
        return (Look("maintenance", f"not run: {error}"),)


def _asking(settings: Settings) -> Callable[[], None] | None:
    """Return what asks the broker; None where there is none."""
    url = settings.broker_url
    return None if url is None else lambda: load_celery().ask_broker(url)

"""`orchestrator jobs`: the history of jobs, on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from orchestrator.cli.actions import adopt, attach, resubmit, write_off
from orchestrator.cli.exits import Exit
from orchestrator.cli.job_changes import cancel, retry
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_one, print_rows
from orchestrator.cli.prefix import command, next_page, pasteable
from orchestrator.cli.review import review
from orchestrator.cli.running import HowToRun, opened_to_run, run_to_end
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job
from orchestrator.domain.progress import AnyHold
from orchestrator.domain.query import parse_query
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.explain import advise, advise_waiting
from orchestrator.services.export import EXPORT_COLUMNS, export_jobs
from orchestrator.services.views import event_object, explain, job_object, submission_object
from orchestrator.wiring import App, error_catalogue, open_app

COLUMNS = ("id", "custom_id", "model", "status", "created_at")
EVENT_COLUMNS = ("sequence", "at", "type", "from_state", "to_state", "actor", "reason")
WATCH_SECONDS = 0.5


@contextmanager
def _open(common: CommonOptions) -> Iterator[App]:
    with open_app(common.settings()) as app:
        yield app


@click.group()
@common_options
def jobs(common: CommonOptions) -> None:
    """Look at jobs: what runs, what ran, why one waits.

    \b
    Jobs of `run --sandbox` live in a data directory of their own:
        orchestrator --data-dir .orchestrator/sandbox jobs list
    """


@jobs.command("list")
@click.argument("query", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most jobs shown.")
@click.option("--after", metavar="ID", help="Go on behind this job.")
@common_options
def list_jobs(common: CommonOptions, query: tuple[str, ...], limit: int, after: str | None) -> None:
    """List jobs, newest first.

    \b
    QUERY: status:failed model:cogvideox-3 tag:campaign=spring created:>7d cost:>0.5 kite; -field:x negates (put it
    behind --, or write the whole query in one pair of quotes). docs/history.md has all of it.
    """
    with _open(common) as app:
        wanted = parse_query(" ".join(query), now=app.clock.now(), kinds=app.kinds)
        page = app.history.list_jobs(wanted, limit=limit, after=after)
        now = app.clock.now()
        output = common.format_for(one=False)
        holds = _find_holds(app, page.jobs)
        rows = [job_object(job, now=now, kinds=app.kinds, hold=holds.get(job.id)) for job in page.jobs]
        print_rows(rows, EXPORT_COLUMNS if output == "csv" else COLUMNS, output)
        if page.has_more:
            click.echo(inert_line(f"more: {next_page('jobs list', page.jobs[-1].id, *query)}"), err=True)


def _find_holds(app: App, page: Sequence[Job]) -> dict[str, AnyHold | None]:
    """Return what holds each queued job; those that wait in one place wait for one thing, which is asked for once."""
    places: dict[tuple[object, ...], AnyHold | None] = {}
    holds: dict[str, AnyHold | None] = {}
    for job in page:
        if job.state is State.QUEUED:
            place = (job.credential, job.model, job.priority, job.batch_id)
            if place not in places:
                places[place] = app.progress.find_hold(job.id)
            holds[job.id] = places[place]
    return holds


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Also every submission with the provider's raw answer.")
@common_options
def show(common: CommonOptions, job_id: str, raw: bool) -> None:
    """Show one job whole: its input, outputs, cost and, if it failed, why and what to do."""
    with _open(common) as app:
        job = app.history.get_job(job_id)
        row = job_object(job, now=app.clock.now(), kinds=app.kinds, hold=app.progress.find_hold(job_id))
        if raw:
            row["submissions"] = [submission_object(record) for record in app.history.list_submissions(job_id)]
        print_one(row, common.format_for(one=True))


@jobs.command()
@click.argument("job_id", metavar="ID")
@common_options
def events(common: CommonOptions, job_id: str) -> None:
    """Show everything that ever happened to a job, oldest first."""
    with _open(common) as app:
        app.history.get_job(job_id)
        rows = [event_object(event) for event in app.history.list_events(job_id)]
        print_rows(rows, EVENT_COLUMNS, common.format_for(one=False))


@jobs.command()
@click.argument("job_id", metavar="ID")
@common_options
def why(common: CommonOptions, job_id: str) -> None:
    """Say in one sentence what a job waits for and when it will move."""
    with _open(common) as app:
        job = app.history.get_job(job_id)
        hold = app.progress.find_hold(job_id)
        click.echo(inert_line(explain(job, now=app.clock.now(), kinds=app.kinds, hold=hold)))
        advice = advise(job, app.kinds) or advise_waiting(job, error_catalogue(), hold=hold)
        if advice is not None:
            click.echo(inert_line(f"hint: {pasteable(advice)}"), err=True)


@jobs.command()
@click.argument("job_id", metavar="ID")
@common_options
def watch(common: CommonOptions, job_id: str) -> None:
    """Follow a job until nothing moves any more; exit 3 unless it succeeded.

    Watching does no work: a `run` or a worker must be running elsewhere.
    """
    import threading

    pause = threading.Event()
    output = common.format_for(one=False)
    with _open(common) as app:
        seen = 0
        while True:
            job = app.history.get_job(job_id)
            rows = [event for event in app.history.list_events(job_id) if event.sequence > seen]
            for event in rows:
                seen = event.sequence
                _print_event(event_object(event), output)
            if job.state not in ACTIVE:
                sys.exit(Exit.OK if job.state is State.SUCCEEDED else Exit.NOT_ALL_SUCCEEDED)
            pause.wait(WATCH_SECONDS)


def _print_event(row: dict[str, object], output: str) -> None:
    if output == "table":
        click.echo(inert_line(f"{row['at']}  {row['type']:<20} {row['to_state'] or ''}  {row['reason']}"))
    else:
        print_rows([row], EVENT_COLUMNS, "jsonl" if output == "json" else output)


@jobs.command("run")
@click.argument("job_id", metavar="ID")
@click.option("--sandbox", is_flag=True, help="The job was recorded with --sandbox.")
@common_options
def run_job(common: CommonOptions, job_id: str, sandbox: bool) -> None:
    """Run the lanes here until a recorded job has ended: what `submit` without --wait left for later."""
    with opened_to_run(common.settings(), sandbox=sandbox, what="job") as app:
        job = app.history.get_job(job_id)
        batch = app.batches.get(job.batch_id or "")
        if (count := app.batches.count_states(batch.id).total) > 1:
            raise Conflict(
                f"{job_id} is one of the {count} jobs of {batch.name}, which would all be run and paid for",
                hint="run the file again: `orchestrator run FILE` goes on where it stopped",
            )
        how = HowToRun(again=f"go on with: {command('jobs run', job_id)}")
        sys.exit(run_to_end(app, batch.id, output=common.format_for(one=False), how=how))


@jobs.command()
@click.argument("query", nargs=-1)
@common_options
def export(common: CommonOptions, query: tuple[str, ...]) -> None:
    """Print every job that matches QUERY, without a limit: -o csv (safe for spreadsheets) or jsonl."""
    output = "csv" if common.output == "csv" else "jsonl"
    with _open(common) as app:
        now = app.clock.now()
        wanted = parse_query(" ".join(query), now=now, kinds=app.kinds)
        for line in export_jobs(app.history, wanted, now=now, kinds=app.kinds, form=output):
            sys.stdout.write(line)


for each in (adopt, attach, cancel, resubmit, retry, review, write_off):
    jobs.add_command(each)

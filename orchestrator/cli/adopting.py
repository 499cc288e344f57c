"""`orchestrator jobs adopt --file FILE`: many tasks of elsewhere become jobs, each told as it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import click

from orchestrator.cli.next_step import is_for_workers, next_steps
from orchestrator.cli.noting import note
from orchestrator.cli.output import inert_line, print_rows
from orchestrator.cli.prefix import command
from orchestrator.services.adoption import AdoptRequest, adopt_task
from orchestrator.services.adoption_file import AdoptLine, read_adoptions
from orchestrator.services.batches import Taker
from orchestrator.services.jobfile.lines import read_chunks
from orchestrator.wiring import App

COLUMNS = ("line", "task_id", "id", "adopted")
TOLD_EVERY = 500  # tasks: a few seconds' work


def adopt_file(app: App, source: BinaryIO, usual: AdoptRequest, *, actor: str, reason: str, output: str) -> None:
    """Adopt every task of a file, one row of data for each. Raises InvalidParams, with nothing adopted."""
    lines = read_adoptions(read_chunks(source), usual, app.kinds)
    made, counts = list[str](), Counter[bool]()
    note(app, "job.adopt", "a file of tasks", owner=actor, reason=reason, count=len(lines))

    def adopt_each() -> Iterator[dict[str, object]]:
        for line in lines:
            row = _adopt_line(app, line, actor=actor, reason=reason)
            counts[bool(row["adopted"])] += 1
            if row["adopted"]:
                made.append(str(row["id"]))
            if counts.total() % TOLD_EVERY == 0:
                click.echo(f"{counts.total()} of {len(lines)} tasks", err=True)
            yield row

    print_rows(adopt_each(), COLUMNS, output)
    said = f"{len(lines)} task{'' if len(lines) == 1 else 's'}: {counts[True]} adopted, {counts[False]} known already"
    click.echo(inert_line("; ".join([said, *_next_steps(app, made)])), err=True)


def open_taker(app: App) -> Taker:
    """Return who takes jobs in here, into the archive of the settings."""
    store = app.stores.open(app.settings.archive)
    return Taker(app.batches, store, app.clock, app.rng, app.settings.spool_dir)


def _adopt_line(app: App, line: AdoptLine, *, actor: str, reason: str) -> dict[str, object]:
    adopted = adopt_task(
        app.jobs,
        line.request,
        open_taker(app),
        kinds=app.kinds,
        task_lives=app.settings.assumed_task_life,
        actor=actor,
        reason=reason,
    )
    return {"line": line.number, "task_id": line.request.task_id, "id": adopted.job_id, "adopted": adopted.is_new}


def _next_steps(app: App, made: Sequence[str]) -> list[str]:
    """Each is a batch of one: here one command serves them all."""
    jobs = [app.history.get_job(job_id) for job_id in made[:2]]
    if len(jobs) < 2 or is_for_workers(app, jobs[0].batch_id or ""):
        return next_steps(app, jobs)
    return [f"poll and archive them with: {command('archive sweep')}"]

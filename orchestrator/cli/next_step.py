"""Who takes it from here: said wherever a command leaves work behind, for then nothing of it may seem to be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import click

from orchestrator.cli.fleet import waking
from orchestrator.cli.output import inert_line
from orchestrator.cli.prefix import command
from orchestrator.cli.sandbox import ENVIRONMENT
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import Job
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.wiring import App

SHOWN = 5  # commands named; who moved more at once has a file to run
READ_AT_ONCE = 500
LANES: Mapping[State, LaneName] = {
    State.QUEUED: LaneName.SUBMIT,
    State.PROCESSING: LaneName.POLL,
    State.ARCHIVING: LaneName.ARCHIVE,
}


def tell_next_step(app: App, job_ids: Iterable[str]) -> None:
    """Say on stderr who works on the jobs that a person has just moved; nothing of those that do not move."""
    named = dict.fromkeys(job_ids)
    left, found = iter(named), dict[str, Job]()
    while group := list(islice(left, READ_AT_ONCE)):
        found |= {job.id: job for job in app.bulk.load(group)}
    for step in next_steps(app, [found[job_id] for job_id in named]):
        click.echo(inert_line(step), err=True)


def next_steps(app: App, jobs: Sequence[Job]) -> list[str]:
    """Return one line per thing to do: the workers are told and named once, else the commands that run the jobs."""
    moving = [job for job in jobs if job.state in LANES]
    is_theirs = {batch_id: is_for_workers(app, batch_id) for batch_id in {job.batch_id or "" for job in moving}}
    theirs = [job for job in moving if is_theirs[job.batch_id or ""]]
    ours = [job for job in moving if not is_theirs[job.batch_id or ""]]
    steps = [_hand_over(app, theirs)] if theirs else []
    commands = list(dict.fromkeys(_name_commands(app, ours)))
    more = [f"and {len(commands) - SHOWN} more batches"] if len(commands) > SHOWN else []
    return [*steps, *commands[:SHOWN], *more]


def is_for_workers(app: App, batch_id: str) -> bool:
    """Return True when running workers take the jobs of a batch: they share its database, and it is no sandbox's."""
    settings = app.settings
    if settings.broker_url is None or settings.database.startswith("sqlite"):
        return False
    return app.batches.get(batch_id).environment != ENVIRONMENT


def _hand_over(app: App, jobs: Sequence[Job]) -> str:
    try:
        with waking(app.settings.broker_url or "", clock=app.clock) as wakeup:
            for lane in {LANES[job.state] for job in jobs}:
                wakeup.wake(lane)
    except ConfigError as error:  # they look by themselves, and what was done is done
        click.echo(inert_line(f"warning: the workers were not woken: {error}"), err=True)
    if len(jobs) > 1:
        return f"the workers take them from here. Look with: {command('jobs list')}"
    return f"the workers take it from here. Watch it with: {command('jobs watch', jobs[0].id)}"


def _name_commands(app: App, jobs: Iterable[Job]) -> Iterator[str]:
    """A job by itself is run by its id; `jobs run` refuses a line of a file, which goes on with its batch."""
    one_of_each = {job.batch_id or "": job for job in reversed(list(jobs))}
    for batch_id, job in reversed(one_of_each.items()):
        if app.batches.count_states(batch_id).total == 1:
            yield f"run it with: {command('jobs run', job.id)}"
        else:
            yield f"run it, and what else waits in its batch, with: {command('batches run', batch_id)}"

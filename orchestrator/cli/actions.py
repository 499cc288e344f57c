"""`orchestrator jobs attach|resubmit|write-off|adopt`: what a person decides about a job that cannot decide itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import click

from orchestrator.cli.adopting import adopt_file, open_taker
from orchestrator.cli.asking import ask
from orchestrator.cli.exits import Exit, tell_request_error
from orchestrator.cli.fleet import require_broker
from orchestrator.cli.next_step import next_steps, tell_next_step
from orchestrator.cli.noting import ACTOR, note, note_job
from orchestrator.cli.options import CommonOptions, common_options, read_pair
from orchestrator.cli.output import inert_line, print_one
from orchestrator.cli.restored import show_prices
from orchestrator.domain.decide import decide_resubmit
from orchestrator.domain.errors import ConfigError, RequestError, StepError
from orchestrator.domain.job import Job
from orchestrator.services.adoption import AdoptRequest, adopt_task
from orchestrator.services.asking import is_to_be_asked, require_known
from orchestrator.services.lifecycle import attach_task, resubmit_job, write_off_job
from orchestrator.services.views import job_object
from orchestrator.wiring import App, ask_provider, open_app

EARLIER_CALL = "an earlier call of each may have been taken: then it is charged as well"
REASON = click.option("--reason", default="", help="Kept in the history.")


def for_each(job_ids: Iterable[str], act: Callable[[str], str]) -> int:
    """Act on each job; one that cannot be acted on does not stop the others. Return the exit code of the first such."""
    code = int(Exit.OK)
    for job_id in job_ids:
        try:
            click.echo(inert_line(f"{job_id}: {act(job_id)}"))
        except RequestError as error:
            tell_request_error(error)
            code = code or error.exit_code
    return code


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--task-id", required=True, metavar="T", help="The task's id, as the provider's console shows it.")
@click.option("--unchecked", is_flag=True, help="Do not ask the provider whether it knows the task.")
@REASON
@common_options
def attach(common: CommonOptions, job_id: str, task_id: str, unchecked: bool, reason: str) -> None:
    """Tell a job the id of its task: it goes on with it, and nothing is paid again.

    A job that is held, queued or written off is polled from now on. One that has gone on without it keeps the id as a
    paid task that it cannot use (an alarm). Kinds that are answered at once have no task. The provider is asked first
    whether it knows the task, which costs nothing: a slip of the pen would lead the job away from what was paid for.
    """
    with open_app(common.settings()) as app:
        if not unchecked:
            _ask_first(app, job_id, task_id)
        note_job(app, "attach", job_id, reason=reason)
        applied = attach_task(
            app.jobs, job_id, task_id, kinds=app.kinds, rules=app.rules, rng=app.rng, actor=ACTOR, reason=reason
        )
        if applied.decision is not None:
            text = f"{applied.decision.target}: {applied.decision.reason}"
        elif applied.is_extra_paid:
            text = "kept as a paid task that this job cannot use; claim it back from the provider"
        else:
            text = "the task is its own already, or acts when the call in flight has ended"
        click.echo(inert_line(f"{job_id}: {text}"))
        if applied.decision is not None:
            tell_next_step(app, [job_id])


@click.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Agree to the new charges.")
@REASON
@common_options
def resubmit(common: CommonOptions, job_ids: tuple[str, ...], yes: bool, reason: str) -> None:
    """Submit held jobs again: a new charge each. If an earlier try was taken after all, that is paid too.

    Refused until an earlier call can no longer be under way (lease and call deadline).
    """
    with open_app(common.settings()) as app:
        ready, refused = _look_at(app, job_ids)
        if ready and not yes:
            question = f"submit {_count(ready)} again as new charges: {show_prices(ready)}?"
            click.echo(EARLIER_CALL, err=True)
            ask(question, is_sure=False)

        moved: list[str] = []

        def resubmit_one(job_id: str) -> str:
            if not yes and job_id in refused:  # nobody was asked about it, even if its time has come meanwhile
                raise refused[job_id]
            note_job(app, "resubmit", job_id, reason=reason)
            decision = resubmit_job(app.jobs, job_id, rules=app.rules, actor=ACTOR, reason=reason).decision
            moved.append(job_id)
            return f"{decision.target}: {decision.reason}" if decision else "nothing to do"

        code = for_each(job_ids, resubmit_one)
        tell_next_step(app, moved)
    sys.exit(code)


@click.command("write-off")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@REASON
@common_options
def write_off(common: CommonOptions, job_ids: tuple[str, ...], reason: str) -> None:
    """Give held jobs up: they end as failed (written_off), their cost unknown.

    A task id that turns up later, or is attached, still brings one back.
    """
    with open_app(common.settings()) as app:

        def write_one_off(job_id: str) -> str:
            note_job(app, "write_off", job_id, reason=reason)
            write_off_job(app.jobs, job_id, actor=ACTOR, reason=reason)
            return "failed: written off"

        sys.exit(for_each(job_ids, write_one_off))


@click.command()
@click.option("--task-id", metavar="T", help="The task's id at the provider.")
@click.option(
    "--file", "source", type=click.File("rb"), metavar="FILE", help="Many tasks: one on each line. - reads stdin."
)
@click.option("--kind", help="video, or image (models that are not answered at once). A line of FILE may name its own.")
@click.option("--model", "-m", help="The provider's model name. [the kind's first that gives tasks]")
@click.option("--custom-id", help="Your own name for the job.")
@click.option("--tag", "tags", metavar="K=V", multiple=True, help="Label for searching.")
@REASON
@common_options
def adopt(
    common: CommonOptions,
    task_id: str | None,
    source: BinaryIO | None,
    kind: str | None,
    model: str | None,
    custom_id: str | None,
    tags: tuple[str, ...],
    reason: str,
) -> None:
    """Make jobs of tasks that were submitted elsewhere: they are polled and archived like any other, and never paid here.

    \b
    One task:    orchestrator jobs adopt --task-id T --kind video
    Many:        orchestrator jobs adopt --file ids.txt --kind video

    FILE holds a bare id on each line, or an object {"task_id", "kind", "model", "custom_id", "tags"} of which only
    task_id is needed. It is checked whole before anything is adopted. The same task again answers the same job, so a
    file that was interrupted is simply given again.
    """
    _check_what_to_adopt(task_id, is_file=source is not None, custom_id=custom_id, kind=kind)
    settings = common.settings()
    if settings.broker_url is not None:
        require_broker(settings)
    request = AdoptRequest(
        kind=kind or "",
        task_id=task_id or "",
        environment=settings.zai_base_url,
        model=model,
        custom_id=custom_id,
        tags=dict(read_pair("--tag", tag) for tag in tags),
    )
    with open_app(settings, may_migrate=True) as app:
        if source is not None:
            adopt_file(app, source, request, actor=ACTOR, reason=reason, output=common.format_for(one=False))
            return
        note(app, "job.adopt", request.task_id, owner=ACTOR, reason=reason)
        adopted = adopt_task(
            app.jobs,
            request,
            open_taker(app),
            kinds=app.kinds,
            task_lives=settings.assumed_task_life,
            actor=ACTOR,
            reason=reason,
        )
        job = app.history.get_job(adopted.job_id)
        print_one(job_object(job, now=app.clock.now(), kinds=app.kinds), common.format_for(one=True))
        if not adopted.is_new:
            click.echo(f"known already: {job.id} has this task", err=True)
            return
        click.echo(inert_line("; ".join(["adopted", *next_steps(app, [job])])), err=True)


def _check_what_to_adopt(task_id: str | None, *, is_file: bool, custom_id: str | None, kind: str | None) -> None:
    """One task or a file of them, and what belongs to each."""
    if (task_id is not None) is is_file:
        raise click.UsageError("name one task with --task-id, or a file of tasks with --file")
    if is_file and custom_id is not None:
        raise click.UsageError("--custom-id is for one task; in a file each line has its own")
    if not is_file and kind is None:
        raise click.UsageError("Missing option '--kind': video, or image")


def _ask_first(app: App, job_id: str, task_id: str) -> None:
    """Raise Conflict for a task that the provider says it does not know; warn when nobody could ask it."""
    job = app.history.get_job(job_id)
    if not is_to_be_asked(job, task_id, app.kinds):
        return
    try:
        ask_provider(app, lambda provider: require_known(provider, job, task_id))
    except (ConfigError, StepError) as error:
        click.echo(inert_line(f"warning: nobody asked the provider whether it knows task {task_id}: {error}"), err=True)


def _look_at(app: App, job_ids: Sequence[str]) -> tuple[list[Job], dict[str, RequestError]]:
    """Return the jobs that may be resubmitted now, and why the others may not."""
    ready, refused = [], dict[str, RequestError]()
    for job_id in job_ids:
        try:
            job = app.history.get_job(job_id)
            decide_resubmit(job, app.rules, app.clock.now())
        except RequestError as error:
            refused[job_id] = error
            continue
        ready.append(job)
    return ready, refused


def _count(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"

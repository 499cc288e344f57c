"""Bring one batch to its end and say how it ended: with all lanes in this process, or by workers while we watch.

Shared by `run`, `submit --wait` and `jobs run`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import click

from orchestrator.cli.absence import Absence
from orchestrator.cli.exits import Exit
from orchestrator.cli.fleet import waking
from orchestrator.cli.interrupts import Interrupts, Notices, interrupts
from orchestrator.cli.output import inert_line
from orchestrator.cli.prefix import command, pasteable, program
from orchestrator.cli.progress import Display, active_text, progress_display, spending_text
from orchestrator.cli.sandbox import sandboxed
from orchestrator.config import Settings
from orchestrator.domain.advice import Source
from orchestrator.domain.errors import BudgetError, ConfigError, Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.embedded import deliver_now, running_lanes
from orchestrator.services.batch_files import RESULTS, batch_key, write_due_files
from orchestrator.services.batch_views import count_active
from orchestrator.services.explain import advise
from orchestrator.services.export import to_json
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.sweep import (
    finish_batches,
    make_clerk,
    replay_dead_journals,
    resubmit_unknown,
    settle_own_unfinished,
)
from orchestrator.services.views import results_line
from orchestrator.services.watch import BatchWatch, Look
from orchestrator.wiring import App, error_catalogue, open_app, open_lanes

LOOK_SECONDS = 0.25
LOOKS_IN_VAIN = 2400  # ten minutes and more: what a person would wait for a database server to come back
LAST_DELIVERIES = timedelta(seconds=10)  # what is under way then still ends, within its 15 s; no outage is waited for
WATCH_NOTICES = Notices("no longer watching; the workers go on", "no longer watching")


@contextmanager
def opened_to_run(settings: Settings, *, sandbox: bool, what: str) -> Iterator[App]:
    """Open the program for running a recorded job or batch (`what`) in this process. Raises ConfigError without a key."""
    if not sandbox and settings.zai_api_key is None:
        raise ConfigError("ORCHESTRATOR_ZAI_API_KEY", f"needed to run jobs; or --sandbox for a {what} of the simulator")
    with ExitStack() as stack:
        if sandbox:
            settings = stack.enter_context(sandboxed(settings))
        yield stack.enter_context(open_app(settings))


@dataclass(frozen=True)
class RunEnd:
    """How a run ended."""

    look: Look
    held: tuple[Job, ...]
    interrupted: Exit | None

    @property
    def exit_code(self) -> Exit:
        """130 and 143 before 6 before 4 before 3."""
        if self.interrupted is not None:
            return self.interrupted
        if self.look.obstacle_code == BudgetError.code:
            return Exit.BUDGET
        if self.look.obstacle is not None:
            return Exit.PROVIDER_TROUBLE
        succeeded = self.look.counts.by_state.get(State.SUCCEEDED, 0)
        return Exit.OK if succeeded == self.look.counts.total else Exit.NOT_ALL_SUCCEEDED


@dataclass(frozen=True)
class NextSteps:
    """What goes on with a batch that has not ended, in words: now, and when what is left waits for held jobs."""

    now: str
    when_stuck: str


@dataclass(frozen=True)
class HowToRun:
    """Who works: this process, its tasks in flight capped over all models; or, with a broker, the fleet's workers; or,
    with `is_watching`, whoever does anyhow. `again`: what goes on, in words, where it is not `batches run`.
    """

    total_slots: int | None = None
    broker_url: str | None = None
    is_watching: bool = False
    again: str | None = None

    def next_steps(self, batch_id: str) -> NextSteps:
        """Return what goes on with a batch that is left before its end."""
        if self.broker_url is not None or self.is_watching:
            at_once = f"the workers go on; look on with: {command('batches watch', batch_id)}"
            return NextSteps(at_once, "settle them, and the workers go on")
        again = self.again or f"go on with: {command('batches run', batch_id)}"
        return NextSteps(again, f"settle them, then {again}")


def run_to_end(app: App, batch_id: str, *, output: str, how: HowToRun | None = None) -> Exit:
    """Bring a batch to its end, print a results line per job, say how it ended; return the exit code."""
    how = how or HowToRun()

    def render(job: Job) -> str:
        return result_text(results_line(job, now=app.clock.now(), kinds=app.kinds), output)

    if how.broker_url is not None:
        end = hand_over(app, batch_id, broker_url=how.broker_url, render=render)
    elif how.is_watching:
        end = watch_over(app, batch_id, render=render)
    else:
        end = run_batch(app, batch_id, total_slots=how.total_slots, render=render)
    where = app.batches.get(batch_id).archive_url
    advice = {job.id: advise(job, app.kinds) for job in end.held}
    tell_end(end, archive_url=where, advice=advice, steps=how.next_steps(batch_id))
    return end.exit_code


def run_batch(app: App, batch_id: str, *, total_slots: int | None, render: Callable[[Job], str]) -> RunEnd:
    """Run the lanes for `batch_id` and print a line per member as it ends. Only this batch is submitted; everything
    already paid for, of whichever batch, is polled and archived.
    """
    watch = BatchWatch(app.progress, app.batches, app.clock, batch_id, total_slots)
    wakeup = Mailboxes()
    with open_lanes(app, wakeup, batch_id=batch_id, total_slots=total_slots) as context:
        replay_dead_journals(context)  # a killed run's answers first: its jobs need not wait for their leases
        resubmit_unknown(context)  # and what they leave in doubt, where a setting says so: a run ends without its sweep
        with (
            running_lanes(context, wakeup, tick_seconds=app.settings.tick_seconds) as lanes,
            interrupts(lanes) as signals,
            progress_display() as display,
        ):
            look = _watch(watch, lanes, signals, display, render)
        if signals.is_aborted:
            settle_own_unfinished(context)
        finish_batches(context)
        _write_files(app, context, batch_id)
        if signals.signal is None:
            _deliver_last(app)
    return _last_look(app, watch, look, signals, render)


def _write_files(app: App, context: LaneContext, batch_id: str) -> None:
    """Put the results beside the outputs; a store that refuses them now gets them from the next run or sweep."""
    report = write_due_files(make_clerk(context))
    if batch_id in report.written:
        click.echo(f"results: {app.batches.get(batch_id).archive_url}/{batch_key(batch_id, RESULTS)}", err=True)
    elif reason := report.failed.get(batch_id):
        click.echo(inert_line(f"warning: its results are not in the archive yet: {reason}"), err=True)


def _deliver_last(app: App) -> None:
    """What the end of the batch announced is delivered now; what its receiver does not take is left, and said so."""
    left = deliver_now(app.delivering, limit=LAST_DELIVERIES)
    if left:
        click.echo(
            f"webhooks: {left} deliveries are still to be made; a later run or a worker goes on with them "
            f"({program()} webhooks deliveries)",
            err=True,
        )


def hand_over(app: App, batch_id: str, *, broker_url: str, render: Callable[[Job], str]) -> RunEnd:
    """Wake the workers and watch: print a line per member as it ends. A signal ends the watching, not the work."""
    with waking(broker_url, clock=app.clock) as sender:
        sender.wake(LaneName.SUBMIT)
        return watch_over(app, batch_id, render=render)


def watch_over(app: App, batch_id: str, *, render: Callable[[Job], str]) -> RunEnd:
    """Watch others work: print a line per member as it ends. A signal ends the watching, not the work."""
    watch = BatchWatch(app.progress, app.batches, app.clock, batch_id)
    is_over = not count_active(app.batches.count_states(batch_id))
    watching = _Watching(None if is_over else Absence(app, app.batches.get(batch_id)))
    with interrupts(watching, WATCH_NOTICES) as signals, progress_display() as display:
        look = _watch(watch, watching, signals, display, render)
    return _last_look(app, watch, look, signals, render)


class _Lanes(Protocol):
    """What is being watched."""

    def check(self) -> None:
        """Raise what makes watching pointless."""

    @property
    def is_ended(self) -> bool:
        """True once nothing more will come after a signal."""


class _Watching:
    """The lanes run elsewhere: nothing here crashes, and a signal ends the watching at once."""

    is_ended = True

    def __init__(self, absence: Absence | None) -> None:
        self._absence = absence

    def check(self) -> None:
        """Workers speak for themselves; that there are none nobody else says."""
        if self._absence is not None:
            self._absence.look()

    def request_stop(self) -> None:
        """Nothing of ours is in flight."""

    def abort(self) -> None:
        """Nothing of ours is in flight."""


def _last_look(app: App, watch: BatchWatch, look: Look, signals: Interrupts, render: Callable[[Job], str]) -> RunEnd:
    last = watch.look()
    held = tuple(app.progress.list_held(watch.batch_id))
    for job in (*last.ended, *held):
        click.echo(render(job))
    stopped = replace(last, ended=(), obstacle=look.obstacle, obstacle_code=look.obstacle_code)
    at_end = replace(stopped, obstacle=None, obstacle_code=None) if last.is_done else stopped
    return RunEnd(at_end, held, signals.exit_code)


def _watch(
    watch: BatchWatch, lanes: _Lanes, signals: Interrupts, display: Display, render: Callable[[Job], str]
) -> Look:
    patience = _Patience()
    while True:
        lanes.check()
        look = patience.look(watch)
        if look is not None:
            for job in look.ended:
                display.emit(render(job))
            for stop in look.stops:
                display.tell(inert_line(f"nothing moves: {stop}"))
            display.show(look)
            if look.is_done or look.is_stuck or look.obstacle is not None:
                return look
        if signals.signal is not None and lanes.is_ended:
            return look or watch.look()
        signals.wait(LOOK_SECONDS)


class _Patience:
    """Rides out a database that is away: its restart must not end a run that goes on by itself."""

    def __init__(self) -> None:
        self._failures = 0

    def look(self, watch: BatchWatch) -> Look | None:
        """Return a look, None while the database is away. Raises what it says once it has been away for too long."""
        try:
            look = watch.look()
        except Transient as error:
            self._failures += 1
            if self._failures == 1:
                click.echo(inert_line(f"the database is away, waiting for it: {error}"), err=True)
            if self._failures > LOOKS_IN_VAIN:
                raise
            return None
        self._failures = 0
        return look


def result_text(line: dict[str, object], output: str) -> str:
    """Return one results line (surfaces section 3), or its short form for a terminal."""
    if output in {"json", "jsonl"}:
        return to_json(line)
    status, name = str(line["status"]), str(line["custom_id"] or line["id"])
    error = line["error"]
    detail = f"{error['code']}: {error['message']}" if isinstance(error, dict) else ""
    colour = "green" if status == State.SUCCEEDED else "red"
    text = f"{click.style(f'{status:<12}', fg=colour)} {inert_line(name)}  {inert_line(detail)}".rstrip()
    advice = error["advice"] if isinstance(error, dict) else None
    return f"{text}\n  hint: {inert_line(pasteable(advice))}" if advice else text


def tell_end(end: RunEnd, *, archive_url: str, advice: Mapping[str, str | None], steps: NextSteps) -> None:
    """Say on stderr how it ended, what is held and how to settle it (`advice` by job id), and where the files are."""
    counts = end.look.counts.by_state
    states = ", ".join(f"{counts[state]} {state}" for state in State if counts.get(state))
    click.echo(f"{states}; {spending_text(end.look.spending)}; {end.look.elapsed.total_seconds():.0f} s", err=True)
    if end.look.active_count and not end.look.is_stuck:
        click.echo(f"not finished: {active_text(end.look)}; {steps.now}", err=True)
    if end.look.is_stuck:
        click.echo(f"what is left waits for held jobs: {steps.when_stuck}", err=True)
    if end.look.obstacle:
        click.echo(inert_line(f"error: {end.look.obstacle}"), err=True)
        entry = error_catalogue().find(end.look.obstacle_code, Source.PROVIDER, Source.ARCHIVE, Source.SUBMISSION)
        if entry is not None:
            click.echo(f"hint: {pasteable(entry.advice)}", err=True)
    for job in end.held:
        name = f" ({job.custom_id})" if job.custom_id else ""
        click.echo(inert_line(f"held: {job.id}{name}: {job.last_error or 'needs review'}"), err=True)
        if hint := advice.get(job.id):
            click.echo(inert_line(f"  hint: {pasteable(hint)}"), err=True)
        click.echo(f"  look: {program()} jobs show {job.id}", err=True)
    if end.held:
        click.echo(f"settle them: {program()} jobs review", err=True)
    click.echo(f"archive: {archive_url}", err=True)
    click.echo(f"history: {program()} jobs list", err=True)
    sys.stderr.flush()

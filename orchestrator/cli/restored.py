"""`orchestrator db mark-restored`: after a restore nothing is paid for until somebody has looked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import click

from orchestrator.cli.asking import ask
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_one
from orchestrator.cli.prefix import command
from orchestrator.domain.job import Job
from orchestrator.domain.ports import LaneName
from orchestrator.domain.states import State
from orchestrator.services.batches import show_micros
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.restore import Findings, compare, sum_prices
from orchestrator.wiring import App, host_name, open_app, open_lanes

ACTOR = "local"
SHOWN = 20  # ids named in the table; -o json names all


@click.command("mark-restored")
@click.option("--release", is_flag=True, help="Queue again what was queued in the backup and has left no trace since.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--reason", default="", help="Kept in the history of every job.")
@common_options
def mark_restored(common: CommonOptions, *, release: bool, yes: bool, reason: str) -> None:
    """After a restore from a backup: hold every job that could be paid for a second time.

    Stop the workers first, run this on every host that has journals, then start them. Jobs at the provider and in the
    archive lane go on; they cost nothing. What was queued, being submitted or held already waits in needs_review.
    What was paid since the backup is looked for in this host's journals and in the archive; no trace is no proof, so
    look at the provider's console or bill too before --release.
    """
    with open_app(common.settings()) as app, _lanes(app) as context:
        backup_at = None if release else app.restores.find_newest_event()
        if not release:
            _hold(app, is_sure=yes, reason=reason, backup_at=backup_at)
        findings = compare(context, app.restores, backup_at=backup_at)
        hosts = [host for host in app.restores.list_journal_hosts() if host != host_name()]
        released = _release(app, findings, is_sure=yes, reason=reason) if release else 0
        in_doubt = app.restores.count_in_doubt()
        _show(common, findings, hosts, in_doubt=in_doubt, released=released, backup_at=backup_at)


class NobodyWoken:
    """The wake-up port of a command during which no lane should run."""

    def wake(self, lane: LaneName) -> None:
        """Workers look by themselves once they are started."""


@contextmanager
def _lanes(app: App) -> Iterator[LaneContext]:
    with open_lanes(app, NobodyWoken()) as context:
        try:
            yield context
        finally:
            asyncio.run(context.provider.close())


def _hold(app: App, *, is_sure: bool, reason: str, backup_at: datetime | None) -> None:
    counts = app.restores.count_holdable()
    click.echo(f"the newest event in this database is of {backup_at or 'no time'}", err=True)
    if not counts:
        click.echo("nothing here could be paid for again", err=True)
        return
    _ask(f"hold {_counted(counts)} until somebody has looked?", is_sure=is_sure)
    held = app.restores.hold(actor=ACTOR, reason=reason)
    click.echo(f"held: {_counted(held)}", err=True)
    if before := held.get(State.NEEDS_REVIEW, 0):
        settle = f"they keep it and wait for a person anyway: {command('jobs review')}"
        click.echo(f"{before} of them were held for a reason of their own; {settle}", err=True)


def _release(app: App, findings: Findings, *, is_sure: bool, reason: str) -> int:
    jobs = findings.releasable
    if not jobs:
        click.echo("no job can be released", err=True)
        return 0
    click.echo(
        f"{len(jobs)} jobs, {show_prices(jobs)}, were queued in the backup and have left no trace here. If one was paid"
        " since, releasing it pays again.",
        err=True,
    )
    _ask("queue them?", is_sure=is_sure)
    why = reason or "no trace of a submission was found"
    count = app.restores.release({job.id for job in jobs}, actor=ACTOR, reason=why)
    click.echo(f"released: {count} jobs", err=True)
    return count


def _ask(question: str, *, is_sure: bool) -> None:
    """Go on only after a yes; a script has to say --yes, for what follows may cost money."""
    ask(question, is_sure=is_sure, otherwise="nothing was changed")


def _show(
    common: CommonOptions,
    found: Findings,
    hosts: Sequence[str],
    *,
    in_doubt: int,
    released: int,
    backup_at: datetime | None,
) -> None:
    row: dict[str, object] = {
        "newest_event_at": backup_at.isoformat() if backup_at else None,
        "journals": found.replayed,
        "journals_of_other_hosts": list(hosts),
        "unmatched_answers": [
            {"journal": a.journal, "submission_id": a.submission_id, "kind": a.kind, "task_id": a.task_id}
            for a in found.unmatched
        ],
        "held_but_archived": list(found.archived_ids),
        "held_of_unmatched_kinds": list(found.doubtful_ids),
        "archived_but_unknown_here": list(found.unknown_job_ids),
        "without_trace": [job.id for job in found.releasable],
        "wait_for_a_person_count": in_doubt,
        "released_count": released,
    }
    output = common.format_for(one=True)
    print_one({name: _short(value) for name, value in row.items()} if output == "table" else row, output)


def _short(value: object) -> object:
    if not isinstance(value, list):
        return value
    shown = [inert_line(str(each)) for each in value[:SHOWN]]
    more = f" and {len(value) - SHOWN} more" if len(value) > SHOWN else ""
    return f"{len(value)}: {', '.join(shown)}{more}" if value else "none"


def _counted(counts: Mapping[State, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def show_prices(jobs: Sequence[Job]) -> str:
    """Return what these jobs cost by the price table, per currency."""
    sums, unpriced = sum_prices(jobs)
    parts = [f"{show_micros(micros)} {currency}" for currency, micros in sorted(sums.items())]
    if unpriced:
        parts.append(f"{unpriced} without a table price")
    return " and ".join(parts)

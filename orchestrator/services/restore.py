"""After a restore from a backup: what may have been paid since, by every trace that can be found (decision 0008).

Traces are the journals of this host and the archive; that there is none proves nothing. Calls nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from orchestrator.domain.job import SURE_REFUSALS, Job, Verdict
from orchestrator.domain.outcomes import TaskAccepted
from orchestrator.domain.ports import Store
from orchestrator.domain.ports.restores import Restores
from orchestrator.services.lanes.context import LaneContext
from orchestrator.services.lanes.outcome import verdict_of
from orchestrator.services.lanes.submit import read_answer
from orchestrator.services.lanes.sweep import replay_dead_journals


@dataclass(frozen=True)
class UnmatchedAnswer:
    """An answer to a paid call whose submission the restored database does not know."""

    journal: str
    submission_id: str
    kind: str
    verdict: Verdict
    task_id: str | None


@dataclass(frozen=True)
class Findings:
    """What a comparison found. `releasable`: held jobs without any trace; `archived_ids`: held, yet in the archive."""

    replayed: str
    unmatched: tuple[UnmatchedAnswer, ...]
    archived_ids: tuple[str, ...]
    doubtful_ids: tuple[str, ...]
    """Held jobs of a kind of which an unmatched answer exists: it may be theirs."""
    unknown_job_ids: tuple[str, ...]
    """Jobs that the archive has and the database has not."""
    releasable: tuple[Job, ...]


def compare(context: LaneContext, restores: Restores, *, backup_at: datetime | None = None) -> Findings:
    """Replay this host's journals, then compare what is held with what they and the archive still say.

    `backup_at`: how old the backup is at most; what the archive has gained since is then looked through too.
    Raises StepError when the database or an archive cannot be read: no trace is then no finding.
    """
    replayed = replay_dead_journals(context)
    unmatched = tuple(_find_unmatched(context, restores))
    held = tuple(_iter_held(restores))
    archived = _list_archived(context, held, backup_at)
    doubtful_kinds = {answer.kind for answer in unmatched}
    in_archive = {job.id for job in held if job.id in archived}
    doubtful = {job.id for job in held if job.kind in doubtful_kinds} - in_archive
    return Findings(
        replayed=replayed,
        unmatched=unmatched,
        archived_ids=tuple(sorted(in_archive)),
        doubtful_ids=tuple(sorted(doubtful)),
        unknown_job_ids=tuple(sorted(archived - restores.find_known_jobs(archived))),
        releasable=tuple(job for job in held if job.id not in in_archive and job.id not in doubtful),
    )


def sum_prices(jobs: Sequence[Job]) -> tuple[Mapping[str, int], int]:
    """Return micro-units per currency, and how many jobs have no table price."""
    sums: dict[str, int] = {}
    unpriced = 0
    for job in jobs:
        if job.price is None:
            unpriced += 1
        else:
            sums[job.price.currency] = sums.get(job.price.currency, 0) + job.price.micros
    return sums, unpriced


def _find_unmatched(context: LaneContext, restores: Restores) -> Iterator[UnmatchedAnswer]:
    """Yield the answers for which `replay_dead_journals` has left a journal behind."""
    for journal in context.journal.dead():
        records = list(journal.records())
        known = restores.find_known_submissions({record.submission_id for record in records})
        for record in records:
            outcome = read_answer(context, record.kind, record.evidence)
            verdict = verdict_of(outcome)
            if record.submission_id not in known and verdict not in SURE_REFUSALS:
                task_id = outcome.task_id if isinstance(outcome, TaskAccepted) else None
                yield UnmatchedAnswer(journal.process, record.submission_id, record.kind, verdict, task_id)


def _iter_held(restores: Restores) -> Iterator[Job]:
    after = ""
    while page := restores.list_held(after=after):
        yield from page
        after = page[-1].id


def _list_archived(context: LaneContext, held: Sequence[Job], backup_at: datetime | None) -> set[str]:
    """Return the ids of all jobs that have anything in the archives, of the days on which held jobs were made and of
    those since the backup.
    """
    days: dict[str, set[date]] = {}
    if backup_at is not None:
        days[context.archive_url] = set(_days_between(backup_at.date(), context.clock.now().date()))
    for job in held:
        days.setdefault(job.archive_url, set()).add(job.created_at.date())
    return {job_id for url, dates in days.items() for job_id in _list_jobs(context.stores.open(url), dates)}


def _days_between(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _list_jobs(store: Store, days: set[date]) -> Iterator[str]:
    """Yield the job of every key below these days: `<yyyy>/<mm>/<dd>/<job id>/...` (services.archive.manifest)."""
    for day in sorted(days):
        prefix = f"{day:%Y/%m/%d}/"
        for key in store.list_keys(prefix):
            yield key.removeprefix(prefix).partition("/")[0]

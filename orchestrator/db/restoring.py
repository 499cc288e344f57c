"""The Restores port: what a restored job table holds back until somebody has looked (docs/decisions/0008)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, not_, select, update

from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS
from orchestrator.db.rows import JOBS, SUBMISSIONS, read_job
from orchestrator.db.sweeps import SWEEPS
from orchestrator.db.types import clean_text
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision
from orchestrator.domain.decide.restore import HOLDABLE, REASON, decide_restore_hold, decide_restore_release
from orchestrator.domain.job import RESTORED_CODES, RESTORED_IN_DOUBT, RESTORED_QUEUED, Job, Verdict
from orchestrator.domain.ports.restores import JOURNALS_SWEEP
from orchestrator.domain.states import State

ROWS_AT_ONCE = 500  # the knee of a statement's cost; the transaction goes over all of them


class SqlRestores:
    """The Restores port over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count_holdable(self) -> Mapping[State, int]:
        """Count what a hold would take."""
        query = select(JOBS.c.state, func.count()).where(_is_holdable()).group_by(JOBS.c.state)
        return self._database.read(lambda c: {State(row[0]): row[1] for row in c.execute(query)})

    def hold(self, *, actor: str, reason: str) -> Mapping[State, int]:
        """Hold every job that could still be paid for, all or none."""
        database = self._database

        def work(connection: Connection) -> Mapping[State, int]:
            counts: Counter[State] = Counter()
            for rows in _pages(connection, select(JOBS).where(_is_holdable())):
                now = database.now(connection)
                jobs = [read_job(row) for row in rows]
                _end_calls(connection, [job.id for job in jobs], actor=actor, reason=reason, now=now)
                writes = [Write(job, decide_restore_hold(job), None, actor, _because(reason)) for job in jobs]
                write_decisions(connection, writes, now=now, database=database)
                counts.update(job.state for job in jobs)
            return dict(counts)

        return database.write(work)

    def count_in_doubt(self) -> int:
        """Count the jobs that no release queues: what was being submitted, or was held before the restore."""
        in_doubt = and_(JOBS.c.state == State.NEEDS_REVIEW, JOBS.c.provider_code == RESTORED_IN_DOUBT)
        query = select(func.count()).select_from(JOBS).where(in_doubt)
        return self._database.read(lambda c: c.execute(query).scalar_one())

    def list_held(self, *, after: str = "", limit: int = ROWS_AT_ONCE) -> Sequence[Job]:
        """Return jobs that were queued in the backup and are still held."""
        query = select(JOBS).where(_is_releasable(), JOBS.c.id > after).order_by(JOBS.c.id).limit(limit)
        return self._database.read(lambda c: [read_job(row) for row in c.execute(query).mappings()])

    def release(self, job_ids: Collection[str], *, actor: str, reason: str) -> int:
        """Queue jobs again, all or none; one that something has moved meanwhile is left where it is."""
        database = self._database

        def work(connection: Connection) -> int:
            count = 0
            for chunk in _chunks(job_ids):
                query = select(JOBS).where(_is_releasable(), JOBS.c.id.in_(chunk)).order_by(JOBS.c.id)
                rows = connection.execute(query.with_for_update()).mappings().all()
                now = database.now(connection)
                writes = [Write(read_job(row), _release(row, now), None, actor, reason) for row in rows]
                count += len(write_decisions(connection, writes, now=now, database=database))
            return count

        return database.write(work)

    def find_known_jobs(self, job_ids: Collection[str]) -> frozenset[str]:
        """Return those of these ids that are jobs here."""
        return self._find_known(JOBS.c.id, job_ids)

    def find_known_submissions(self, submission_ids: Collection[str]) -> frozenset[str]:
        """Return those of these ids that are submissions here."""
        return self._find_known(SUBMISSIONS.c.id, submission_ids)

    def find_newest_event(self) -> datetime | None:
        """Return the time of the newest event; ids sort by time, and are indexed."""
        query = select(EVENTS.c.at).order_by(EVENTS.c.id.desc()).limit(1)
        return self._database.read(lambda c: c.execute(query).scalar_one_or_none())

    def list_journal_hosts(self) -> Sequence[str]:
        """Return the hosts that have swept journals."""
        query = select(SWEEPS.c.name).where(SWEEPS.c.name.startswith(JOURNALS_SWEEP)).order_by(SWEEPS.c.name)
        names = self._database.read(lambda c: c.execute(query).scalars().all())
        return [name.removeprefix(JOURNALS_SWEEP) for name in names]

    def _find_known(self, column: ColumnElement[str], ids: Collection[str]) -> frozenset[str]:
        def work(connection: Connection) -> frozenset[str]:
            found: set[str] = set()
            for chunk in _chunks(ids):
                found.update(connection.execute(select(column).where(column.in_(chunk))).scalars())
            return frozenset(found)

        return self._database.read(work)


def _is_holdable() -> ColumnElement[bool]:
    is_held = and_(JOBS.c.state == State.NEEDS_REVIEW, func.coalesce(JOBS.c.provider_code, "").in_(RESTORED_CODES))
    return and_(JOBS.c.state.in_(HOLDABLE), not_(is_held))


def _is_releasable() -> ColumnElement[bool]:
    return and_(JOBS.c.state == State.NEEDS_REVIEW, JOBS.c.provider_code == RESTORED_QUEUED)


def _pages(connection: Connection, query: Select[tuple[object, ...]]) -> Iterator[Sequence[RowMapping]]:
    """Yield the rows by id, locked."""
    after = ""
    while True:
        page = query.where(JOBS.c.id > after).order_by(JOBS.c.id).limit(ROWS_AT_ONCE).with_for_update()
        rows = connection.execute(page).mappings().all()
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), ROWS_AT_ONCE):
        yield ordered[start : start + ROWS_AT_ONCE]


def _because(reason: str) -> str:
    return f"{REASON}; {reason}" if reason else REASON


def _end_calls(connection: Connection, job_ids: Sequence[str], *, actor: str, reason: str, now: datetime) -> None:
    """The calls that the backup shows in flight ended long ago, and nobody here can know how."""
    values = {
        "verdict": Verdict.UNKNOWN,
        "verdict_at": now,
        "provider_code": RESTORED_IN_DOUBT,
        "message": REASON,
        "decided_by": actor,
        "decided_why": clean_text(_because(reason)),
    }
    in_flight = update(SUBMISSIONS).where(SUBMISSIONS.c.job_id.in_(job_ids), SUBMISSIONS.c.verdict.is_(None))
    connection.execute(in_flight.values(values))


def _release(row: RowMapping, now: datetime) -> Decision:
    decision = decide_restore_release(read_job(row), now, not_before=row["not_before"])
    return replace(decision, due_at=None) if row["waiting_on_count"] else decision

"""The History port: one thing, keyset pages, streams of pages. Never OFFSET, never a long transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Connection, RowMapping, Select, func, select, union

from orchestrator.db.dependencies import load_parents
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS
from orchestrator.db.filters import Branch, Span, branches_of, conditions_of, is_led_by_words
from orchestrator.db.rows import (
    JOBS,
    OUTPUTS,
    SUBMISSIONS,
    load_outputs,
    load_submissions,
    read_job,
    read_output,
    read_price,
    read_submission,
    table_of,
)
from orchestrator.db.tables import BatchMemberRow
from orchestrator.db.timed import read_within
from orchestrator.domain.errors import NotFound
from orchestrator.domain.history import JobPage, SubmissionRecord
from orchestrator.domain.job import Job, JobEvent, Output
from orchestrator.domain.query import Filter
from orchestrator.domain.states import State

MEMBERS = table_of(BatchMemberRow)
PAGE = 500  # rows of one short read while streaming
NEAR = 5_000  # prompts that are read one by one before the index of words is asked: a few milliseconds
PLANS = ("enable_mergejoin = off", "jit = off", "work_mem = '32MB'")
"""Settings of PostgreSQL for pages: a merge join would walk from the newest job to where its other side begins, and what a
word finds is sorted in memory.
"""
PATIENCE = timedelta(seconds=10)  # nobody waits longer for a page, and it would hold back the vacuum of hot rows

T = TypeVar("T")


class SqlHistory:
    """Reads of the job table. Raises Transient("database_unavailable") when it cannot be reached.

    `patience`: how long one statement about many jobs may take.
    """

    def __init__(self, database: Database, *, patience: timedelta = PATIENCE) -> None:
        self._database = database
        self._patience = patience

    def get_job(self, job_id: str) -> Job:
        """Return a job with its submissions, its outputs and those it depends on. Raises NotFound."""
        query = select(JOBS).where(JOBS.c.id == job_id)

        def work(connection: Connection) -> list[Job]:
            jobs = _load(connection, query, has_submissions=True)
            return [replace(job, parents=load_parents(connection, job_id)) for job in jobs]

        jobs = self._database.read(work)
        if not jobs:
            raise NotFound(f"there is no job {job_id}")
        return jobs[0]

    def get_output(self, output_id: str) -> tuple[Job, Output]:
        """Return an output and its job. Raises NotFound."""
        query = select(OUTPUTS).where(OUTPUTS.c.id == output_id)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        if row is None:
            raise NotFound(f"there is no output {output_id}")
        return self.get_job(row["job_id"]), read_output(row)

    def list_jobs(
        self, wanted: Filter, *, limit: int = 20, after: str | None = None, is_oldest_first: bool = False
    ) -> JobPage:
        """Return a page of jobs, newest first unless told otherwise."""
        jobs = self._read_matching(wanted, after, limit + 1, is_oldest_first=is_oldest_first)
        return JobPage(tuple(jobs[:limit]), has_more=len(jobs) > limit)

    def iter_jobs(self, wanted: Filter) -> Iterator[Job]:
        """Yield every job that matches, newest first."""
        after: str | None = None
        while True:
            jobs = self._read_matching(wanted, after, PAGE)
            yield from jobs
            if len(jobs) < PAGE:
                return
            after = jobs[-1].id

    def iter_members(self, batch_id: str, *, states: Collection[str] = ()) -> Iterator[Job]:
        """Yield a batch's jobs in input order."""
        line = 0
        while True:
            rows = self._read_lines(batch_id, line)
            wanted = select(JOBS).where(JOBS.c.id.in_([job_id for _, job_id in rows]))
            jobs = {job.id: job for job in self._read_page(wanted, has_submissions=True)}
            ordered = (jobs[job_id] for _, job_id in rows)
            yield from (job for job in ordered if not states or job.state in states)
            if len(rows) < PAGE:
                return
            line = rows[-1][0]

    def list_events(self, job_id: str) -> Sequence[JobEvent]:
        """Return a job's history, oldest first."""
        query = select(EVENTS).where(EVENTS.c.job_id == job_id).order_by(EVENTS.c.sequence)
        return self._database.read(lambda c: [_read_event(row) for row in c.execute(query).mappings()])

    def list_submissions(self, job_id: str) -> Sequence[SubmissionRecord]:
        """Return a job's submissions by number."""
        query = select(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job_id).order_by(SUBMISSIONS.c.number)
        return self._database.read(lambda c: [read_record(row) for row in c.execute(query).mappings()])

    def count_jobs(self, wanted: Filter) -> dict[str, int]:
        """Count the jobs that match, per state."""
        conditions = conditions_of(wanted, is_sqlite=self._database.is_sqlite)
        query = select(JOBS.c.state, func.count()).where(*conditions).group_by(JOBS.c.state)
        rows = self._read_within(lambda c: c.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def _read_matching(
        self, wanted: Filter, after: str | None, limit: int, *, is_oldest_first: bool = False
    ) -> list[Job]:
        """Return the first `limit` jobs behind `after`.

        Words are looked for in the prompts next to `after` first, and in their index if that was not enough: no planner
        knows whether a word that many prompts hold stands in the newest of them or only in old ones.
        """
        whole = Span(above=after, is_oldest_first=True) if is_oldest_first else Span(below=after)
        is_sqlite = self._database.is_sqlite
        if is_sqlite or not is_led_by_words(wanted):
            return self._read_page(_first_of(branches_of(wanted, whole, is_sqlite=is_sqlite), whole, limit))
        last = self._read_within(lambda c: c.execute(_nth_of(whole, NEAR)).scalar())
        near = replace(whole, below=last) if is_oldest_first else replace(whole, begin=last)
        jobs = self._read_page(_first_of(branches_of(wanted, near, is_sqlite=False), near, limit))
        if last is None or len(jobs) == limit:
            return jobs
        branches = branches_of(wanted, whole, is_sqlite=False, words_first=limit)
        return self._read_page(_first_of(branches, whole, limit))

    def _read_page(self, query: Select[object], *, has_submissions: bool = False) -> list[Job]:
        return self._read_within(lambda c: _load(c, query, has_submissions=has_submissions))

    def _read_within(self, work: Callable[[Connection], T]) -> T:
        return read_within(self._database, self._patience, work, settings=PLANS)

    def _read_lines(self, batch_id: str, after_line: int) -> list[tuple[int, str]]:
        query = (
            select(MEMBERS.c.line_number, MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.line_number > after_line)
            .order_by(MEMBERS.c.line_number)
            .limit(PAGE)
        )
        return self._database.read(lambda c: [(row.line_number, row.job_id) for row in c.execute(query)])


def _first_of(branches: Sequence[Branch], span: Span, limit: int) -> Select[object]:
    """The first `limit` rows of several branches are among the first of each, which an index gives in their order."""
    by_id = span.in_order(JOBS.c.id)
    if len(branches) == 1:
        branch = branches[0]
        return select(JOBS).where(*branch.conditions).order_by(*branch.order, by_id).limit(limit)
    firsts = (
        select(JOBS.c.id).where(*branch.conditions).order_by(*branch.order, by_id).limit(limit).subquery()
        for branch in branches
    )
    ids = union(*(select(first.c.id) for first in firsts)).subquery("ids")
    page = select(ids.c.id).order_by(span.in_order(ids.c.id)).limit(limit)
    return select(JOBS).where(JOBS.c.id.in_(page)).order_by(by_id)


def _nth_of(span: Span, number: int) -> Select[str]:
    """The id of the `number`th job within the span, None where there are fewer."""
    return (
        select(JOBS.c.id).where(*span.holds(JOBS.c.id)).order_by(span.in_order(JOBS.c.id)).limit(1).offset(number - 1)
    )


def _load(connection: Connection, query: Select[object], *, has_submissions: bool = False) -> list[Job]:
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    outputs = load_outputs(connection, ids) if ids else {}
    submissions = load_submissions(connection, ids) if has_submissions and ids else {}
    return [
        read_job(
            row,
            submissions=submissions.get(row["id"], ()),
            outputs=sorted(outputs[row["id"]], key=lambda output: output.index),
        )
        for row in rows
    ]


def _read_event(row: RowMapping) -> JobEvent:
    return JobEvent(
        id=row["id"],
        job_id=row["job_id"],
        sequence=row["sequence"],
        type=row["type"],
        from_state=State(row["from_state"]) if row["from_state"] else None,
        to_state=State(row["to_state"]) if row["to_state"] else None,
        at=row["at"],
        actor=row["actor"],
        reason=row["reason"],
        data=row["data"],
    )


def read_record(row: RowMapping) -> SubmissionRecord:
    """Return a submission with its evidence, from a row that holds every column."""
    return SubmissionRecord(
        submission=read_submission(row),
        credential=row["credential"],
        model=row["model"],
        process=row["process"],
        body_sha256=row["body_sha256"],
        price=read_price(row),
        moment=row["moment"],
        sent_at=row["sent_at"],
        answered_at=row["answered_at"],
        http_status=row["http_status"],
        raw_answer=row["raw_answer"],
        verdict_at=row["verdict_at"],
        assumed_life_until=row["assumed_life_until"],
        slot_released_at=row["slot_released_at"],
        decided_by=row["decided_by"],
        decided_why=row["decided_why"],
    )

"""The Batches port: intake, membership, and the end of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from sqlalchemy import ColumnElement, Connection, RowMapping, case, exists, func, select, update

from orchestrator.db import budgets, family_budgets, outbox
from orchestrator.db.batch_sums import BATCHES, MEMBERS, make_batch_row, read_batch
from orchestrator.db.engine import Database
from orchestrator.db.equal_jobs import find_equal
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.inserts import insert_many, insert_missing
from orchestrator.db.named_webhooks import Named, inherit_job_webhooks, inherit_webhooks, link_webhooks
from orchestrator.db.rows import JOBS, price_columns
from orchestrator.db.search import insert_searched
from orchestrator.db.waiting import enter_parents, insert_dependencies
from orchestrator.domain.access import LOCAL
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.ports import JobCounts, Member, UnpaidCost
from orchestrator.domain.states import ACTIVE, FINAL, State, Trigger, check_transition


class SqlBatches:
    """Batches in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random | None = None) -> None:
        self._database = database if rng is None else replace(database, rng=rng)

    def find_newest(self, identity_sha256: str, environment: str) -> Batch | None:
        """Return the newest batch of this identity: by generation, since two hosts' clocks may order ids otherwise."""
        same = (BATCHES.c.identity_sha256 == identity_sha256) & (BATCHES.c.environment == environment)
        query = select(BATCHES).where(same).order_by(BATCHES.c.generation.desc()).limit(1)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        return None if row is None else read_batch(row)

    def get(self, batch_id: str) -> Batch:
        """Raises NotFound."""
        query = select(BATCHES).where(BATCHES.c.id == batch_id)
        row = self._database.read(lambda c: c.execute(query).mappings().first())
        if row is None:
            raise NotFound(f"there is no batch {batch_id}")
        return read_batch(row)

    def create(self, batch: Batch) -> None:
        """Insert a running batch whose intake is not done. Raises Conflict when this generation is there already."""
        row = make_batch_row(batch)
        mine = select(BATCHES.c.id).where(BATCHES.c.id == batch.id)

        def work(connection: Connection) -> bool:
            insert_missing(connection, BATCHES, [row])
            if batch.parent_id is not None:
                inherit_webhooks(connection, batch.id, batch.parent_id)
            return connection.execute(mine).first() is not None

        if not self._database.write(work):
            raise Conflict(f"another process has just taken {batch.name} in")

    def add_jobs(
        self, batch_id: str, jobs: Sequence[NewJob], *, actor: str, links: Sequence[tuple[int, str, str]] = ()
    ) -> int:
        """Insert jobs as members, with their first events, and link others; lines that are there are left alone."""
        database = self._database

        def work(connection: Connection) -> int:
            batch = _lock_batch(connection, batch_id)
            if batch["cancel_requested_at"] is not None or batch["intake_done_at"] is not None:
                return 0
            now = database.now(connection)
            lines = [job.line_number or 0 for job in jobs]
            present = _find_present(connection, batch_id, lines)
            new = [job for job in jobs if job.line_number not in present]
            if new:
                _insert_jobs(connection, batch_id, new, actor=actor, now=now, rng=database.rng)
            if links:
                _insert_links(connection, batch_id, links)
            return len(new)

        return database.write(work)

    def link_webhook(self, batch_id: str, url: str) -> None:
        """Let a webhook hear of the batch and of its jobs from now on."""
        database = self._database

        def work(connection: Connection) -> None:
            owner = connection.execute(select(BATCHES.c.owner).where(BATCHES.c.id == batch_id)).scalar_one()
            named = [Named(owner, url, batch_id=batch_id)]
            link_webhooks(connection, named, now=database.now(connection), rng=database.rng)

        database.write(work)

    def link_job_webhooks(self, owner: str, urls: Mapping[str, str]) -> int:
        """Let each job's URL hear of it from now on; return how many of the jobs have ended already."""
        database = self._database
        ended = select(JOBS.c.state).where(JOBS.c.id.in_(urls)).order_by(JOBS.c.id).with_for_update(read=True)

        def work(connection: Connection) -> int:
            # Locked: a job that is just ending has either ended when it is counted, or sees who hears of it.
            states = connection.execute(ended).scalars().all()
            named = [Named(owner, url, job_id=job_id) for job_id, url in urls.items()]
            link_webhooks(connection, named, now=database.now(connection), rng=database.rng)
            return sum(State(state) in FINAL for state in states)

        return database.write(work)

    def find_last_line(self, batch_id: str) -> int:
        """Return the last line that is in, 0 before the first."""
        query = select(func.coalesce(func.max(MEMBERS.c.line_number), 0)).where(MEMBERS.c.batch_id == batch_id)
        return int(self._database.read(lambda c: c.execute(query).scalar_one()))

    def link_existing(self, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
        """Make jobs of other batches members of this one; lines that are members already are left alone. Nothing comes in
        behind a cancel.
        """

        def work(connection: Connection) -> None:
            if _lock_batch(connection, batch_id)["cancel_requested_at"] is None:
                _insert_links(connection, batch_id, links)

        if links:
            self._database.write(work)

    def find_equal(
        self, environment: str, keys: Sequence[tuple[str, str]], *, outside: str | None = None, owner: str = LOCAL
    ) -> Mapping[tuple[str, str], str]:
        """Return {(custom_id, body_sha256): job id} of this owner's jobs that answer these lines."""
        if not keys:
            return {}
        return self._database.read(lambda c: find_equal(c, environment, keys, outside=outside, owner=owner))

    def list_members(self, batch_id: str, *, after_line: int = 0, limit: int = 500) -> Sequence[Member]:
        """Return members with a line number above `after_line`, in input order."""
        query = (
            select(MEMBERS.c.line_number, MEMBERS.c.job_id, MEMBERS.c.custom_id, JOBS.c.body_sha256)
            .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.line_number > after_line)
            .order_by(MEMBERS.c.line_number)
            .limit(limit)
        )
        rows = self._database.read(lambda c: c.execute(query).all())
        return [Member(row.line_number, row.job_id, row.custom_id, row.body_sha256) for row in rows]

    def price_unpaid(self, batch_id: str) -> UnpaidCost:
        """Add up the table prices of queued members, and what the batch's submissions cost or may cost."""
        price_of_linked = case((MEMBERS.c.linked_from.is_not(None), JOBS.c.price_micros))
        queued = (
            select(
                func.coalesce(func.sum(JOBS.c.price_micros), 0),
                func.count() - func.count(JOBS.c.price_micros),
                func.coalesce(func.sum(price_of_linked), 0),
            )
            .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id, JOBS.c.state == State.QUEUED)
        )

        def work(connection: Connection) -> UnpaidCost:
            micros, unpriced_count, linked = connection.execute(queued).one()
            charged = budgets.sum_charged(connection, [batch_id]).get(batch_id, 0)
            return UnpaidCost(int(micros), unpriced_count, charged, int(linked))

        return self._database.read(work)

    def price_family(self, batch_id: str) -> UnpaidCost:
        """The same of a batch and all that try it again."""
        return self._database.read(lambda c: family_budgets.price_family(c, batch_id))

    def set_budget(self, batch_id: str, micros: int) -> Sequence[str]:
        """Raises NotFound."""
        return self._database.write(lambda c: family_budgets.set_budget(c, batch_id, micros))

    def finish_intake(self, batch_id: str) -> None:
        """Every line is in: what the jobs depend on is looked up, then the intake is done."""
        database = self._database
        enter_parents(batch_id, database=database)

        def work(connection: Connection) -> None:
            now = database.now(connection)
            done = update(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.intake_done_at.is_(None))
            connection.execute(done.values(intake_done_at=now))

        database.write(work)

    def finish_done(self) -> Sequence[str]:
        """Close running batches that have no active job; return those closed just now."""
        database = self._database
        return database.write(lambda c: close_done(c, database))

    def count_states(self, batch_id: str) -> JobCounts:
        """Count the members per state."""
        query = (
            select(JOBS.c.state, func.count())
            .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
            .where(MEMBERS.c.batch_id == batch_id)
            .group_by(JOBS.c.state)
        )
        rows = self._database.read(lambda c: c.execute(query).all())
        return JobCounts({row[0]: row[1] for row in rows})


def close_done(connection: Connection, database: Database) -> Sequence[str]:
    """Close running batches that have no active job, and announce them; return those closed just now.

    Locked first, looked at in a new statement: a job woken meanwhile is then seen (design section 5).
    """
    running = BATCHES.c.finished_at.is_(None) & BATCHES.c.intake_done_at.is_not(None)
    locked = select(BATCHES.c.id).where(running).order_by(BATCHES.c.id).with_for_update(skip_locked=True)
    ids = connection.execute(locked).scalars().all()
    if not ids:
        return []
    close = update(BATCHES).where(BATCHES.c.id.in_(ids), running, ~_has_active_member())
    now = database.now(connection)
    close = close.values(finished_at=now, files_written_at=None)
    closed = sorted(connection.execute(close.returning(BATCHES.c.id)).scalars())
    outbox.record_batches(connection, closed, now=now, database=database)
    return closed


def _lock_batch(connection: Connection, batch_id: str) -> RowMapping:
    query = select(BATCHES.c.cancel_requested_at, BATCHES.c.intake_done_at).where(BATCHES.c.id == batch_id)
    query = query.with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no batch {batch_id}")
    return row


def _find_present(connection: Connection, batch_id: str, lines: Sequence[int]) -> set[int]:
    """Lines come in order: what lies between the first and the last of them is asked for as a range."""
    if not lines:
        return set()
    among = MEMBERS.c.line_number.between(min(lines), max(lines))
    return set(connection.execute(select(MEMBERS.c.line_number).where(MEMBERS.c.batch_id == batch_id, among)).scalars())


def _insert_links(connection: Connection, batch_id: str, links: Sequence[tuple[int, str, str]]) -> None:
    wanted = [job_id for _, _, job_id in links]
    keys_query = select(JOBS.c.id, JOBS.c.fair_key).where(JOBS.c.id.in_(wanted))
    keys = {row.id: row.fair_key for row in connection.execute(keys_query)}
    rows = [
        {
            "batch_id": batch_id,
            "line_number": line,
            "custom_id": custom_id,
            "job_id": job_id,
            "linked_from": keys[job_id],
        }
        for line, custom_id, job_id in links
    ]
    insert_missing(connection, MEMBERS, rows)


def _has_active_member() -> ColumnElement[bool]:
    active = select(MEMBERS.c.job_id).join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
    return exists(active.where(MEMBERS.c.batch_id == BATCHES.c.id, JOBS.c.state.in_(ACTIVE)).correlate(BATCHES))


def _insert_jobs(
    connection: Connection, batch_id: str, jobs: Sequence[NewJob], *, actor: str, now: datetime, rng: Random
) -> None:
    check_transition(None, Trigger.ACCEPTED, State.QUEUED)
    rows = [make_job_row(job, batch_id, now) for job in jobs]
    insert_many(connection, JOBS, rows)
    insert_searched(connection, rows)
    insert_members(connection, batch_id, jobs)
    insert_dependencies(connection, batch_id, jobs)
    named = [Named(job.owner, job.webhook, job_id=job.id) for job in jobs if job.webhook is not None]
    link_webhooks(connection, named, now=now, rng=rng)
    inherit_job_webhooks(connection, {job.id: job.tries_again for job in jobs if job.tries_again is not None})
    events = {job.id: [EventDraft(Trigger.ACCEPTED, None, State.QUEUED, actor, "accepted")] for job in jobs}
    append_events(connection, events, dict.fromkeys(events, 1), now=now, rng=rng)


def insert_members(connection: Connection, batch_id: str, jobs: Sequence[NewJob]) -> None:
    """Make new jobs members of the batch that they are inserted for."""
    insert_many(connection, MEMBERS, [make_member_row(batch_id, job) for job in jobs])


def make_member_row(batch_id: str, job: NewJob) -> dict[str, object]:
    """Return the row of a member that is inserted for its batch."""
    return {
        "batch_id": batch_id,
        "line_number": job.line_number,
        "custom_id": job.custom_id,
        "job_id": job.id,
        "linked_from": None,
    }


def make_job_row(job: NewJob, batch_id: str, now: datetime) -> dict[str, object]:
    """Return the row of a job that is queued."""
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "state": State.QUEUED,
        "owner": job.owner,
        "fair_key": batch_id,
        "credential": job.credential,
        "batch_id": batch_id,
        "line_number": job.line_number,
        "custom_id": job.custom_id,
        "tags": dict(job.tags),
        "priority": job.priority,
        "input": dict(job.input),
        "body": dict(job.body),
        "body_sha256": job.body_sha256,
        "archive_url": job.archive_url,
        "archive_class": job.archive_class,
        **price_columns(job.price),
        "created_at": now,
        "not_before": job.not_before,
        "due_at": None if job.depends_on else max(now, job.not_before) if job.not_before else now,
        "waiting_on_count": len(job.depends_on),
        "submission_count": 0,
        "poll_count": 0,
        "attempt_count": 0,
        "ask_count": 0,
        "death_count": 0,
        "sequence": 1,
    }

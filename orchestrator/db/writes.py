"""The guarded write: what decide() returned, whole, or nothing. The only place that sets jobs.state after intake.

Guards: id, from-state and, for whoever holds a lease, its token. Writes without a token (persons, late evidence) lock
the row first and clear the token, so any holder is fenced out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, bindparam, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from orchestrator.db import dependencies, outbox, outputs
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.rows import JOBS, SUBMISSIONS, table_of
from orchestrator.db.rowset import INT, TEXT, UTC, Types, encode_rows, make_rowset, type_of
from orchestrator.db.tables import BatchMemberRow, BatchRow
from orchestrator.db.types import clean_text
from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Job
from orchestrator.domain.states import FINAL, State, Trigger
from orchestrator.domain.webhooks import JOB_EVENTS

BATCHES = table_of(BatchRow)
MEMBERS = table_of(BatchMemberRow)

_GUARD_TYPES: dict[str, TypeEngine[Any]] = {
    "id": TEXT,
    "token": TEXT,
    "source": TEXT,
    "target": TEXT,
    "due_at": UTC,
    "event_count": INT,
}


@dataclass(frozen=True)
class Write:
    """One decision about one job. `token` None: the writer holds the row's lock, not a lease."""

    job: Job
    decision: Decision
    token: str | None
    actor: str = "system"
    reason: str = ""
    data: Mapping[str, object] = field(default_factory=dict)


def write_decisions(
    connection: Connection, writes: Sequence[Write], *, now: datetime, database: Database
) -> frozenset[str]:
    """Write every decision whose guard holds, with all that belongs to it and with what follows for jobs that depend on
    those; return the ids of the jobs in `writes` that were moved.
    """
    won = _write_all(connection, writes, now=now, database=database)
    affected = dependencies.find_affected(connection, [(w.job.id, w.decision) for w in won])
    if affected:
        settle_dependents(connection, affected, now=now, database=database)
    return frozenset(write.job.id for write in won)


def settle_dependents(connection: Connection, job_ids: Sequence[str], *, now: datetime, database: Database) -> None:
    """Let these jobs wait, go, fail or come back as those they depend on stand, then those that depend on them, and so
    on: as many rounds as the longest chain has links, which a check has bounded.
    """
    while job_ids:
        moves = dependencies.follow(connection, job_ids, now=now, rng=database.rng)
        won = _write_all(
            connection, [Write(job, decision, None) for job, decision in moves], now=now, database=database
        )
        job_ids = dependencies.find_affected(connection, [(w.job.id, w.decision) for w in won])


def _write_all(connection: Connection, writes: Sequence[Write], *, now: datetime, database: Database) -> list[Write]:
    sequences = _move_jobs(connection, writes)
    won = [write for write in writes if write.job.id in sequences]
    _write_outputs(connection, won, now=now, rng=database.rng)
    _close_submissions(connection, won, now=now)
    _reopen_batches(connection, won)
    append_events(connection, {w.job.id: _events_of(w) for w in won}, sequences, now=now, rng=database.rng)
    outbox.record_jobs(connection, _ends_of(won, sequences), now=now, database=database)
    return won


def _ends_of(won: Sequence[Write], sequences: Mapping[str, int]) -> list[outbox.JobEnd]:
    """The moves that are told to webhooks: into a final state, or to a person."""
    return [
        outbox.JobEnd(w.job.id, w.job.owner, JOB_EVENTS[w.decision.target], sequences[w.job.id])
        for w in won
        if w.decision.target in JOB_EVENTS and w.decision.target is not w.decision.source
    ]


def _move_jobs(connection: Connection, writes: Sequence[Write]) -> dict[str, int]:
    """Return the new sequence of each job that was moved. One statement per set of columns that change together."""
    groups: dict[tuple[bool, tuple[str, ...]], list[Write]] = defaultdict(list)
    for write in sorted(writes, key=lambda write: write.job.id):
        groups[write.token is not None, tuple(sorted(write.decision.patch))].append(write)
    sequences: dict[str, int] = {}
    for (has_token, columns), group in groups.items():
        sequences |= _move_group(connection, group, columns, has_token=has_token)
    return sequences


def _move_group(
    connection: Connection, group: Sequence[Write], columns: tuple[str, ...], *, has_token: bool
) -> dict[str, int]:
    move = _move_statement(columns, has_token, connection.dialect.name == "sqlite")
    moved = connection.execute(move, {"moves": encode_rows([_move_row(write) for write in group])})
    return {row.id: row.sequence for row in moved}


@cache
def _move_statement(
    columns: tuple[str, ...],
    has_token: bool,  # noqa: FBT001 - part of the cache's key
    is_sqlite: bool,  # noqa: FBT001 - as above
) -> ReturningUpdate[str, int]:
    types = _GUARD_TYPES | {f"new_{name}": type_of(JOBS.c[name].type) for name in columns}
    rows = make_rowset("moves", types, is_sqlite=is_sqlite)
    guard: list[ColumnElement[bool]] = [JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source]
    if has_token:
        guard.append(JOBS.c.lease_token == rows.c.token)
    values = {
        "death_count": 0,
        **{name: rows.c[f"new_{name}"] for name in columns},
        "state": rows.c.target,
        "due_at": rows.c.due_at,
        "lease_token": None,
        "sequence": JOBS.c.sequence + rows.c.event_count,
    }
    return update(JOBS).where(*guard).values(values).returning(JOBS.c.id, JOBS.c.sequence)


def _move_row(write: Write) -> dict[str, object]:
    decision = write.decision
    return {
        "id": write.job.id,
        "token": write.token,
        "source": decision.source,
        "target": decision.target,
        "due_at": decision.due_at,
        "event_count": len(_events_of(write)),
        **{f"new_{name}": value for name, value in decision.patch.items()},
    }


def _events_of(write: Write) -> list[EventDraft]:
    """Notes of lost optional outputs, then the transition itself."""
    decision = write.decision
    events = [
        EventDraft(
            Trigger.OUTPUT_LOST, decision.source, decision.source, write.actor, "an output is lost", {"output_id": lost}
        )
        for lost in decision.lost_output_ids
    ]
    if decision.records_event:
        data = {**decision.data, **write.data}
        reason = write.reason or decision.reason
        events.append(EventDraft(decision.trigger, decision.source, decision.target, write.actor, reason, data))
    return events


def _write_outputs(connection: Connection, won: Sequence[Write], *, now: datetime, rng: Random) -> None:
    drafts = [(w.job.id, draft) for w in won for draft in w.decision.outputs]
    outputs.upsert_drafts(connection, drafts, now=now, rng=rng)
    outputs.write_results(connection, (r for w in won for r in w.decision.output_results), now=now)
    if asked := [output_id for w in won for output_id in w.decision.asked_output_ids]:
        outputs.count_asks(connection, asked)
    if forgetful := [w.job.id for w in won if w.decision.forgets_asks]:
        outputs.forget_asks(connection, forgetful)
    if lost := [output_id for w in won for output_id in w.decision.lost_output_ids]:
        outputs.mark_lost(connection, lost, now=now)
    touched = [w.job.id for w in won if w.decision.outputs or w.decision.output_results or w.decision.lost_output_ids]
    if touched:
        outputs.refresh_expiry(connection, touched)


def _close_submissions(connection: Connection, won: Sequence[Write], *, now: datetime) -> None:
    """The provider's final answer closes the submission of the task being asked about and frees its slot."""
    answered = [
        {
            "of_job": w.job.id,
            "of_task": w.job.provider_task_id,
            "answer": w.decision.final_answer,
            "running_at": w.decision.last_running_at,
        }
        for w in won
        if w.decision.final_answer is not None and w.job.provider_task_id is not None
    ]
    if answered:
        close = _close_statement(connection.dialect.name == "sqlite")
        connection.execute(close, {"answered": encode_rows(answered), "now": now})
    for write in won:
        if write.decision.supersedes:
            _supersede_unknowns(connection, write, now=now)


@cache
def _close_statement(is_sqlite: bool) -> Update:  # noqa: FBT001 - the cache's key
    types: Types = {"of_job": TEXT, "of_task": TEXT, "answer": TEXT, "running_at": UTC}
    rows = make_rowset("answered", types, is_sqlite=is_sqlite)
    is_it = (SUBMISSIONS.c.job_id == rows.c.of_job) & (SUBMISSIONS.c.task_id == rows.c.of_task)
    now = bindparam("now", type_=UTC)
    values = {
        "final_at": now,
        "final_answer": rows.c.answer,
        "last_running_at": rows.c.running_at,
        "slot_released_at": func.coalesce(SUBMISSIONS.c.slot_released_at, now),
    }
    return update(SUBMISSIONS).where(is_it, SUBMISSIONS.c.final_at.is_(None)).values(values)


def _supersede_unknowns(connection: Connection, write: Write, *, now: datetime) -> None:
    unsettled = (
        (SUBMISSIONS.c.job_id == write.job.id)
        & (SUBMISSIONS.c.verdict == "unknown")
        & SUBMISSIONS.c.superseded_at.is_(None)
    )
    values = {"superseded_at": now, "decided_by": write.actor, "decided_why": clean_text(write.reason)}
    connection.execute(update(SUBMISSIONS).where(unsettled).values(values))


def lock_batches(connection: Connection, job_ids: Sequence[str]) -> Sequence[str]:
    """Lock the batches that these jobs are members of, by id, and return them. Who locks many jobs that may leave a
    resting state does this before: a submit claim locks batches first as well.
    """
    theirs = select(MEMBERS.c.batch_id).where(MEMBERS.c.job_id.in_(job_ids))
    locked = select(BATCHES.c.id).where(BATCHES.c.id.in_(theirs)).order_by(BATCHES.c.id).with_for_update()
    return connection.execute(locked).scalars().all()


def _reopen_batches(connection: Connection, won: Sequence[Write]) -> None:
    """A job that leaves needs_review or a final state sets its batches running again.

    The rows are locked before they are looked at: a finish under way either sees the job active or is seen finished.
    """
    resting = FINAL | {State.NEEDS_REVIEW}
    woken = [w.job.id for w in won if w.decision.source in resting and w.decision.target is not w.decision.source]
    if not woken:
        return
    found = lock_batches(connection, woken)
    reopen = update(BATCHES).where(BATCHES.c.id.in_(found), BATCHES.c.finished_at.is_not(None))
    connection.execute(reopen.values(finished_at=None, files_written_at=None))

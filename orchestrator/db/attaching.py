"""Tasks that a person names: attached to a job that is here, or adopted as a job of their own (design section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import Connection, insert, select, update

from orchestrator.db.batch_sums import BATCHES, make_batch_row
from orchestrator.db.batches import insert_members, make_job_row
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.rows import JOBS, SUBMISSIONS, price_columns
from orchestrator.db.search import insert_searched
from orchestrator.db.settling import apply_reports, load_job, lock_job
from orchestrator.db.types import clean_text
from orchestrator.domain import ids
from orchestrator.domain.decide import Decision
from orchestrator.domain.errors import Conflict
from orchestrator.domain.job import Job, Origin, Submission, Verdict
from orchestrator.domain.outcomes import CallEvidence, TaskAccepted
from orchestrator.domain.ports import Adopted, Adoption, Applied, Attachment, EvidenceReport
from orchestrator.domain.states import State, Trigger, check_transition

Settle = Callable[[Job, datetime], Decision | None]
NOBODY = ""  # the process of a submission that no process of ours made


def attach_task(
    connection: Connection,
    attachment: Attachment,
    choose: Callable[[Job], Submission | None],
    settle: Callable[[str], Settle],
    *,
    database: Database,
) -> Applied:
    """Store a task id as evidence about the submission that `choose` returns, or about a new adopted one.

    `settle(submission id)` moves the job. Raises NotFound; Conflict when another job's submission holds the id.
    """
    row = lock_job(connection, attachment.job_id)
    job = load_job(connection, row)
    _require_free(connection, job, attachment.task_id)
    chosen = choose(job)
    submission_id = chosen.id if chosen else _add_adopted(connection, job, row["fair_key"], attachment, database)
    outcome = TaskAccepted(attachment.task_id)
    report = EvidenceReport(
        submission_id,
        CallEvidence(moment=None),
        outcome,
        Verdict.ACCEPTED,
        None,
        settle(submission_id),
        attachment.actor,
        attachment.reason,
    )
    (applied,) = apply_reports(connection, [report], database=database)
    if applied.is_duplicate_id:  # it was taken between the look and the write; nothing of this stays
        raise Conflict(f"another job's submission has just taken task {attachment.task_id}")
    return applied


def adopt(connection: Connection, adoption: Adoption, *, database: Database) -> Adopted:
    """Insert a job in `processing` with a submission that no price of ours is on; or find whose the task is already."""
    holder = find_holder(connection, adoption.job.credential, adoption.task_id)
    if holder is not None:
        return Adopted(holder, is_new=False)
    check_transition(None, Trigger.ADOPTED, State.PROCESSING)
    now = database.now(connection)
    batch, job = adoption.batch, adoption.job
    row = make_batch_row(batch) | {"created_at": now, "intake_done_at": now}
    connection.execute(insert(BATCHES).values(row))
    values = make_job_row(job, batch.id, now) | {
        "state": State.PROCESSING,
        "due_at": now,
        "provider_task_id": clean_text(adoption.task_id),
        "submission_count": 1,
    }
    connection.execute(insert(JOBS).values(values))
    insert_searched(connection, [values])
    insert_members(connection, batch.id, [job])
    accepted = {"verdict": Verdict.ACCEPTED, "verdict_at": now, "task_id": clean_text(adoption.task_id)}
    accepted |= {"decided_by": adoption.actor, "decided_why": clean_text(adoption.reason)}
    submission = _adopted_row(values, 1, adoption.assumed_life, now=now, rng=database.rng)
    connection.execute(insert(SUBMISSIONS).values(submission | accepted))
    why = adoption.reason or "a task submitted elsewhere"
    event = EventDraft(
        Trigger.ADOPTED, None, State.PROCESSING, adoption.actor, why, {"task_id": clean_text(adoption.task_id)}
    )
    append_events(connection, {job.id: [event]}, {job.id: 1}, now=now, rng=database.rng)
    return Adopted(job.id, is_new=True)


def find_holder(connection: Connection, credential: str, task_id: str) -> str | None:
    """Return the job whose submission holds this task, None when none does."""
    query = select(SUBMISSIONS.c.job_id).where(
        SUBMISSIONS.c.credential == credential, SUBMISSIONS.c.task_id == clean_text(task_id)
    )
    return connection.execute(query).scalar_one_or_none()


def _require_free(connection: Connection, job: Job, task_id: str) -> None:
    holder = find_holder(connection, job.credential, task_id)
    if holder not in (None, job.id):
        whose = connection.execute(select(JOBS.c.owner).where(JOBS.c.id == holder)).scalar_one()
        if whose != job.owner:  # who it is, and that there is one, is theirs to know
            raise Conflict(f"task {task_id} belongs to a job of another owner")
        raise Conflict(f"task {task_id} belongs to {holder}", hint=f"orchestrator jobs show {holder}")


def _add_adopted(connection: Connection, job: Job, fair_key: str, attachment: Attachment, database: Database) -> str:
    now = database.now(connection)
    number = job.submission_count + 1
    values = {
        "id": job.id,
        "credential": job.credential,
        "kind": job.kind,
        "model": job.model,
        "fair_key": fair_key,
        "body_sha256": job.body_sha256,
    }
    row = _adopted_row(values, number, attachment.assumed_life, now=now, rng=database.rng)
    connection.execute(insert(SUBMISSIONS).values(row))
    connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(submission_count=number))
    return str(row["id"])


def _adopted_row(
    job: Mapping[str, object], number: int, life: timedelta, *, now: datetime, rng: Random
) -> dict[str, object]:
    return {
        "id": ids.make_id(ids.SUBMISSION, now=now, rng=rng),
        "job_id": job["id"],
        "number": number,
        "origin": Origin.ADOPTED,
        "process": NOBODY,
        "credential": job["credential"],
        "kind": job["kind"],
        "model": job["model"],
        "fair_key": job["fair_key"],
        "body_sha256": job["body_sha256"],
        **price_columns(None),
        "intent_at": now,
        "assumed_life_until": now + life,
    }

"""What the history must say of evidence that moved nothing, or not as its paid answer wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, select, update

from orchestrator.db.events import EVENTS, EventDraft, append_events
from orchestrator.db.evidence import Stored
from orchestrator.db.rows import JOBS
from orchestrator.domain.decide import Decision
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import AnswerComplete, TaskAccepted
from orchestrator.domain.ports import Applied, EvidenceReport
from orchestrator.domain.states import State, Trigger


@dataclass(frozen=True)
class Settled:
    """One report, its evidence stored and its job's move decided. `job` is as it was before that move."""

    report: EvidenceReport
    job: Job
    stored: Stored
    is_fenced: bool
    decision: Decision | None


def write_note(connection: Connection, settled: Settled, *, now: datetime, rng: Random) -> Applied:
    """Write the note, if there is one to write; return what became of the report."""
    report, job, stored, decision = settled.report, settled.job, settled.stored, settled.decision
    applied = Applied(job.id, decision, is_fenced=settled.is_fenced)
    if settled.is_fenced:
        return applied
    is_extra = _is_extra_paid(settled)
    data: dict[str, object] = {"submission_id": report.submission_id, "verdict": report.verdict}
    if isinstance(report.outcome, TaskAccepted):
        data["task_id"] = report.outcome.task_id
    draft = None
    if is_extra and not _is_noted(connection, job.id, data):
        why = "; ".join(filter(None, ("a paid task that this job cannot use", report.reason)))
        draft = EventDraft(Trigger.EXTRA_PAID_TASK, job.state, job.state, report.actor, why, data)
    elif stored.is_duplicate_id or (stored.is_new and decision is None):
        why = report.reason or "evidence about a submission was stored"
        draft = EventDraft(Trigger.EVIDENCE_STORED, job.state, job.state, report.actor, why, data)
    if draft is not None:
        if decision is not None:
            draft = replace(draft, source=decision.target, target=decision.target)
        _append(connection, job.id, draft, now=now, rng=rng)
    return replace(applied, is_extra_paid=is_extra, is_duplicate_id=stored.is_duplicate_id)


def _is_extra_paid(settled: Settled) -> bool:
    """True when this paid answer is neither in use nor waiting for a call in flight to end."""
    report, job, stored = settled.report, settled.job, settled.stored
    if not isinstance(report.outcome, TaskAccepted | AnswerComplete) or stored.is_duplicate_id:
        return False
    if settled.decision is not None:
        used = min((s for s in job.submissions if s.is_paid_and_open), key=lambda s: s.number, default=None)
        return used is None or used.id != report.submission_id or not stored.is_as_given
    if job.state is State.SUBMITTING and stored.is_as_given:
        return False
    own = next(s for s in job.submissions if s.id == report.submission_id)
    is_in_use = own.final_at is not None or (own.task_id is not None and own.task_id == job.provider_task_id)
    return not (stored.is_as_given and is_in_use)


def _is_noted(connection: Connection, job_id: str, data: dict[str, object]) -> bool:
    noted = select(EVENTS.c.data).where(EVENTS.c.job_id == job_id, EVENTS.c.type == Trigger.EXTRA_PAID_TASK)
    key = (data["submission_id"], data.get("task_id"))
    return any((row["submission_id"], row.get("task_id")) == key for row in connection.execute(noted).scalars())


def _append(connection: Connection, job_id: str, draft: EventDraft, *, now: datetime, rng: Random) -> None:
    raise_by_one = update(JOBS).where(JOBS.c.id == job_id).values(sequence=JOBS.c.sequence + 1)
    sequence = connection.execute(raise_by_one.returning(JOBS.c.sequence)).scalar_one()
    append_events(connection, {job_id: [draft]}, {job_id: sequence}, now=now, rng=rng)

"""What the history must say of evidence that moved nothing, or not as its paid answer wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Write the notes, if there are any to write; return what became of the report."""
    job, decision = settled.job, settled.decision
    applied = Applied(job.id, decision, is_fenced=settled.is_fenced)
    if settled.is_fenced:
        return applied
    is_extra = _is_extra_paid(settled)
    drafts = [*_own_notes(connection, settled, is_extra=is_extra), *_left_over_notes(connection, settled)]
    if drafts:
        state = decision.target if decision is not None else job.state
        drafts = [replace(draft, source=state, target=state) for draft in drafts]
        _append(connection, job.id, drafts, now=now, rng=rng)
    return replace(applied, is_extra_paid=is_extra, is_duplicate_id=settled.stored.is_duplicate_id)


def _own_notes(connection: Connection, settled: Settled, *, is_extra: bool) -> Iterator[EventDraft]:
    report, job, stored = settled.report, settled.job, settled.stored
    data: dict[str, object] = {"submission_id": report.submission_id, "verdict": report.verdict}
    if isinstance(report.outcome, TaskAccepted):
        data["task_id"] = report.outcome.task_id
    if is_extra and not _is_noted(connection, job.id, data):
        why = "; ".join(filter(None, ("a paid task that this job cannot use", report.reason)))
        yield EventDraft(Trigger.EXTRA_PAID_TASK, job.state, job.state, report.actor, why, data)
    elif stored.is_duplicate_id or (stored.is_new and settled.decision is None):
        why = report.reason or "evidence about a submission was stored"
        yield EventDraft(Trigger.EVIDENCE_STORED, job.state, job.state, report.actor, why, data)


def _left_over_notes(connection: Connection, settled: Settled) -> Iterator[EventDraft]:
    """Name the paid answers that came while a later call was in flight, when that has ended and an earlier one is used."""
    job, decision = settled.job, settled.decision
    if decision is None or decision.target not in (State.PROCESSING, State.ARCHIVING):
        return
    paid = sorted((s for s in job.submissions if s.is_paid_and_open), key=lambda s: s.number)
    for unused in paid[1:]:
        data: dict[str, object] = {"submission_id": unused.id, "verdict": unused.verdict}
        if unused.task_id is not None:
            data["task_id"] = unused.task_id
        if unused.id != settled.report.submission_id and not _is_noted(connection, job.id, data):
            why = "a paid task that this job cannot use: an earlier one of it is in use"
            yield EventDraft(Trigger.EXTRA_PAID_TASK, job.state, job.state, settled.report.actor, why, data)


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


def _append(connection: Connection, job_id: str, drafts: Sequence[EventDraft], *, now: datetime, rng: Random) -> None:
    count = update(JOBS).where(JOBS.c.id == job_id).values(sequence=JOBS.c.sequence + len(drafts))
    sequence = connection.execute(count.returning(JOBS.c.sequence)).scalar_one()
    append_events(connection, {job_id: drafts}, {job_id: sequence}, now=now, rng=rng)

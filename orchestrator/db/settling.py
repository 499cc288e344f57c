"""One piece of evidence about a paid call, from its pause to the move of its job, in one transaction (design 6 and 7).

Lock order: credential and model rows if the answer concerns a pause, then the job, then its submission.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from sqlalchemy import Connection, RowMapping, select, update

from orchestrator.db import pauses
from orchestrator.db.engine import Database
from orchestrator.db.events import EVENTS, EventDraft, append_events
from orchestrator.db.evidence import Stored, store_evidence
from orchestrator.db.pauses import PauseState, Scope
from orchestrator.db.rows import JOBS, SUBMISSIONS, load_outputs, load_submissions, read_job
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision, PauseLane
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import FinalAnswer, Job, Verdict
from orchestrator.domain.outcomes import (
    AccountRefused,
    AnswerComplete,
    CallEvidence,
    InputUnusable,
    NotSent,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.ports import Applied
from orchestrator.domain.states import State, Trigger

Settle = Callable[[Job, datetime], Decision | None]


@dataclass(frozen=True)
class Report:
    """One outcome of one submission, and who reports it. `token` None: late evidence."""

    submission_id: str
    evidence: CallEvidence
    outcome: SubmitOutcome
    verdict: Verdict
    token: str | None
    actor: str
    reason: str


def apply_report(connection: Connection, report: Report, settle: Settle, *, database: Database) -> Applied:
    """Store the evidence, then move the job by all its submissions. Raises NotFound."""
    submission = _find_submission(connection, report.submission_id)
    states = _lock_pauses(connection, report, submission)
    job_row = lock_job(connection, submission["job_id"])
    now = database.now(connection)
    submission = _find_submission(connection, report.submission_id)
    stored = _store(connection, report, submission, now=now)
    job = load_job(connection, job_row)
    is_fenced = report.token is not None and not _holds(job, report.token)
    decision = None if is_fenced or not _may_settle(job, report, stored) else settle(job, now)
    _write_pauses(connection, report, submission, states, decision, now=now)
    applied = Applied(job.id, decision, is_fenced=is_fenced)
    if decision is not None:
        data = {"submission_id": report.submission_id}
        _close_used_answer(connection, job, decision, now=now)
        write = Write(job, decision, report.token, report.actor, report.reason, data)
        write_decisions(connection, [write], now=now, rng=database.rng)
    return _note(connection, job, report, stored, applied, now=now, rng=database.rng)


def lock_job(connection: Connection, job_id: str) -> RowMapping:
    """Return the job's row, locked. Raises NotFound."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id).with_for_update()).mappings().first()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return row


def load_job(connection: Connection, row: RowMapping) -> Job:
    """Return the job in a row with all its submissions and outputs."""
    job_id = row["id"]
    submissions = load_submissions(connection, [job_id])[job_id]
    return read_job(row, submissions=submissions, outputs=load_outputs(connection, [job_id])[job_id])


def _find_submission(connection: Connection, submission_id: str) -> RowMapping:
    query = select(SUBMISSIONS).where(SUBMISSIONS.c.id == submission_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no submission {submission_id}")
    return row


def _store(connection: Connection, report: Report, submission: RowMapping, *, now: datetime) -> Stored:
    is_person = report.actor != "system"
    return store_evidence(
        connection,
        submission,
        report.evidence,
        report.outcome,
        report.verdict,
        now=now,
        decided_by=report.actor if is_person else None,
        decided_why=report.reason if is_person else None,
    )


def _holds(job: Job, token: str) -> bool:
    return job.state is State.SUBMITTING and job.lease_token == token


def _may_settle(job: Job, report: Report, stored: Stored) -> bool:
    """Evidence that the row did not take cannot move a job, except to end the call that is in flight."""
    newest = max(job.submissions, key=lambda submission: submission.number)
    return stored.is_as_given or (job.state is State.SUBMITTING and newest.id == report.submission_id)


def _close_used_answer(connection: Connection, job: Job, decision: Decision, *, now: datetime) -> None:
    """The whole answer of an immediate kind is in use: its submission needs no further word of the provider."""
    used = min((s for s in job.submissions if s.is_paid_and_open), key=lambda s: s.number, default=None)
    if used is None or used.task_id is not None or decision.target is not State.ARCHIVING:
        return
    values = {"final_at": now, "final_answer": FinalAnswer.SUCCESS}
    connection.execute(update(SUBMISSIONS).where(SUBMISSIONS.c.id == used.id).values(values))


# -- pauses ------------------------------------------------------------------------------------------------------


def _lock_pauses(connection: Connection, report: Report, submission: RowMapping) -> dict[Scope, PauseState]:
    """Lock what this answer may pause or probe; most answers concern neither and lock nothing."""
    scopes = pauses.find_probed(connection, PauseLane.SUBMIT, [report.submission_id])
    if isinstance(report.outcome, ThrottledNow | AccountRefused):
        scopes |= {Scope(submission["credential"]), Scope(submission["credential"], submission["model"])}
    if not scopes:
        return {}
    pauses.ensure_rows(connection, scopes)
    return pauses.lock(connection, PauseLane.SUBMIT, scopes)


def _write_pauses(
    connection: Connection,
    report: Report,
    submission: RowMapping,
    states: dict[Scope, PauseState],
    decision: Decision | None,
    *,
    now: datetime,
) -> None:
    paused = None
    if decision is not None and decision.pause is not None:
        paused = pauses.scope_of(decision.pause, credential=submission["credential"], model=submission["model"])
        pauses.set_pause(connection, paused, decision.pause, states.get(paused, PauseState(None, None)))
    is_silent = isinstance(report.outcome, NotSent | InputUnusable | Unknown | ThrottledNow | AccountRefused)
    for scope, state in states.items():
        if state.probe_id != report.submission_id or scope == paused:
            continue
        is_answered = not is_silent or (paused is not None and scope.model is None)
        pauses.end_probe(connection, scope, PauseLane.SUBMIT, is_answered=is_answered, now=now)


# -- notes -------------------------------------------------------------------------------------------------------


def _note(
    connection: Connection,
    job: Job,
    report: Report,
    stored: Stored,
    applied: Applied,
    *,
    now: datetime,
    rng: Random,
) -> Applied:
    """Write what the history must say of evidence that moved nothing, or not as its paid answer wanted."""
    if applied.is_fenced:
        return applied
    is_extra = _is_extra_paid(job, report, stored, applied.decision)
    data: dict[str, object] = {"submission_id": report.submission_id, "verdict": report.verdict}
    if isinstance(report.outcome, TaskAccepted):
        data["task_id"] = report.outcome.task_id
    draft = None
    if is_extra and not _is_noted(connection, job.id, data):
        why = "; ".join(filter(None, ("a paid task that this job cannot use", report.reason)))
        draft = EventDraft(Trigger.EXTRA_PAID_TASK, job.state, job.state, report.actor, why, data)
    elif stored.is_duplicate_id or (stored.is_new and applied.decision is None):
        why = report.reason or "evidence about a submission was stored"
        draft = EventDraft(Trigger.EVIDENCE_STORED, job.state, job.state, report.actor, why, data)
    if draft is not None:
        if applied.decision is not None:
            draft = replace(draft, source=applied.decision.target, target=applied.decision.target)
        _append(connection, job.id, draft, now=now, rng=rng)
    return replace(applied, is_extra_paid=is_extra, is_duplicate_id=stored.is_duplicate_id)


def _is_extra_paid(job: Job, report: Report, stored: Stored, decision: Decision | None) -> bool:
    """True when this paid answer is neither in use nor waiting for a call in flight to end."""
    outcome = report.outcome
    if not isinstance(outcome, TaskAccepted | AnswerComplete) or stored.is_duplicate_id:
        return False
    if decision is not None:
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

"""Evidence about paid calls, from its pauses to the moves of its jobs, in one transaction (design 6 and 7).

Lock order: credential and model rows if an answer concerns a pause, then the jobs by id, then their submissions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select, update

from orchestrator.db import pauses
from orchestrator.db.answer_notes import Settled, write_note
from orchestrator.db.engine import Database
from orchestrator.db.evidence import Given, Row, Stored, store_all
from orchestrator.db.pauses import PauseState, Scope
from orchestrator.db.rows import (
    JOBS,
    SUBMISSIONS,
    load_outputs,
    load_submissions,
    read_job,
    read_submission,
    submissions_query,
)
from orchestrator.db.rowset import encode_keys, is_among
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision, PauseLane, is_moved_by_repeats
from orchestrator.domain.errors import NotFound, Permanent
from orchestrator.domain.job import FinalAnswer, Job, Submission
from orchestrator.domain.outcomes import AccountRefused, InputUnusable, NotSent, ThrottledNow, Unknown
from orchestrator.domain.ports import Applied, EvidenceReport
from orchestrator.domain.states import State

SUBMIT = PauseLane.SUBMIT


def apply_reports(connection: Connection, reports: Sequence[EvidenceReport], *, database: Database) -> list[Applied]:
    """Store each report's evidence, then move its job by all its submissions.

    Raises NotFound, and Permanent when two reports are about one job: the second must see what the first led to.
    """
    known = _find_owners(connection, [report.submission_id for report in reports])
    job_ids = [_get(known, report)["job_id"] for report in reports]
    if len(set(job_ids)) < len(job_ids):
        raise Permanent("one_job_twice", "two reports about one job cannot be settled at once")
    states = _lock_pauses(connection, reports, known)
    job_rows = _lock_jobs(connection, job_ids)
    now = database.now(connection)
    rows = _find_submissions(connection, job_ids)
    given = [_given(report, _get(rows, report)) for report in reports]
    stored = {str(each.row["id"]): each for each in store_all(connection, given, now=now)}
    jobs = _read_jobs(connection, job_rows, {key: stored[key].row if key in stored else rows[key] for key in rows})
    settled = [
        _settle(report, jobs[job_id], stored[report.submission_id], now=now)
        for report, job_id in zip(reports, job_ids, strict=True)
    ]
    for each in settled:
        _write_pauses(connection, each, states, now=now)
        if each.decision is not None:
            close_used_answer(connection, each.job, each.decision, now=now)
    writes = [_write_of(each, each.decision) for each in settled if each.decision is not None]
    won = write_decisions(connection, writes, now=now, database=database)
    told = [each if each.job.id in won or each.decision is None else _fenced(each) for each in settled]
    return [write_note(connection, each, now=now, rng=database.rng) for each in told]


def lock_job(connection: Connection, job_id: str) -> RowMapping:
    """Return the job's row, locked. Raises NotFound."""
    return _lock_jobs(connection, [job_id])[job_id]


def load_job(connection: Connection, row: RowMapping) -> Job:
    """Return the job in a row with all its submissions and outputs."""
    job_id = row["id"]
    submissions = load_submissions(connection, [job_id])[job_id]
    return read_job(row, submissions=submissions, outputs=load_outputs(connection, [job_id])[job_id])


def lock_found(connection: Connection, job_ids: Collection[str]) -> dict[str, RowMapping]:
    """Lock the rows of these jobs, in the order of their ids; return those that are there."""
    query = _lock_query(connection.dialect.name == "sqlite")
    rows = connection.execute(query, {"owners": encode_keys(job_ids)}).mappings()
    return {row["id"]: row for row in rows}


def _lock_jobs(connection: Connection, job_ids: Collection[str]) -> dict[str, RowMapping]:
    found = lock_found(connection, job_ids)
    for job_id in job_ids:
        if job_id not in found:
            raise NotFound(f"there is no job {job_id}")
    return found


def _find_owners(connection: Connection, submission_ids: Collection[str]) -> dict[str, Row]:
    """Return what never changes of each submission: its job, credential and model."""
    query = _owners_query(connection.dialect.name == "sqlite")
    return {row.id: row._asdict() for row in connection.execute(query, {"wanted": encode_keys(submission_ids)})}


def _find_submissions(connection: Connection, job_ids: Collection[str]) -> dict[str, Row]:
    query = submissions_query(connection.dialect.name == "sqlite")
    return {row.id: row._asdict() for row in connection.execute(query, {"owners": encode_keys(job_ids)})}


@cache
def _lock_query(is_sqlite: bool) -> Select[*tuple[Any, ...]]:  # noqa: FBT001 - the cache's key
    wanted = is_among(JOBS.c.id, "owners", is_sqlite=is_sqlite)
    return select(JOBS).where(wanted).order_by(JOBS.c.id).with_for_update()


@cache
def _owners_query(is_sqlite: bool) -> Select[str, str, str, str]:  # noqa: FBT001 - the cache's key
    wanted = is_among(SUBMISSIONS.c.id, "wanted", is_sqlite=is_sqlite)
    return select(SUBMISSIONS.c.id, SUBMISSIONS.c.job_id, SUBMISSIONS.c.credential, SUBMISSIONS.c.model).where(wanted)


def _get(rows: Mapping[str, Row], report: EvidenceReport) -> Row:
    if report.submission_id not in rows:
        raise NotFound(f"there is no submission {report.submission_id}")
    return rows[report.submission_id]


def _given(report: EvidenceReport, row: Row) -> Given:
    is_person = report.actor != "system"
    return Given(
        row,
        report.evidence,
        report.outcome,
        report.verdict,
        decided_by=report.actor if is_person else None,
        decided_why=report.reason if is_person else None,
    )


def _read_jobs(
    connection: Connection, job_rows: Mapping[str, RowMapping], submissions: Mapping[str, Row]
) -> dict[str, Job]:
    """Return the jobs with their submissions, in the order given, as they stand after what was stored."""
    outputs = load_outputs(connection, list(job_rows))
    theirs: dict[str, list[Submission]] = {job_id: [] for job_id in job_rows}
    for row in submissions.values():
        submission = read_submission(row)
        theirs[submission.job_id].append(submission)
    return {
        job_id: read_job(row, submissions=theirs[job_id], outputs=outputs[job_id]) for job_id, row in job_rows.items()
    }


def _settle(report: EvidenceReport, job: Job, stored: Stored, *, now: datetime) -> Settled:
    is_fenced = report.token is not None and not _holds(job, report.token)
    may_move = not is_fenced and _may_settle(job, report, stored)
    return Settled(report, job, stored, is_fenced, report.settle(job, now) if may_move else None)


def _fenced(settled: Settled) -> Settled:
    """Nothing moved: the guard of the write did not hold."""
    return replace(settled, is_fenced=True, decision=None)


def _holds(job: Job, token: str) -> bool:
    return job.state is State.SUBMITTING and job.lease_token == token


def _may_settle(job: Job, report: EvidenceReport, stored: Stored) -> bool:
    """Evidence that the row did not take cannot move a job, except to end the call that is in flight; nor can what
    it had taken before move a job that was held since, unless a person says so.
    """
    newest = max(job.submissions, key=lambda submission: submission.number)
    if not stored.is_new and report.actor == "system" and not is_moved_by_repeats(job):
        return False
    return stored.is_as_given or (job.state is State.SUBMITTING and newest.id == report.submission_id)


def _write_of(settled: Settled, decision: Decision) -> Write:
    report = settled.report
    data = {"submission_id": report.submission_id, **report.data}
    return Write(settled.job, decision, report.token, report.actor, report.reason, data)


def close_used_answer(connection: Connection, job: Job, decision: Decision, *, now: datetime) -> None:
    """The whole answer of an immediate kind is in use: its submission needs no further word of the provider."""
    if decision.target is not State.ARCHIVING or not decision.outputs:
        return
    answers = (s for s in job.submissions if s.is_paid_and_open and s.task_id is None)
    used = min(answers, key=lambda s: s.number, default=None)
    if used is None:
        return
    values = {"final_at": now, "final_answer": FinalAnswer.SUCCESS}
    connection.execute(update(SUBMISSIONS).where(SUBMISSIONS.c.id == used.id).values(values))


# -- pauses ------------------------------------------------------------------------------------------------------


def _lock_pauses(
    connection: Connection, reports: Sequence[EvidenceReport], known: Mapping[str, Row]
) -> dict[Scope, PauseState]:
    """Lock what these answers may pause or probe; most answers concern neither and lock nothing."""
    scopes = pauses.find_probed(connection, SUBMIT, [report.submission_id for report in reports])
    for report in reports:
        if isinstance(report.outcome, ThrottledNow | AccountRefused):
            row = known[report.submission_id]
            scopes |= {Scope(row["credential"]), Scope(row["credential"], row["model"])}
    if not scopes:
        return {}
    return pauses.lock(connection, SUBMIT, scopes)


def _write_pauses(connection: Connection, settled: Settled, states: dict[Scope, PauseState], *, now: datetime) -> None:
    """Pause what the answer says, end what it probed; `states` then hold what the next answer of the group finds."""
    report, row, decision = settled.report, settled.stored.row, settled.decision
    paused = None
    if decision is not None and decision.pause is not None:
        paused = pauses.scope_of(decision.pause, credential=str(row["credential"]), model=str(row["model"]))
        current = states.get(paused, PauseState(None, None))
        states[paused] = pauses.set_pause(connection, paused, decision.pause, current)
    is_silent = isinstance(report.outcome, NotSent | InputUnusable | Unknown | ThrottledNow | AccountRefused)
    for scope, state in list(states.items()):
        if state.probe_id != report.submission_id or scope == paused:
            continue
        is_answered = not is_silent or (paused is not None and scope.model is None)
        states[scope] = pauses.end_probe(connection, scope, SUBMIT, is_answered=is_answered, now=now)

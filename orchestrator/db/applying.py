"""Writing what the poll and archive lanes decided: pauses first, in lock order, then the guarded writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.db import pauses
from orchestrator.db.engine import Database
from orchestrator.db.pauses import PauseState, Scope, scope_of
from orchestrator.db.rows import load_outputs, load_submissions
from orchestrator.db.settling import lock_found
from orchestrator.db.writes import Write, write_decisions
from orchestrator.domain.decide import Decision, Pause, PauseLane, may_end_otherwise, settle_ended
from orchestrator.domain.job import Job, Output, Submission
from orchestrator.domain.ports import Applied
from orchestrator.domain.states import State, Trigger

Decided = Sequence[tuple[Job, Decision]]


def part_by_job(decisions: Decided) -> list[Decided]:
    """Return the decisions in groups that hold each job once.

    A process that stood still past a lease may have leased the row again itself; both answers then arrive together.
    Written together the older one would pass for the newer one's: a group knows what it moved by the job's id alone.
    """
    groups: list[dict[str, tuple[Job, Decision]]] = []
    for job, decision in decisions:
        group = next((group for group in groups if job.id not in group), None)
        if group is None:
            groups.append(group := {})
        group[job.id] = (job, decision)
    return [list(group.values()) for group in groups]


def apply_decisions(connection: Connection, decisions: Decided, *, database: Database) -> list[Applied]:
    """Write decisions of lease holders, one a job; a row that is no longer theirs is fenced and left alone."""
    wanted = _pauses_of(decisions)
    states = _lock_pauses(connection, decisions, wanted)
    decisions = _settle_ended(connection, decisions, database=database)
    now = database.now(connection)
    _write_pauses(connection, decisions, wanted, states, now=now)
    writes = [Write(job, decision, job.lease_token or "") for job, decision in decisions]
    won = write_decisions(connection, writes, now=now, database=database)
    return [
        Applied(job.id, decision if job.id in won else None, is_fenced=job.id not in won) for job, decision in decisions
    ]


def _settle_ended(connection: Connection, decisions: Decided, *, database: Database) -> Decided:
    """Let what other calls of a job may have a say in be decided by all of them; most answers read nothing."""
    ended = [job.id for job, decision in decisions if may_end_otherwise(job, decision)]
    if not ended:
        return decisions
    lock_found(connection, [job.id for job, _ in decisions])  # all at once: locks are taken in the order of ids
    now = database.now(connection)
    calls, outputs = load_submissions(connection, ended), load_outputs(connection, ended)
    whole = {job_id: (tuple(calls[job_id]), tuple(outputs[job_id])) for job_id in ended}
    return [
        (job, _settle_one(job, decision, *whole[job.id], now=now) if job.id in whole else decision)
        for job, decision in decisions
    ]


def _settle_one(
    job: Job, decision: Decision, calls: tuple[Submission, ...], outputs: tuple[Output, ...], *, now: datetime
) -> Decision:
    return settle_ended(replace(job, submissions=calls, outputs=outputs), decision, now)


def _pauses_of(decisions: Decided) -> dict[Scope, Pause]:
    """The longest pause that the answers ask for, per scope."""
    wanted: dict[Scope, Pause] = {}
    for job, decision in decisions:
        if decision.pause is not None:
            scope = scope_of(decision.pause, credential=job.credential, model=job.model)
            if scope not in wanted or wanted[scope].until < decision.pause.until:
                wanted[scope] = decision.pause
    return wanted


def _lock_pauses(connection: Connection, decisions: Decided, wanted: Mapping[Scope, Pause]) -> dict[Scope, PauseState]:
    polled = [job.id for job, _ in decisions if job.state is State.PROCESSING]
    scopes = set(wanted) | (pauses.find_probed(connection, PauseLane.POLL, polled) if polled else set())
    if not scopes:
        return {}
    return pauses.lock(connection, PauseLane.POLL, scopes)


def _write_pauses(
    connection: Connection,
    decisions: Decided,
    wanted: Mapping[Scope, Pause],
    states: Mapping[Scope, PauseState],
    *,
    now: datetime,
) -> None:
    answered = {job.id: decision.trigger is not Trigger.POLL_FAILED for job, decision in decisions}
    for scope, state in states.items():
        if scope in wanted:
            pauses.set_pause(connection, scope, wanted[scope], state)
        elif state.probe_id in answered:
            pauses.end_probe(connection, scope, PauseLane.POLL, is_answered=answered[state.probe_id], now=now)

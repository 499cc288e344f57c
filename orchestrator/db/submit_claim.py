"""The submit claim: the one place where money is agreed to. Its commit is the intent (design sections 5 and 7).

Order, and none of it may be swapped: lock the credential and then its models by name; only then, in statements of
their own, ask the time, count slots and unknowns, find whose turn it is; lock the batches among them that have a budget,
by id; only then add up what those have cost, pick, insert submissions and set the jobs submitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, case, update
from sqlalchemy.sql.dml import ReturningUpdate

from orchestrator.db import budgets, pauses, turns
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.inserts import insert_many
from orchestrator.db.pauses import Gate, Scope, gate_of
from orchestrator.db.rows import JOBS, SUBMISSIONS, price_columns, read_job, read_price
from orchestrator.db.rowset import TEXT, encode_rows, make_rowset
from orchestrator.db.slots import count_held, count_unknowns, load_limits
from orchestrator.db.tokens import make_token
from orchestrator.db.turns import Queue, Turn
from orchestrator.db.types import Utc
from orchestrator.domain import ids
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.job import Origin, Submission
from orchestrator.domain.ports import ClaimedSubmission, SubmitWindow
from orchestrator.domain.states import State, Trigger, check_transition

EVERY_MODEL_ELSE = "*"
UNTOLD_TASK_LIFE = timedelta(days=1)  # for a claim that knows no kind's: long enough never to free a slot early


@dataclass(frozen=True)
class Room:
    """What may be taken now: per model, and over all of them."""

    per_model: Mapping[str, int]
    total: int
    probed: frozenset[Scope] = frozenset()
    """Scopes whose pause has passed: the one job taken there is the probe."""


def claim_submissions(
    connection: Connection, window: SubmitWindow, *, database: Database
) -> tuple[tuple[ClaimedSubmission, ...], datetime]:
    """Take queued jobs for free slots; return them with their submissions, and the time of the claim."""
    models = turns.find_models(connection, window.credential)
    if not models:
        return (), database.now(connection)
    scopes = [Scope(window.credential), *(Scope(window.credential, model) for model in models)]
    states = pauses.lock(connection, PauseLane.SUBMIT, scopes)
    now = database.now(connection)
    gates = {scope: gate_of(state, now) for scope, state in states.items()}
    room = find_room(connection, window, models, gates, now=now)
    picked = _pick(connection, window, room, now=now)
    return _take(connection, window, picked, room, now=now, rng=database.rng), now


def find_room(
    connection: Connection,
    window: SubmitWindow,
    models: Sequence[str],
    gates: Mapping[Scope, Gate],
    *,
    now: datetime,
) -> Room:
    """Return what slots, pauses, the cap over all models and the stop for too many unknowns leave free."""
    whole = Scope(window.credential)
    if gates.get(whole) is Gate.CLOSED:
        return Room({}, 0)
    if count_unknowns(connection, window.credential, now=now) >= window.max_unknown_per_hour:
        return Room({}, 0)
    held = count_held(connection, window.credential, now=now, is_held_until_final=window.is_slot_held_until_final)
    total = window.limit
    if window.total_slots is not None:
        total = min(total, window.total_slots - sum(held.values()))
    if gates.get(whole) is Gate.PROBE:
        total = min(total, 1)
    limits = {**window.slots, **load_limits(connection, window.credential)}
    per_model: dict[str, int] = {}
    for model in models:
        gate = gates.get(Scope(window.credential, model), Gate.OPEN)
        free = limits.get(model, limits.get(EVERY_MODEL_ELSE, 1)) - held.get(model, 0)
        per_model[model] = 0 if gate is Gate.CLOSED else min(free, 1) if gate is Gate.PROBE else free
    return Room(per_model, total, frozenset(scope for scope, gate in gates.items() if gate is Gate.PROBE))


def queue_of(window: SubmitWindow, model: str, fair_keys: tuple[str, ...]) -> Queue:
    """Return the part of the queue that this window looks at."""
    return Queue(window.credential, model, window.batch_id, fair_keys)


def _pick(connection: Connection, window: SubmitWindow, room: Room, *, now: datetime) -> list[Turn]:
    if room.total <= 0:
        return []
    fair_keys = turns.find_fair_keys(connection, window.batch_id) if window.batch_id else ()
    queues = [queue_of(window, model, fair_keys) for model, free in room.per_model.items() if free > 0]
    heads = {queue: _find_due(connection, queue, now) for queue in queues}
    held = budgets.lock(connection, {h.fair_key for due in heads.values() for h in due if h.has_budget})
    found: list[Turn] = []
    for queue, due in heads.items():
        free = min(room.per_model[queue.model], room.total)
        fitting = budgets.keep_fitting(connection, due, held)
        found += turns.pick(connection, queue, fitting, limit=free, now=now)
    return budgets.take_fitting(connection, sorted(found), held, limit=room.total)


def _find_due(connection: Connection, queue: Queue, now: datetime) -> list[turns.Head]:
    return [head for head in turns.find_heads(connection, queue) if head.due_at <= now]


def _take(
    connection: Connection, window: SubmitWindow, picked: Sequence[Turn], room: Room, *, now: datetime, rng: Random
) -> tuple[ClaimedSubmission, ...]:
    if not picked:
        return ()
    rows = _set_submitting(connection, [turn.job_id for turn in picked], window, now=now, rng=rng)
    if not rows:
        return ()
    submissions = [_submission_row(row, window, now=now, rng=rng) for row in rows]
    insert_many(connection, SUBMISSIONS, submissions)
    _note_probes(connection, submissions, room)
    events = {str(row["job_id"]): [_started(str(row["id"]))] for row in submissions}
    append_events(connection, events, {row["id"]: row["sequence"] for row in rows}, now=now, rng=rng)
    return tuple(
        ClaimedSubmission(read_job(row), _submission(values)) for row, values in zip(rows, submissions, strict=True)
    )


def _set_submitting(
    connection: Connection, job_ids: Sequence[str], window: SubmitWindow, *, now: datetime, rng: Random
) -> list[RowMapping]:
    """Move the picked jobs, in their order; one that somebody moved meanwhile (a cancel) is left out."""
    check_transition(State.QUEUED, Trigger.SUBMISSION_STARTED, State.SUBMITTING)
    moves = [{"id": job_id, "source": State.QUEUED, "token": make_token(rng)} for job_id in job_ids]
    kinds = tuple(sorted(window.deadlines))
    ends = {f"end_{place}": now + window.deadlines[kind] + window.margin for place, kind in enumerate(kinds)}
    asked = {"moves": encode_rows(moves), "now": now, "longest": now + longest_lease(window), **ends}
    found = connection.execute(_move_statement(kinds, connection.dialect.name == "sqlite"), asked).mappings()
    moved = {row["id"]: row for row in found}
    return [moved[job_id] for job_id in job_ids if job_id in moved]


@cache
def _move_statement(kinds: tuple[str, ...], is_sqlite: bool) -> ReturningUpdate[Any]:  # noqa: FBT001 - the cache's key
    """Each job's lease ends by its own kind's deadline, an unknown kind's by the longest."""
    rows = make_rowset("moves", {"id": TEXT, "source": TEXT, "token": TEXT}, is_sqlite=is_sqlite)
    ends = {kind: bindparam(f"end_{place}", type_=Utc()) for place, kind in enumerate(kinds)}
    longest = bindparam("longest", type_=Utc())
    values = {
        "state": State.SUBMITTING,
        "lease_token": rows.c.token,
        "due_at": case(ends, value=JOBS.c.kind, else_=longest) if ends else longest,
        "submission_count": JOBS.c.submission_count + 1,
        "sequence": JOBS.c.sequence + 1,
    }
    is_due = JOBS.c.due_at <= bindparam("now", type_=Utc())
    guard = and_(JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source, is_due)
    return update(JOBS).where(guard).values(values).returning(*JOBS.c)


def longest_lease(window: SubmitWindow) -> timedelta:
    """Return the longest call deadline + margin: what an unknown kind gets, and what the claim as a whole says."""
    return max(window.deadlines.values(), default=timedelta(0)) + window.margin


def _submission_row(job: RowMapping, window: SubmitWindow, *, now: datetime, rng: Random) -> dict[str, object]:
    life = window.task_lives.get(job["kind"], max(window.task_lives.values(), default=UNTOLD_TASK_LIFE))
    return {
        "id": ids.make_id(ids.SUBMISSION, now=now, rng=rng),
        "job_id": job["id"],
        "number": job["submission_count"],
        "origin": Origin.OURS,
        "process": window.process,
        "credential": job["credential"],
        "kind": job["kind"],
        "model": job["model"],
        "fair_key": job["fair_key"],
        "body_sha256": job["body_sha256"],
        **price_columns(read_price(job)),
        "intent_at": now,
        "assumed_life_until": now + life,
    }


def _submission(row: Mapping[str, object]) -> Submission:
    intent_at, number = row["intent_at"], row["number"]
    assert isinstance(intent_at, datetime)
    assert isinstance(number, int)
    return Submission(str(row["id"]), str(row["job_id"]), number, intent_at)


def _started(submission_id: str) -> EventDraft:
    return EventDraft(
        Trigger.SUBMISSION_STARTED,
        State.QUEUED,
        State.SUBMITTING,
        "system",
        "a slot is free",
        {"submission_id": submission_id},
    )


def _note_probes(connection: Connection, submissions: Sequence[Mapping[str, object]], room: Room) -> None:
    for row in submissions:
        credential, model = str(row["credential"]), str(row["model"])
        for scope in {Scope(credential), Scope(credential, model)} & room.probed:
            pauses.start_probe(connection, scope, PauseLane.SUBMIT, str(row["id"]))

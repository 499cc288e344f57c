"""When a lane next has something to do: what is paused counts with its pause's end, what has no slot not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, literal_column, not_, select

from orchestrator.db import budgets, pauses, turns
from orchestrator.db.lane_claims import is_of
from orchestrator.db.low_water import FULL_LOOK_SECONDS, LowWater
from orchestrator.db.pauses import PauseState, Scope
from orchestrator.db.rows import JOBS
from orchestrator.db.submit_claim import find_room
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.ports import SubmitWindow
from orchestrator.domain.states import State

Pauses = Mapping[Scope, PauseState]


def find_next_submit(
    connection: Connection, *, credential: str, batch_id: str | None, window: SubmitWindow | None, now: datetime
) -> datetime | None:
    """Return when the next queued job may be taken. Without a window, slots are not looked at.

    A job that its batch's budget has no room for is not due work: money that comes back wakes the lane as a slot does.
    """
    states = pauses.load_states(connection, PauseLane.SUBMIT, credential)
    models = turns.find_models(connection, credential)
    if window is not None:
        room = find_room(connection, window, models, {}, now=now)
        models = [model for model in models if room.total > 0 and room.per_model[model] > 0]
    fair_keys = turns.find_fair_keys(connection, batch_id) if batch_id else ()
    found: list[datetime] = []
    for model in models:
        heads = turns.find_heads(connection, turns.Queue(credential, model, batch_id, fair_keys))
        held = budgets.find(connection, {head.fair_key for head in heads if head.has_budget})
        heads = budgets.keep_fitting(connection, heads, held)
        due = min((head.due_at for head in heads), default=None)
        found += _after_pauses(due, states, Scope(credential, model), now)
    return min(found, default=None)


def find_next_poll(connection: Connection, *, low_water: LowWater, now: datetime) -> datetime | None:
    """Return the earliest due_at in `processing`, leases' ends included; now and then all rows are looked through."""
    states = pauses.load_states(connection, PauseLane.POLL)
    first = _first_open_poll(connection, states, low_water, now=now)
    found = [first] if first is not None else []
    for scope in states:
        found += _after_pauses(_first_due(connection, State.PROCESSING, is_of(scope)), states, scope, now)
    return min(found, default=None)


def _first_open_poll(connection: Connection, paused: Pauses, low_water: LowWater, *, now: datetime) -> datetime | None:
    begin = low_water.find_begin(paused.keys(), now, patience=FULL_LOOK_SECONDS)
    is_open = [not_(is_of(scope)) for scope in paused]
    if begin is not None:
        return _first_due(connection, State.PROCESSING, JOBS.c.due_at >= begin, *is_open)
    first = _first_due(connection, State.PROCESSING, *is_open)
    low_water.note_first(first)
    return first


def find_next_archive(connection: Connection) -> datetime | None:
    """Return the earliest due_at in `archiving`, leases' ends included."""
    return _first_due(connection, State.ARCHIVING)


def _first_due(connection: Connection, state: State, *conditions: ColumnElement[bool]) -> datetime | None:
    """Read one row of the lane's index; min() with a bound was planned as a walk through all rows above it."""
    query = select(JOBS.c.due_at).where(JOBS.c.state == literal_column(f"'{state}'"), *conditions)
    return connection.execute(query.order_by(JOBS.c.due_at).limit(1)).scalar_one_or_none()


def _after_pauses(due: datetime | None, states: Pauses, scope: Scope, now: datetime) -> list[datetime]:
    """Return `due` put off to the end of the pauses around it; nothing while a probe is out: its answer wakes."""
    if due is None:
        return []
    around = [states[s] for s in (Scope(scope.credential), scope) if s in states]
    if any(state.probe_id is not None and (state.until is None or state.until <= now) for state in around):
        return []
    return [max([due, *(state.until for state in around if state.until is not None)])]

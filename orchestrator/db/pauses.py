"""Pauses of models and credentials, and the probes that end them (design section 7).

Rows are locked in one order everywhere, before any job row: credentials by name, then models by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    select,
    tuple_,
    update,
)

from orchestrator.db.inserts import insert_missing
from orchestrator.db.rows import table_of
from orchestrator.db.tables import CredentialRow, ModelLimitRow
from orchestrator.db.types import clean_text
from orchestrator.domain.decide import Pause, PauseLane
from orchestrator.domain.models import UNTIL_RESUMED
from orchestrator.domain.outcomes import PauseScope

INCONCLUSIVE_WAIT = timedelta(seconds=60)
"""How far ahead a pause is set when its probe brought no answer (design section 7)."""

CREDENTIALS = table_of(CredentialRow)
MODEL_LIMITS = table_of(ModelLimitRow)


@dataclass(frozen=True)
class Scope:
    """What a pause is on: a whole credential, or one model of it."""

    credential: str
    model: str | None = None

    @property
    def lock_rank(self) -> tuple[bool, str, str]:
        """Credentials before models, each by name."""
        return (self.model is not None, self.credential, self.model or "")


@dataclass(frozen=True)
class PauseState:
    """A scope's pause on one lane, as stored."""

    until: datetime | None
    probe_id: str | None


class Gate(Enum):
    """What a claim may take of a scope."""

    OPEN = auto()
    PROBE = auto()  # the pause has passed: one, to see whether it is over
    CLOSED = auto()


def gate_of(state: PauseState, now: datetime) -> Gate:
    """Return what may be claimed now; a passed pause whose probe is out stays closed."""
    if state.until is None:
        return Gate.OPEN
    if state.until > now or state.probe_id is not None:
        return Gate.CLOSED
    return Gate.PROBE


def scope_of(pause: Pause, *, credential: str, model: str) -> Scope:
    """Return the scope that a decision's pause means for a job of this credential and model."""
    return Scope(credential, model if pause.scope is PauseScope.MODEL else None)


def load_states(connection: Connection, lane: PauseLane, credential: str | None = None) -> dict[Scope, PauseState]:
    """Return every paused scope of a lane without locking."""
    found: dict[Scope, PauseState] = {}
    for table in (CREDENTIALS, MODEL_LIMITS):
        until = table.c[f"{lane}_paused_until"]
        query = select(*_key(table), until, table.c[f"{lane}_probe_id"]).where(until.is_not(None))
        if credential is not None:
            query = query.where(_key(table)[0] == credential)
        for row in connection.execute(query).mappings():
            found[_scope(row)] = PauseState(row[f"{lane}_paused_until"], row[f"{lane}_probe_id"])
    return found


def find_probed(connection: Connection, lane: PauseLane, probe_ids: Collection[str]) -> set[Scope]:
    """Return the scopes that one of these submissions (submit) or jobs (poll) probes. Locks nothing."""
    wanted = set(probe_ids)
    found: set[Scope] = set()
    for table in (CREDENTIALS, MODEL_LIMITS):
        rows = connection.execute(_probes_query(table, lane)).mappings()
        found.update(_scope(row) for row in rows if row[f"{lane}_probe_id"] in wanted)
    return found


@cache
def _probes_query(table: Table, lane: PauseLane) -> Select[*tuple[Any, ...]]:
    """Every probe that is out: a handful at most, so they are all read."""
    probe = table.c[f"{lane}_probe_id"]
    return select(*_key(table), probe).where(probe.is_not(None))


def lock(connection: Connection, lane: PauseLane, scopes: Iterable[Scope]) -> dict[Scope, PauseState]:
    """Lock the scopes' rows in the one order and return their pauses on `lane`; rows that are missing are made."""
    found: dict[Scope, PauseState] = {}
    for table, keys in _by_table(set(scopes)):
        locked = _lock_rows(connection, lane, table, keys)
        if len(locked) < len(keys):
            names = [column.name for column in _key(table)]
            insert_missing(connection, table, [dict(zip(names, key, strict=True)) for key in keys])
            locked = _lock_rows(connection, lane, table, keys)
        found |= locked
    return found


def _lock_rows(
    connection: Connection, lane: PauseLane, table: Table, keys: Collection[tuple[str, ...]]
) -> dict[Scope, PauseState]:
    rows = connection.execute(_lock_query(table, lane), {"keys": list(keys)}).mappings()
    return {_scope(row): PauseState(row[f"{lane}_paused_until"], row[f"{lane}_probe_id"]) for row in rows}


@cache
def _lock_query(table: Table, lane: PauseLane) -> Select[*tuple[Any, ...]]:
    columns = _key(table)
    wanted: BindParameter[Any] = bindparam("keys", expanding=True)
    return (
        select(*columns, table.c[f"{lane}_paused_until"], table.c[f"{lane}_probe_id"])
        .where(tuple_(*columns).in_(wanted))
        .order_by(*columns)
        .with_for_update()
    )


def set_pause(connection: Connection, scope: Scope, pause: Pause, current: PauseState) -> PauseState:
    """Pause, or extend a pause; whatever probe was out no longer ends it. A pause made by hand is left as it is.

    Return what holds now.
    """
    if current.until is not None and current.until >= UNTIL_RESUMED:
        return current
    until = pause.until if current.until is None else max(pause.until, current.until)
    _write(
        connection,
        scope,
        pause.lane,
        {
            "paused_until": until,
            "pause_code": clean_text(pause.code),
            "pause_message": clean_text(pause.message),
            "probe_id": None,
        },
    )
    return PauseState(until, None)


def start_probe(connection: Connection, scope: Scope, lane: PauseLane, probe_id: str) -> None:
    """Remember what probes this scope."""
    _write(connection, scope, lane, {"probe_id": probe_id})


def end_probe(connection: Connection, scope: Scope, lane: PauseLane, *, is_answered: bool, now: datetime) -> PauseState:
    """An answer without a pause code ends the pause; no answer sets it a little ahead for the next probe.

    Return what holds now.
    """
    until = None if is_answered else now + INCONCLUSIVE_WAIT
    values: dict[str, object] = {"paused_until": until, "probe_id": None}
    if is_answered:
        values |= {"pause_code": None, "pause_message": None}
    _write(connection, scope, lane, values)
    return PauseState(until, None)


def clear_probes(connection: Connection, lane: PauseLane, probe_ids: Collection[str]) -> None:
    """Forget probes that were given back before they asked anything: another may go at once."""
    for table in (CREDENTIALS, MODEL_LIMITS):
        probe = table.c[f"{lane}_probe_id"]
        connection.execute(update(table).where(probe.is_not(None), probe.in_(probe_ids)).values({probe: None}))


def _write(connection: Connection, scope: Scope, lane: PauseLane, values: Mapping[str, object]) -> None:
    table = CREDENTIALS if scope.model is None else MODEL_LIMITS
    named = {f"{lane}_{name}": value for name, value in values.items()}
    key = _key_values(scope)
    connection.execute(update(table).where(_is_among(table, [key])).values(**named))


def _scope(row: RowMapping) -> Scope:
    return Scope(row["credential"], row["model"]) if "model" in row else Scope(row["name"])


def _key(table: Table) -> list[ColumnElement[str]]:
    return list(table.primary_key.columns)


def _key_values(scope: Scope) -> tuple[str, ...]:
    return (scope.credential,) if scope.model is None else (scope.credential, scope.model)


def _by_table(scopes: Collection[Scope]) -> list[tuple[Table, list[tuple[str, ...]]]]:
    ordered = sorted(scopes, key=lambda scope: scope.lock_rank)
    names = [_key_values(scope) for scope in ordered if scope.model is None]
    models = [_key_values(scope) for scope in ordered if scope.model is not None]
    return [(table, keys) for table, keys in ((CREDENTIALS, names), (MODEL_LIMITS, models)) if keys]


def _is_among(table: Table, keys: Collection[tuple[str, ...]]) -> ColumnElement[bool]:
    columns = _key(table)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(list(keys))

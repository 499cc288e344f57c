"""The Models port: one row per model, locked as submit claims lock it, so that a change holds from the next claim on."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, func, select, update

from orchestrator.db.engine import Database
from orchestrator.db.inserts import insert_missing
from orchestrator.db.pauses import MODEL_LIMITS
from orchestrator.db.rows import JOBS
from orchestrator.db.slots import count_held
from orchestrator.db.types import clean_text
from orchestrator.domain.models import BY_HAND, UNTIL_RESUMED, ModelState
from orchestrator.domain.states import ACTIVE

SHOWN = ("slot_limit", "submit_paused_until", "submit_pause_code", "submit_pause_message", "poll_paused_until")


class SqlModels:
    """Models in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_models(self, credential: str, *, is_held_until_final: bool) -> list[ModelState]:
        def work(connection: Connection) -> list[ModelState]:
            now = self._database.now(connection)
            held = count_held(connection, credential, now=now, is_held_until_final=is_held_until_final)
            counts = _count_active(connection, credential)
            rows = select(MODEL_LIMITS).where(MODEL_LIMITS.c.credential == credential)
            limits = {row["model"]: row for row in connection.execute(rows).mappings()}
            return [
                ModelState(
                    credential,
                    model,
                    held_count=held.get(model, 0),
                    counts=counts.get(model, {}),
                    **({name: limits[model][name] for name in SHOWN} if model in limits else {}),
                )
                for model in sorted({*held, *counts, *limits})
            ]

        return self._database.read(work)

    def has_jobs(self, credential: str, model: str) -> bool:
        query = select(JOBS.c.id).where(JOBS.c.model == model, JOBS.c.credential == credential).limit(1)
        return self._database.read(lambda c: c.execute(query).first()) is not None

    def set_limit(self, credential: str, model: str, limit: int | None) -> None:
        self._change(credential, model, {"slot_limit": limit})

    def pause(self, credential: str, model: str, *, message: str) -> None:
        values = {"paused_until": UNTIL_RESUMED, "pause_code": BY_HAND, "pause_message": clean_text(message)}
        self._change(credential, model, _submit(values))

    def resume(self, credential: str, model: str) -> bool:
        nothing = {"paused_until": None, "pause_code": None, "pause_message": None}
        return self._change(credential, model, _submit(nothing), is_paused=True)

    def _change(self, credential: str, model: str, values: dict[str, Any], *, is_paused: bool = False) -> bool:
        """One row, so no order of locks: a claim that holds it ends first, the next one sees what is written."""
        change = update(MODEL_LIMITS).where(MODEL_LIMITS.c.credential == credential, MODEL_LIMITS.c.model == model)
        if is_paused:
            change = change.where(MODEL_LIMITS.c.submit_paused_until.is_not(None))

        def work(connection: Connection) -> bool:
            insert_missing(connection, MODEL_LIMITS, [{"credential": credential, "model": model}])
            return bool(connection.execute(change.values(values)).rowcount)

        return self._database.write(work)


def _submit(values: dict[str, Any]) -> dict[str, Any]:
    """A probe that is out no longer speaks for the pause."""
    return {f"submit_{name}": value for name, value in values.items()} | {"submit_probe_id": None}


def _count_active(connection: Connection, credential: str) -> dict[str, dict[str, int]]:
    query = (
        select(JOBS.c.model, JOBS.c.state, func.count())
        .where(JOBS.c.state.in_(sorted(ACTIVE)), JOBS.c.credential == credential)
        .group_by(JOBS.c.model, JOBS.c.state)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for model, state, count in connection.execute(query):
        found[model][state] = count
    return found

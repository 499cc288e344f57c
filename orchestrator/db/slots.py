"""Slots: how many requests of each model are in flight at the provider, counted from rows (design section 7).

Count under the locks of the credential and model rows, in a statement of its own: one that began before the lock was
granted does not see what the last holder inserted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, literal_column, or_, select

from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.states import State

UNKNOWN_WINDOW = timedelta(hours=1)


def count_held(connection: Connection, credential: str, *, now: datetime, is_held_until_final: bool) -> dict[str, int]:
    """Return the slots held per model.

    Until final: from intent to a final answer, a sure refusal or the end of the kind's assumed life - the last not for
    a task that a processing job asks about. During the call: from intent to any verdict.
    """
    alive = SUBMISSIONS.c.assumed_life_until > now
    if is_held_until_final:
        polled = (
            select(JOBS.c.id)
            .where(
                JOBS.c.id == SUBMISSIONS.c.job_id,
                JOBS.c.state == State.PROCESSING,
                JOBS.c.provider_task_id == SUBMISSIONS.c.task_id,
            )
            .exists()
        )
        holds = or_(alive, polled)
    else:
        holds = alive & SUBMISSIONS.c.verdict.is_(None)
    query = (
        select(SUBMISSIONS.c.model, func.count())
        .where(SUBMISSIONS.c.credential == credential, SUBMISSIONS.c.slot_released_at.is_(None), holds)
        .group_by(SUBMISSIONS.c.model)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def count_unknowns(connection: Connection, credential: str, *, now: datetime) -> int:
    """Return how many submissions of the trailing hour ended without anybody knowing whether they were taken."""
    query = select(func.count()).where(
        SUBMISSIONS.c.credential == credential,
        SUBMISSIONS.c.verdict == literal_column("'unknown'"),
        SUBMISSIONS.c.verdict_at > now - UNKNOWN_WINDOW,
    )
    return connection.execute(query).scalar_one()

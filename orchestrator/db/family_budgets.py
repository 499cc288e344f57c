"""What a batch and all that try it again come to, and how its budget is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select, update

from orchestrator.db import budgets
from orchestrator.db.batch_sums import BATCHES, MEMBERS
from orchestrator.db.pauses import CREDENTIALS
from orchestrator.db.rows import JOBS
from orchestrator.domain.errors import NotFound
from orchestrator.domain.ports import UnpaidCost
from orchestrator.domain.states import State


def price_family(connection: Connection, batch_id: str, *, without: str | None = None) -> UnpaidCost:
    """Add up the table prices of the queued jobs of a batch and of all that try it again, and what their submissions cost
    or may cost. `without`: a batch that is left out with all that try it again. A job that several have as a member counts
    once, for the batch that it is charged to.
    """
    ids = _list_below(connection, batch_id, without)
    own = MEMBERS.c.batch_id.in_(ids) & MEMBERS.c.linked_from.is_(None)
    queued = (
        select(func.coalesce(func.sum(JOBS.c.price_micros), 0), func.count() - func.count(JOBS.c.price_micros))
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(own, JOBS.c.state == State.QUEUED)
    )
    micros, unpriced_count = connection.execute(queued).one()
    charged = sum(budgets.sum_charged(connection, ids).values())
    return UnpaidCost(int(micros), unpriced_count, charged)


def set_budget(connection: Connection, batch_id: str, micros: int) -> Sequence[str]:
    """Change a batch's budget, and raise those of the batches that it tries again by what they lack for it; return the
    ids of those. Behind every credential's lock: a claim under way is then over, the next one holds to all of it.

    By what they lack, and by the amount at most: what such a budget holds back stays held back. Repeated, it raises
    nothing more. Raises NotFound.
    """
    connection.execute(select(CREDENTIALS.c.name).order_by(CREDENTIALS.c.name).with_for_update()).all()
    limits = _lock_above(connection, batch_id)
    taken = max(limits[batch_id] or 0, price_family(connection, batch_id).charged_micros)
    raised = {
        each: wanted
        for each, limit in limits.items()
        if each != batch_id and limit is not None
        if (wanted := micros + _others_share(connection, each, limit - taken, without=batch_id)) > limit
    }
    for each, limit in (raised | {batch_id: micros}).items():
        connection.execute(update(BATCHES).where(BATCHES.c.id == each).values(max_cost_micros=limit))
    return sorted(raised)


def _others_share(connection: Connection, batch_id: str, left: int, *, without: str) -> int:
    """Return what the rest of a family may come to while its budget stays: what is charged, and no more than is queued."""
    others = price_family(connection, batch_id, without=without)
    return min(others.total_micros, max(left, others.charged_micros))


def _list_below(connection: Connection, batch_id: str, without: str | None) -> list[str]:
    found = youngest = [batch_id]
    while youngest:
        children = select(BATCHES.c.id).where(BATCHES.c.parent_id.in_(youngest), BATCHES.c.id != (without or ""))
        youngest = list(connection.execute(children.order_by(BATCHES.c.id)).scalars())
        found = [*found, *youngest]
    return found


def _lock_above(connection: Connection, batch_id: str) -> Mapping[str, int | None]:
    """Lock a batch and those that it tries again, by id; return their budgets. Whose child a batch is never changes."""
    above = [batch_id]
    while parent := connection.execute(
        select(BATCHES.c.parent_id).where(BATCHES.c.id == above[-1])
    ).scalar_one_or_none():
        above.append(parent)
    locked = select(BATCHES.c.id, BATCHES.c.max_cost_micros).where(BATCHES.c.id.in_(above)).order_by(BATCHES.c.id)
    limits = {row.id: row.max_cost_micros for row in connection.execute(locked.with_for_update())}
    if batch_id not in limits:
        raise NotFound(f"there is no batch {batch_id}")
    return limits

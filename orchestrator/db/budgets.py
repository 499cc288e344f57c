"""Budgets: what the jobs of a batch may cost in all, held by the submit claim (fault A20).

Counted from rows, as slots are: every submission that was not surely refused counts with its price, in flight, unknown
or superseded alike. Rows are locked in one order: credential, models, batches by id, jobs. Count in a statement of its
own once the batches are locked: one that began before does not see what the last holder inserted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, Select, func, select, text

from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.db.rowset import encode_keys, is_among
from orchestrator.db.tables import MAY_BE_CHARGED
from orchestrator.db.turns import BATCHES, Head, Turn


@dataclass(frozen=True)
class Budget:
    """A batch's limit and what is charged or may be, in micro-units."""

    limit: int
    charged: int

    @property
    def left(self) -> int:
        """What may still be agreed to; negative when it was overrun before it was set."""
        return self.limit - self.charged


def lock(connection: Connection, batch_ids: Iterable[str]) -> dict[str, Budget]:
    """Lock those of the batches that have a budget, by id; return their budgets."""
    wanted = sorted(set(batch_ids))
    return _read(connection, wanted, has_lock=True) if wanted else {}


def find(connection: Connection, batch_ids: Iterable[str]) -> dict[str, Budget]:
    """Return the budgets of those of the batches that have one. Locks nothing: for looking, never for taking."""
    wanted = sorted(set(batch_ids))
    return _read(connection, wanted, has_lock=False) if wanted else {}


def keep_fitting(connection: Connection, heads: Sequence[Head], budgets: Mapping[str, Budget]) -> list[Head]:
    """Leave out the heads that their budget has no room for: what waits behind one is not due work either.

    A job behind a head is never looked at: a batch of any length that waits for its budget costs one seek.
    """
    prices = find_prices(connection, [head.job_id for head in heads if head.fair_key in budgets])
    return [head for head in heads if _fits(prices, head.job_id, budgets.get(head.fair_key))]


def take_fitting(
    connection: Connection, turns: Sequence[Turn], budgets: Mapping[str, Budget], *, limit: int
) -> list[Turn]:
    """Return the first `limit` turns, in order, that fit into their budgets together."""
    prices = find_prices(connection, [turn.job_id for turn in turns if turn.fair_key in budgets])
    left = {batch_id: budget.left for batch_id, budget in budgets.items()}
    taken: list[Turn] = []
    for turn in turns:
        if len(taken) == limit:
            break
        if turn.fair_key in left:
            price = prices.get(turn.job_id)
            if price is None or price > left[turn.fair_key]:
                continue
            left[turn.fair_key] -= price
        taken.append(turn)
    return taken


def find_prices(connection: Connection, job_ids: Collection[str]) -> dict[str, int | None]:
    """Return the table prices of jobs; asks nothing when there are none to ask about."""
    if not job_ids:
        return {}
    query = _prices_query(connection.dialect.name == "sqlite")
    return {row[0]: row[1] for row in connection.execute(query, {"ids": encode_keys(job_ids)})}


def sum_charged(connection: Connection, batch_ids: Sequence[str]) -> dict[str, int]:
    """Return what the submissions of each batch cost or may cost; batches without any are left out."""
    query = _charged_query(connection.dialect.name == "sqlite")
    return {row[0]: int(row[1] or 0) for row in connection.execute(query, {"ids": encode_keys(batch_ids)})}


def _read(connection: Connection, batch_ids: Sequence[str], *, has_lock: bool) -> dict[str, Budget]:
    limited = select(BATCHES.c.id, BATCHES.c.max_cost_micros).where(
        BATCHES.c.id.in_(batch_ids), BATCHES.c.max_cost_micros.is_not(None)
    )
    if has_lock:
        limited = limited.order_by(BATCHES.c.id).with_for_update(key_share=True)
    limits = {row[0]: row[1] for row in connection.execute(limited)}
    charged = sum_charged(connection, list(limits)) if limits else {}
    return {batch_id: Budget(limit, charged.get(batch_id, 0)) for batch_id, limit in limits.items()}


def _fits(prices: Mapping[str, int | None], job_id: str, budget: Budget | None) -> bool:
    """A job without a price never fits: what it will cost cannot be held to a limit."""
    if budget is None:
        return True
    price = prices.get(job_id)
    return price is not None and price <= budget.left


@cache
def _prices_query(is_sqlite: bool) -> Select[str, int]:  # noqa: FBT001 - the cache's key
    return select(JOBS.c.id, JOBS.c.price_micros).where(is_among(JOBS.c.id, "ids", is_sqlite=is_sqlite))


@cache
def _charged_query(is_sqlite: bool) -> Select[str, int]:  # noqa: FBT001 - the cache's key
    """The fair key of a batch's jobs is its id. The condition is spelled as the index spells it."""
    theirs = is_among(SUBMISSIONS.c.fair_key, "ids", is_sqlite=is_sqlite)
    return (
        select(SUBMISSIONS.c.fair_key, func.sum(SUBMISSIONS.c.price_micros))
        .where(theirs, text(f"({MAY_BE_CHARGED})"))
        .group_by(SUBMISSIONS.c.fair_key)
    )

"""Budgets: what the jobs of a batch, and of all that try it again, may cost, held by the submit claim (fault A20).

Counted from rows, as slots are: every submission that was not surely refused counts with its price, in flight, unknown
or superseded alike. Rows are locked in one order: credential, models, batches by id, jobs. Count in a statement of its
own once the batches are locked: one that began before does not see what the last holder inserted.
"""

from __future__ import annotations

from collections import defaultdict
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
    """A batch's limit, and what is charged or may be to it and to all that try it again, in micro-units."""

    batch_id: str
    limit: int
    charged: int

    @property
    def left(self) -> int:
        """What may still be agreed to; negative when it was overrun before it was set."""
        return self.limit - self.charged


Budgets = Mapping[str, Sequence[Budget]]
"""What binds each fair key: its batch's own budget, and those of the batches that this one tries again."""


def lock(connection: Connection, batch_ids: Iterable[str]) -> Budgets:
    """Lock the batches whose budgets bind any of these, by id; return the budgets."""
    wanted = sorted(set(batch_ids))
    return _read(connection, wanted, has_lock=True) if wanted else {}


def find(connection: Connection, batch_ids: Iterable[str]) -> Budgets:
    """Return the budgets that bind these batches. Locks nothing: for looking, never for taking."""
    wanted = sorted(set(batch_ids))
    return _read(connection, wanted, has_lock=False) if wanted else {}


def keep_fitting(connection: Connection, heads: Sequence[Head], budgets: Budgets) -> list[Head]:
    """Leave out the heads that a budget of theirs has no room for: what waits behind one is not due work either.

    A job behind a head is never looked at: a batch of any length that waits for its budget costs one seek.
    """
    prices = find_prices(connection, [head.job_id for head in heads if head.fair_key in budgets])
    left = {fair_key: find_tightest(bound).left for fair_key, bound in budgets.items()}
    return [head for head in heads if _fits(prices, head.job_id, left.get(head.fair_key))]


def take_fitting(connection: Connection, turns: Sequence[Turn], budgets: Budgets, *, limit: int) -> list[Turn]:
    """Return the first `limit` turns, in order, that fit into their budgets together.

    Nothing passes one of its batch, model and priority that does not fit: it is the next claim's head.
    """
    prices = find_prices(connection, [turn.job_id for turn in turns if turn.fair_key in budgets])
    left = {budget.batch_id: budget.left for bound in budgets.values() for budget in bound}
    taken: list[Turn] = []
    closed: set[tuple[str, int, str]] = set()
    for turn in turns:
        if len(taken) == limit:
            break
        if turn.place in closed:
            continue
        binding = [budget.batch_id for budget in budgets.get(turn.fair_key, ())]
        if not _fits(prices, turn.job_id, min((left[batch_id] for batch_id in binding), default=None)):
            closed.add(turn.place)
            continue
        for batch_id in binding:
            left[batch_id] -= prices[turn.job_id] or 0
        taken.append(turn)
    return taken


def find_tightest(bound: Sequence[Budget]) -> Budget:
    """Return the budget that has the least left."""
    return min(bound, key=lambda budget: budget.left)


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


def _read(connection: Connection, batch_ids: Sequence[str], *, has_lock: bool) -> Budgets:
    is_sqlite = connection.dialect.name == "sqlite"
    binding = connection.execute(_binding_query(is_sqlite, has_lock), {"ids": encode_keys(batch_ids)}).all()
    if not binding:
        return {}
    asked = {"ids": encode_keys({row.id for row in binding})}
    charged: dict[str, int] = defaultdict(int)
    for root_id, micros in connection.execute(_charged_below_query(is_sqlite), asked):
        charged[root_id] += int(micros or 0)
    found: dict[str, list[Budget]] = defaultdict(list)
    for row in binding:
        found[row.bound_id].append(Budget(row.id, row.max_cost_micros, charged[row.id]))
    return found


def _fits(prices: Mapping[str, int | None], job_id: str, left: int | None) -> bool:
    """A job without a price never fits: what it will cost cannot be held to a limit."""
    if left is None:
        return True
    price = prices.get(job_id)
    return price is not None and price <= left


@cache
def _binding_query(is_sqlite: bool, has_lock: bool) -> Select[str, str, int]:  # noqa: FBT001 - the cache's key
    """Each of the batches beside those with a limit among itself and what it tries again, those locked in order of id.
    Whose child a batch is never changes, so it may be read before the lock is held.
    """
    above = select(BATCHES.c.id.label("bound_id"), BATCHES.c.id, BATCHES.c.parent_id)
    up = above.where(is_among(BATCHES.c.id, "ids", is_sqlite=is_sqlite)).cte("up", recursive=True)
    parent = BATCHES.alias("parent")
    up = up.union_all(
        select(up.c.bound_id, parent.c.id, parent.c.parent_id).join_from(up, parent, parent.c.id == up.c.parent_id)
    )
    limited = select(up.c.bound_id, BATCHES.c.id, BATCHES.c.max_cost_micros).join_from(
        up, BATCHES, (BATCHES.c.id == up.c.id) & BATCHES.c.max_cost_micros.is_not(None)
    )
    limited = limited.order_by(BATCHES.c.id, up.c.bound_id)
    return limited.with_for_update(key_share=True, of=BATCHES) if has_lock else limited


@cache
def _charged_below_query(is_sqlite: bool) -> Select[str, int]:  # noqa: FBT001 - the cache's key
    """What is charged to each batch of the family below each of these: a sum of its own per batch, so that its index is
    asked whatever a planner expects of the recursion. The condition is spelled as the index spells it.
    """
    roots = select(BATCHES.c.id.label("root_id"), BATCHES.c.id)
    down = roots.where(is_among(BATCHES.c.id, "ids", is_sqlite=is_sqlite)).cte("down", recursive=True)
    child = BATCHES.alias("child")
    down = down.union_all(select(down.c.root_id, child.c.id).join_from(down, child, child.c.parent_id == down.c.id))
    theirs = (SUBMISSIONS.c.fair_key == down.c.id) & text(f"({MAY_BE_CHARGED})")
    charged = select(func.sum(SUBMISSIONS.c.price_micros)).where(theirs).correlate(down).scalar_subquery()
    return select(down.c.root_id, charged)


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

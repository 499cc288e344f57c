"""Which earlier job answers a line of a new file: same custom_id, same body, same environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, case, or_, select

from orchestrator.db.batch_sums import BATCHES, MEMBERS
from orchestrator.db.rows import JOBS
from orchestrator.db.rowset import TEXT, encode_rows, make_rowset
from orchestrator.domain.states import BEST_FIRST, State

Key = tuple[str, str]
"""custom_id and body_sha256."""


def find_equal(
    connection: Connection, environment: str, keys: Sequence[Key], *, outside: str | None = None, owner: str
) -> Mapping[Key, str]:
    """Return this owner's job that answers each key: the one that came furthest, of equals the newest. A failed one answers only
    where nothing better does: it was paid for, or refused, and is tried again by whoever asks for that. One that was
    cancelled before any call answers nothing: it made nothing.
    """
    lines = make_rowset("lines", {"custom_id": TEXT, "sha256": TEXT}, is_sqlite=connection.dialect.name == "sqlite")
    rank = case({state: place for place, state in enumerate(BEST_FIRST)}, value=JOBS.c.state)
    # Subqueries, not joins: without statistics, as in a first file, a join read the whole batch for each of its chunks.
    theirs = select(BATCHES.c.environment).where(BATCHES.c.id == MEMBERS.c.batch_id).correlate(MEMBERS)
    best = (
        select(JOBS.c.id)
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(MEMBERS.c.custom_id == lines.c.custom_id, JOBS.c.body_sha256 == lines.c.sha256)
        # Spelled so that the owner's index does not serve: without statistics it was read whole for each line.
        .where(JOBS.c.owner.concat("") == owner, JOBS.c.erased_at.is_(None))
        .where(or_(JOBS.c.state != State.CANCELLED, JOBS.c.submission_count > 0))
        .where(theirs.scalar_subquery() == environment)
        .order_by(rank, JOBS.c.id.desc())
        .limit(1)
    )
    if outside is not None:
        best = best.where(JOBS.c.batch_id.is_distinct_from(outside))
    job_id = best.correlate(lines).scalar_subquery().label("job_id")
    wanted = [{"custom_id": custom_id, "sha256": sha256} for custom_id, sha256 in keys]
    found = connection.execute(select(lines.c.custom_id, lines.c.sha256, job_id), {"lines": encode_rows(wanted)})
    return {(row.custom_id, row.sha256): row.job_id for row in found if row.job_id is not None}

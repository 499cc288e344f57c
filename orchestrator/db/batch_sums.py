"""Batches as rows, and what their members add up to: read alone, or inside the transaction that closes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, RowMapping, and_, case, func, select

from orchestrator.db.charges import charged_of_job
from orchestrator.db.rows import JOBS, table_of
from orchestrator.db.tables import BatchMemberRow, BatchRow
from orchestrator.domain.job import Batch
from orchestrator.domain.ports import Costs, JobCounts
from orchestrator.domain.states import FINAL, State

BATCHES = table_of(BatchRow)
MEMBERS = table_of(BatchMemberRow)


def count_states_of(connection: Connection, batch_ids: Collection[str]) -> Mapping[str, JobCounts]:
    """Count the members of each batch per state."""
    query = (
        select(MEMBERS.c.batch_id, JOBS.c.state, func.count())
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(MEMBERS.c.batch_id.in_(batch_ids))
        .group_by(MEMBERS.c.batch_id, JOBS.c.state)
    )
    counts: dict[str, dict[str, int]] = {batch_id: {} for batch_id in batch_ids}
    for batch_id, state, count in connection.execute(query).all():
        counts[batch_id][state] = count
    return {batch_id: JobCounts(by_state) for batch_id, by_state in counts.items()}


def sum_costs_of(connection: Connection, batch_ids: Collection[str]) -> Mapping[str, Sequence[Costs]]:
    """Add up what the members of each batch cost, per currency: every charge of each, by the ledger."""
    is_unknown = and_(
        JOBS.c.cost_final_micros.is_(None),
        JOBS.c.submission_count > 0,
        JOBS.c.state.in_((*FINAL, State.NEEDS_REVIEW)),
    )
    query = (
        select(
            MEMBERS.c.batch_id,
            JOBS.c.price_currency,
            func.coalesce(func.sum(JOBS.c.price_micros), 0),
            func.coalesce(func.sum(charged_of_job()), 0),
            func.sum(case((is_unknown, 1), else_=0)),
        )
        .join_from(MEMBERS, JOBS, JOBS.c.id == MEMBERS.c.job_id)
        .where(MEMBERS.c.batch_id.in_(batch_ids), JOBS.c.price_currency.is_not(None))
        .group_by(MEMBERS.c.batch_id, JOBS.c.price_currency)
        .order_by(MEMBERS.c.batch_id, JOBS.c.price_currency)
    )
    found: dict[str, list[Costs]] = {batch_id: [] for batch_id in batch_ids}
    for batch_id, currency, estimate, final, unknown in connection.execute(query).all():
        found[batch_id].append(Costs(str(currency), int(estimate), int(final), int(unknown)))
    return found


def count_unpriced(connection: Connection, batch_id: str) -> int:
    """Count the members whose price nobody knows."""
    query = (
        select(func.count())
        .select_from(MEMBERS.join(JOBS, JOBS.c.id == MEMBERS.c.job_id))
        .where(MEMBERS.c.batch_id == batch_id, JOBS.c.price_micros.is_(None))
    )
    return connection.execute(query).scalar_one()


def make_batch_row(batch: Batch) -> dict[str, object]:
    """Return the row of a batch whose intake is not done."""
    return {
        "id": batch.id,
        "owner": batch.owner,
        "name": batch.name,
        "identity_sha256": batch.identity_sha256,
        "environment": batch.environment,
        "archive_url": batch.archive_url,
        "line_count": batch.line_count,
        "created_at": batch.created_at,
        "intake_done_at": None,
        "finished_at": None,
        "generation": batch.generation,
        "max_cost_micros": batch.max_cost_micros,
        "parent_id": batch.parent_id,
        "refused_count": batch.refused_count,
        "cancel_requested_at": None,
        "files_written_at": None,
    }


def read_batch(row: RowMapping) -> Batch:
    """Return the batch in a row that holds every column of `batches`."""
    return Batch(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        identity_sha256=row["identity_sha256"],
        environment=row["environment"],
        archive_url=row["archive_url"],
        line_count=row["line_count"],
        is_intake_done=row["intake_done_at"] is not None,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        generation=row["generation"],
        max_cost_micros=row["max_cost_micros"],
        parent_id=row["parent_id"],
        refused_count=row["refused_count"],
        cancel_requested_at=row["cancel_requested_at"],
        files_written_at=row["files_written_at"],
    )

"""Reads about one batch while it runs: who ended, what it cost, what holds the rest (domain.progress)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select

from orchestrator.db import budgets, slots, turns
from orchestrator.db.charges import charged_of_job
from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS, load_outputs, load_submissions, read_job, table_of
from orchestrator.db.submit_claim import EVERY_MODEL_ELSE
from orchestrator.db.tables import BatchMemberRow, CredentialRow, ModelLimitRow, SweepRow
from orchestrator.domain.job import Job
from orchestrator.domain.progress import AnyHold, BudgetHold, Hold, SlotHolder, SlotsHold, Spending, UnknownsHold
from orchestrator.domain.states import FINAL, State

MEMBERS = table_of(BatchMemberRow)
LIMITS = table_of(ModelLimitRow)
CREDENTIALS = table_of(CredentialRow)
SWEEPS = table_of(SweepRow)


def _is_member(batch_id: str) -> ColumnElement[bool]:
    return select(MEMBERS.c.job_id).where(MEMBERS.c.batch_id == batch_id, MEMBERS.c.job_id == JOBS.c.id).exists()


@dataclass(frozen=True)
class SubmitLimits:
    """What a submit claim goes by, as far as settings say it. `slots` per model, `*` for every other."""

    slots: Mapping[str, int] = field(default_factory=dict)
    max_unknown_per_hour: int = 20
    is_slot_held_until_final: bool = True


class SqlProgress:
    """The Progress port."""

    def __init__(self, database: Database, limits: SubmitLimits | None = None) -> None:
        self._database = database
        self._limits = limits or SubmitLimits()

    def list_ended(self, batch_id: str, *, since: datetime | None, after_id: str, limit: int) -> Sequence[Job]:
        query = select(JOBS).where(_is_member(batch_id), JOBS.c.state.in_(FINAL))
        if since is not None:
            behind = or_(JOBS.c.finished_at > since, and_(JOBS.c.finished_at == since, JOBS.c.id > after_id))
            query = query.where(behind)
        query = query.order_by(JOBS.c.finished_at, JOBS.c.id).limit(limit)
        return self._database.read(lambda connection: _read_with_outputs(connection, query))

    def list_held(self, batch_id: str) -> Sequence[Job]:
        query = select(JOBS).where(_is_member(batch_id), JOBS.c.state == State.NEEDS_REVIEW).order_by(JOBS.c.id)

        def work(connection: Connection) -> list[Job]:
            rows = connection.execute(query).mappings().all()
            submissions = load_submissions(connection, [row["id"] for row in rows])
            return [read_job(row, submissions=submissions[row["id"]]) for row in rows]

        return self._database.read(work)

    def find_last_sweep(self) -> datetime | None:
        def work(connection: Connection) -> datetime | None:
            newest: datetime | None = connection.execute(select(func.max(SWEEPS.c.started_at))).scalar_one()
            return newest

        return self._database.read(work)

    def sum_spending(self, batch_id: str) -> Sequence[Spending]:
        """Every charge of each job counts. One is unknown once a submission was made and no final cost is known: after FAIL, or held."""
        is_unknown = and_(
            JOBS.c.cost_final_micros.is_(None),
            JOBS.c.submission_count > 0,
            JOBS.c.state.in_((*FINAL, State.NEEDS_REVIEW)),
        )
        query = (
            select(
                JOBS.c.price_currency,
                func.coalesce(func.sum(charged_of_job()), 0),
                func.sum(case((is_unknown, 1), else_=0)),
            )
            .where(_is_member(batch_id), JOBS.c.price_currency.is_not(None))
            .group_by(JOBS.c.price_currency)
            .order_by(JOBS.c.price_currency)
        )

        def work(connection: Connection) -> list[Spending]:
            rows = connection.execute(query).all()
            return [Spending(str(currency), int(spent), int(unknown)) for currency, spent, unknown in rows]

        return self._database.read(work)

    def count_waiting(self, batch_id: str) -> int:
        is_waiting = and_(_is_member(batch_id), JOBS.c.state == State.QUEUED, JOBS.c.waiting_on_count > 0)
        return self._database.read(lambda c: c.execute(select(func.count()).where(is_waiting)).scalar_one())

    def find_holds(self, batch_id: str, *, total_slots: int | None = None) -> Sequence[AnyHold | None]:
        whose = and_(_is_member(batch_id), JOBS.c.state == State.QUEUED, JOBS.c.waiting_on_count == 0)

        def work(connection: Connection) -> list[AnyHold | None]:
            keys = turns.find_fair_keys(connection, batch_id)
            return [
                hold
                or _find_budget_hold(connection, turns.Queue(credential, model, batch_id, keys))
                or self._find_stop(connection, credential, model, total_slots)
                for credential, model, hold in _find_pauses(connection, whose)
            ]

        return self._database.read(work)

    def find_hold(self, job_id: str) -> AnyHold | None:
        whose = and_(JOBS.c.id == job_id, JOBS.c.state == State.QUEUED)
        place = select(JOBS.c.priority, JOBS.c.fair_key).where(whose)

        def work(connection: Connection) -> AnyHold | None:
            for credential, model, hold in _find_pauses(connection, whose):
                queue, where = turns.Queue(credential, model), tuple(connection.execute(place).one())
                budget = hold or _find_budget_hold(connection, queue, place=where)
                return budget or self._find_stop(connection, credential, model)
            return None

        return self._database.read(work)

    def _find_stop(
        self, connection: Connection, credential: str, model: str, total_slots: int | None = None
    ) -> UnknownsHold | SlotsHold | None:
        """Return what a submit claim would find, of what neither a pause nor a budget says."""
        now, limit = self._database.now(connection), self._limits.max_unknown_per_hour
        until = slots.find_unknowns_end(connection, credential, now=now, limit=limit)
        if until is not None:
            return UnknownsHold(credential, slots.count_unknowns(connection, credential, now=now), limit, until)
        if not self._limits.is_slot_held_until_final:
            return None
        held = slots.count_held(connection, credential, now=now, is_held_until_final=True)
        limits = {**self._limits.slots, **slots.load_limits(connection, credential)}
        allowed = limits.get(model, limits.get(EVERY_MODEL_ELSE, 1))
        unexplained = slots.find_unexplained(connection, credential, now=now)
        theirs = [holder for name, holder in unexplained if name == model]
        if hold := _find_slots_hold(model, allowed, held.get(model, 0), theirs):
            return hold
        every = [holder for _, holder in unexplained]
        return _find_slots_hold("", total_slots, sum(held.values()), every) if total_slots is not None else None

    def list_archive_errors(self, batch_id: str) -> Sequence[str | None]:
        query = select(JOBS.c.last_error).where(_is_member(batch_id), JOBS.c.state == State.ARCHIVING)
        return self._database.read(lambda connection: list(connection.execute(query).scalars()))


def _find_slots_hold(name: str, allowed: int, held: int, holders: Sequence[SlotHolder]) -> SlotsHold | None:
    if held < allowed or not holders:
        return None
    first_free = holders[min(held - allowed, len(holders) - 1)].until
    return SlotsHold(name, allowed, tuple(holders), first_free)


def _find_pauses(connection: Connection, whose: ColumnElement[bool]) -> list[tuple[str, str, Hold | None]]:
    """Return each credential and model of the jobs with the pause that holds it."""
    queued = select(JOBS.c.credential, JOBS.c.model).where(whose).distinct().subquery()
    query = (
        select(
            queued.c.credential,
            queued.c.model,
            LIMITS.c.submit_paused_until,
            LIMITS.c.submit_pause_code,
            LIMITS.c.submit_pause_message,
            CREDENTIALS.c.name,
            CREDENTIALS.c.submit_paused_until,
            CREDENTIALS.c.submit_pause_code,
            CREDENTIALS.c.submit_pause_message,
        )
        .select_from(queued)
        .outerjoin(LIMITS, and_(LIMITS.c.credential == queued.c.credential, LIMITS.c.model == queued.c.model))
        .outerjoin(CREDENTIALS, CREDENTIALS.c.name == queued.c.credential)
        .order_by(queued.c.model)
    )
    return [(row[0], row[1], _hold(*row[1:])) for row in connection.execute(query).all()]


def _find_budget_hold(
    connection: Connection, queue: turns.Queue, *, place: tuple[int, str] | None = None
) -> BudgetHold | None:
    """Return the budget that holds the whole queue, or the part of it behind one (priority, fair key).

    Nothing of a part is taken before its head: where no head fits, nothing moves.
    """
    heads = [h for h in turns.find_heads(connection, queue) if place in (None, (h.priority, h.fair_key))]
    held = budgets.find(connection, {head.fair_key for head in heads if head.has_budget})
    if not heads or budgets.keep_fitting(connection, heads, held):
        return None
    first, budget = heads[0], budgets.find_tightest(held[heads[0].fair_key])
    price = budgets.find_prices(connection, [first.job_id])[first.job_id]
    return BudgetHold(budget.batch_id, budget.limit, budget.charged, price)


def _read_with_outputs(connection: Connection, query: Select[tuple[object, ...]]) -> list[Job]:
    rows = connection.execute(query).mappings().all()
    outputs = load_outputs(connection, [row["id"] for row in rows])
    return [read_job(row, outputs=sorted(outputs[row["id"]], key=lambda output: output.index)) for row in rows]


def _hold(
    model: str,
    model_until: datetime | None,
    model_code: str | None,
    model_message: str | None,
    credential: str | None,
    credential_until: datetime | None,
    credential_code: str | None,
    credential_message: str | None,
) -> Hold | None:
    if credential is not None and credential_until is not None:
        return Hold(credential, credential_until, credential_code, credential_message, is_credential=True)
    if model_until is not None:
        return Hold(model, model_until, model_code, model_message, is_credential=False)
    return None

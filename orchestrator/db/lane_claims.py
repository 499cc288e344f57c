"""Claims of the poll and archive lanes: leases on due rows, renewals, releases. No policy but pauses and their probes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    func,
    literal_column,
    not_,
    select,
    update,
)

from orchestrator.db import pauses
from orchestrator.db.engine import Database
from orchestrator.db.low_water import CLAIM_PATIENCE_SECONDS, Look, LowWater
from orchestrator.db.outage import Outage
from orchestrator.db.pauses import Gate, PauseState, Scope, gate_of
from orchestrator.db.rows import JOBS, load_outputs, load_submissions, read_job
from orchestrator.db.rowset import TEXT, encode_keys, encode_rows, is_among, make_rowset
from orchestrator.db.tokens import make_token, token_prefix
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.job import Job
from orchestrator.domain.poison import NOTHING_IN_FLIGHT, InFlight, count_takable
from orchestrator.domain.states import State

RENEWALS_PER_LEASE = 3  # design section 5: every third, so a holder that lives is heard of within one after an outage
_LEASED = (State.PROCESSING, State.ARCHIVING)


@dataclass(frozen=True)
class LeaseTerms:
    """For how long rows are leased, in whose name, and what that process is performing in the lane already.

    `outage`: when this process could not reach the database. Leases that lapsed then, or before their holders could
    renew them again, are no deaths.
    """

    length: timedelta
    process: str = ""
    in_flight: InFlight = NOTHING_IN_FLIGHT
    outage: Outage | None = None

    def beside(self, jobs: Sequence[Job]) -> LeaseTerms:
        """Return the terms once these rows have been taken too."""
        return replace(self, in_flight=self.in_flight + InFlight.of([job.death_count for job in jobs]))


@dataclass(frozen=True)
class PollClaim:
    """The rows leased, the claim's time, the ids of the probes among them, and what was looked through (None: nothing)."""

    rows: tuple[Job, ...]
    now: datetime
    probe_ids: frozenset[str]
    look: Look | None


def claim_polls(
    connection: Connection, *, limit: int, lease: LeaseTerms, low_water: LowWater, database: Database
) -> PollClaim:
    """Lease due rows in `processing` by due_at; paused ones stay due, a passed pause gets one probe."""
    paused = pauses.load_states(connection, PauseLane.POLL)
    if not paused:
        now = database.now(connection)
        rows, look = _lease_open(connection, {}, limit, lease, low_water, now=now, database=database)
        return PollClaim(rows, now, frozenset(), look)
    states = pauses.lock(connection, PauseLane.POLL, paused)
    now = database.now(connection)
    gates = _gates(connection, states, now)
    probes = _claim_probes(connection, gates, limit, lease, now=now, database=database)
    terms = lease.beside(probes)
    others, look = _lease_open(connection, gates, limit - len(probes), terms, low_water, now=now, database=database)
    return PollClaim(probes + others, now, frozenset(job.id for job in probes), look)


def _lease_open(
    connection: Connection,
    gates: Mapping[Scope, Gate],
    limit: int,
    lease: LeaseTerms,
    low_water: LowWater,
    *,
    now: datetime,
    database: Database,
) -> tuple[tuple[Job, ...], Look | None]:
    """Lease due rows of what no pause is on, beginning where the low water lies."""
    if limit <= 0:
        return (), None
    closed = frozenset(scope for scope, gate in gates.items() if gate is not Gate.OPEN)
    begin = low_water.find_begin(closed, now, patience=CLAIM_PATIENCE_SECONDS)
    due = _due_polls(now, begin).where(*(not_(is_of(scope)) for scope in closed))
    chosen = _choose(connection, due, limit)
    end = now if len(chosen) < limit else max(chosen.values())
    return _lease(connection, list(chosen), lease, now=now, database=database), Look(begin, end, closed)


def claim_archives(
    connection: Connection, archive_class: str | None, *, limit: int, lease: LeaseTerms, database: Database
) -> tuple[tuple[Job, ...], datetime]:
    """Lease due rows in `archiving`, soonest link expiry first, with their outputs and submissions."""
    now = database.now(connection)
    due = _due_archives(archive_class, now).order_by(JOBS.c.source_expires_at.nulls_last(), JOBS.c.id)
    chosen = _choose(connection, due, limit)
    return _lease(connection, list(chosen), lease, now=now, database=database, has_outputs=True), now


def renew(connection: Connection, held: Mapping[str, str], until: datetime) -> frozenset[str]:
    """Extend the leases of {job id: token}; return the ids that are still ours."""
    extend = update(JOBS).where(_is_held(connection)).values(due_at=until).returning(JOBS.c.id)
    return frozenset(connection.execute(extend, _held_rows(held)).scalars())


def release(connection: Connection, held: Mapping[str, str], now: datetime) -> None:
    """Give leases back: due now, not a death."""
    give_back = update(JOBS).where(_is_held(connection)).values(due_at=now, lease_token=None, death_count=0)
    given = connection.execute(give_back.returning(JOBS.c.id), _held_rows(held)).scalars().all()
    pauses.clear_probes(connection, PauseLane.POLL, given)


def release_dead(connection: Connection, process: str, now: datetime) -> int:
    """Give back what a dead process holds, due now; each row counts a death. Return how many there were."""
    prefix = token_prefix(process)
    is_theirs = func.substr(JOBS.c.lease_token, 1, len(prefix)) == prefix  # LIKE ignores case on SQLite
    held = and_(JOBS.c.state.in_(_LEASED), is_theirs)
    give_back = update(JOBS).where(held).values(due_at=now, lease_token=None, death_count=JOBS.c.death_count + 1)
    given = connection.execute(give_back.returning(JOBS.c.id)).scalars().all()
    pauses.clear_probes(connection, PauseLane.POLL, given)
    return len(given)


def is_archive_due(connection: Connection, archive_class: str | None, now: datetime) -> bool:
    """Say whether a row of the class is due: after a claim that took none, it waits for the lane to run empty."""
    return connection.execute(_due_archives(archive_class, now).limit(1)).first() is not None


def _due_archives(archive_class: str | None, now: datetime) -> Select[str]:
    due = select(JOBS.c.id).where(JOBS.c.state == literal_column("'archiving'"), JOBS.c.due_at <= now)
    return due if archive_class is None else due.where(JOBS.c.archive_class == archive_class)


def _due_polls(now: datetime, begin: datetime | None = None) -> Select[str]:
    due = select(JOBS.c.id).where(JOBS.c.state == literal_column("'processing'"), JOBS.c.due_at <= now)
    if begin is not None:
        due = due.where(JOBS.c.due_at >= begin)
    return due.order_by(JOBS.c.due_at, JOBS.c.id)


def _choose(connection: Connection, due: Select[str], limit: int) -> dict[str, datetime]:
    """Lock the first `limit` rows of `due`, passing by what others have locked; return when each was due."""
    if limit <= 0:
        return {}
    first = due.add_columns(JOBS.c.due_at).limit(limit).with_for_update(skip_locked=True)
    return {row.id: row.due_at for row in connection.execute(first)}


def _lease(
    connection: Connection,
    chosen: Collection[str],
    lease: LeaseTerms,
    *,
    now: datetime,
    database: Database,
    has_outputs: bool = False,
) -> tuple[Job, ...]:
    """Put a fresh token on rows that are locked. A row that still had one died in somebody's hands."""
    if not chosen:
        return ()
    deaths = case((_is_death(lease, now), JOBS.c.death_count + 1), else_=JOBS.c.death_count)
    values = {
        "lease_token": make_token(database.rng, lease.process),  # one for the claim: id and token together name a lease
        "due_at": now + lease.length,
        "death_count": deaths,
    }
    mine = is_among(JOBS.c.id, "chosen", is_sqlite=database.is_sqlite)
    take = update(JOBS).where(mine).values(values).returning(*JOBS.c)
    taken = connection.execute(take, {"chosen": encode_keys(chosen)}).mappings().all()
    rows = _keep_takable(connection, taken, lease.in_flight, now)
    ids = [row["id"] for row in rows] if has_outputs else []
    outputs = load_outputs(connection, ids) if ids else {}
    submissions = load_submissions(connection, ids) if ids else {}
    return tuple(
        read_job(row, submissions=submissions.get(row["id"], ()), outputs=outputs.get(row["id"], ())) for row in rows
    )


def _is_death(lease: LeaseTerms, now: datetime) -> ColumnElement[bool]:
    """A row that still has a token died in somebody's hands, unless the database was away when it was to be renewed."""
    is_left = JOBS.c.lease_token.is_not(None)
    if lease.outage is None:
        return is_left
    began, ended = now - lease.outage.began, now - lease.outage.ended + lease.length / RENEWALS_PER_LEASE
    return and_(is_left, not_(JOBS.c.due_at.between(began, ended)))


def _keep_takable(
    connection: Connection, rows: Sequence[RowMapping], in_flight: InFlight, now: datetime
) -> list[RowMapping]:
    """Return the rows that may be performed beside what is in flight, and put the others back, due now.

    Suspects go first: others would keep them waiting for ever. Most claims see none and put nothing back.
    """
    ordered = sorted(rows, key=_expiry_order)
    by_deaths = sorted(ordered, key=lambda row: -int(row["death_count"]))
    count = count_takable([int(row["death_count"]) for row in by_deaths], in_flight)
    if count == len(rows):
        return ordered
    left = [str(row["id"]) for row in by_deaths[count:]]
    back = update(JOBS).where(JOBS.c.id.in_(left)).values(lease_token=None, due_at=now)
    connection.execute(back)
    return sorted(by_deaths[:count], key=_expiry_order)


def _expiry_order(row: RowMapping) -> tuple[bool, datetime | None, str]:
    """Rows come back from UPDATE in no order: soonest expiry first, then none, then by id."""
    expires = row["source_expires_at"]
    return (expires is None, expires or row["created_at"], row["id"])


def _gates(connection: Connection, states: Mapping[Scope, PauseState], now: datetime) -> dict[Scope, Gate]:
    """Return each scope's gate; a probe whose lease has lapsed moves its pause ahead for the next one."""
    probes = {state.probe_id for state in states.values() if state.probe_id is not None}
    query = select(JOBS.c.id).where(
        JOBS.c.id.in_(probes), JOBS.c.state == State.PROCESSING, JOBS.c.lease_token.is_not(None), JOBS.c.due_at > now
    )
    alive = set(connection.execute(query).scalars()) if probes else set()
    gates: dict[Scope, Gate] = {}
    for scope, state in states.items():
        gates[scope] = gate_of(state, now)
        if state.probe_id is not None and state.probe_id not in alive:
            pauses.end_probe(connection, scope, PauseLane.POLL, is_answered=False, now=now)
    return gates


def _claim_probes(
    connection: Connection,
    gates: Mapping[Scope, Gate],
    limit: int,
    lease: LeaseTerms,
    *,
    now: datetime,
    database: Database,
) -> tuple[Job, ...]:
    """Take one due row for each scope whose pause has passed, unless a scope around it is closed."""
    taken: list[Job] = []
    closed = [not_(is_of(scope)) for scope, gate in gates.items() if gate is Gate.CLOSED]
    pending = sorted((s for s, gate in gates.items() if gate is Gate.PROBE), key=lambda s: s.lock_rank)
    probed_credentials = {scope.credential for scope in pending if scope.model is None}
    for scope in pending:
        if len(taken) >= limit or (scope.model is not None and scope.credential in probed_credentials):
            continue
        chosen = _choose(connection, _due_polls(now).where(is_of(scope), *closed), 1)
        found = _lease(connection, list(chosen), lease, now=now, database=database)
        for job in found:
            for mine in {scope, Scope(job.credential, job.model)} & set(pending):
                pauses.start_probe(connection, mine, PauseLane.POLL, job.id)
        taken += found
    return tuple(taken)


def is_of(scope: Scope) -> ColumnElement[bool]:
    """The jobs that a scope's pause holds."""
    if scope.model is None:
        return JOBS.c.credential == scope.credential
    return and_(JOBS.c.credential == scope.credential, JOBS.c.model == scope.model)


def _held_rows(held: Mapping[str, str]) -> dict[str, str]:
    return {"held": encode_rows([{"id": job_id, "token": token} for job_id, token in sorted(held.items())])}


def _is_held(connection: Connection) -> ColumnElement[bool]:
    rows = make_rowset("held", {"id": TEXT, "token": TEXT}, is_sqlite=connection.dialect.name == "sqlite")
    is_leased = JOBS.c.state != State.SUBMITTING  # an equality would make SQLite read its index instead of the ids
    return and_(JOBS.c.id == rows.c.id, JOBS.c.lease_token == rows.c.token, is_leased)

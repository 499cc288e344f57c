"""The Retention port: rules, the jobs they are about, and the steps of an erasure.

An erasure is one write of the database first, which takes words away and says so, then the deletion of objects, which
can be repeated. The other order could leave rows that promise what is gone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, exists, func, insert, null, or_, select, update

from orchestrator.db.access import append_audit
from orchestrator.db.batch_sums import BATCHES, MEMBERS
from orchestrator.db.dependencies import DEPENDENCIES
from orchestrator.db.engine import Database
from orchestrator.db.events import EventDraft, append_events
from orchestrator.db.outbox import DELIVERIES, WEBHOOK_EVENTS
from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS, table_of
from orchestrator.db.search import PROMPTS
from orchestrator.db.tables import RetentionRuleRow
from orchestrator.db.types import clean_text
from orchestrator.domain.access import AuditEntry
from orchestrator.domain.ports.retention import Erasure, KeptSum
from orchestrator.domain.retention import Kept, KeptFile, Rule, Selector
from orchestrator.domain.states import State, Trigger
from orchestrator.domain.webhooks import DeliveryState

RULES = table_of(RetentionRuleRow)
SIZE = OUTPUTS.c.byte_count + func.coalesce(OUTPUTS.c.thumbnail_byte_count, 0)
"""The room that an output takes with its thumbnail."""
COLUMNS = (JOBS.c.id, JOBS.c.kind, JOBS.c.tags, JOBS.c.archive_url, JOBS.c.created_at, JOBS.c.finished_at)


class SqlRetention:
    """Retention in a database. Raises Transient("database_unavailable") when it cannot be reached."""

    def __init__(self, database: Database, *, rng: Random) -> None:
        self._database = replace(database, rng=rng)

    def list_rules(self) -> Sequence[Rule]:
        query = select(RULES).order_by(RULES.c.selector)
        return self._database.read(lambda c: [_read_rule(row) for row in c.execute(query).mappings()])

    def set_rule(self, rule: Rule, entry: AuditEntry) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            connection.execute(delete(RULES).where(RULES.c.selector == str(rule.selector)))
            connection.execute(insert(RULES).values(_rule_row(replace(rule, created_at=now, agreed_at=None))))
            append_audit(connection, entry, now=now, rng=self._database.rng)

        self._database.write(work)

    def remove_rule(self, selector: Selector, entry: AuditEntry) -> bool:
        def work(connection: Connection) -> bool:
            removed = connection.execute(delete(RULES).where(RULES.c.selector == str(selector))).rowcount
            if removed:
                append_audit(connection, entry, now=self._database.now(connection), rng=self._database.rng)
            return bool(removed)

        return self._database.write(work)

    def agree(self, rules: Collection[Rule], entry: AuditEntry) -> int:
        def work(connection: Connection) -> int:
            now, count = self._database.now(connection), 0
            for rule in rules:
                same = (RULES.c.selector == str(rule.selector)) & (RULES.c.created_at == rule.created_at)
                agreed = update(RULES).where(same, RULES.c.agreed_at.is_(None)).values(agreed_at=now)
                count += connection.execute(agreed).rowcount
            append_audit(connection, entry, now=now, rng=self._database.rng)
            return count

        return self._database.write(work)

    def list_kept(self, *, finished_before: datetime, after: tuple[datetime, str] | None, limit: int) -> Sequence[Kept]:
        query = select(*COLUMNS).where(
            JOBS.c.finished_at.is_not(None), JOBS.c.erased_at.is_(None), JOBS.c.finished_at <= finished_before
        )
        if after is not None:
            finished_at, job_id = after
            is_later = or_(JOBS.c.finished_at > finished_at, JOBS.c.id > job_id)
            query = query.where(JOBS.c.finished_at >= finished_at, is_later)
        query = query.order_by(JOBS.c.finished_at, JOBS.c.id).limit(limit)
        return self._database.read(lambda c: _load(c, c.execute(query).mappings().all()))

    def erase(self, erasures: Sequence[Erasure]) -> int:
        database = self._database

        def work(connection: Connection) -> int:
            now = database.now(connection)
            return sum(_erase(connection, erasure, now=now, rng=database.rng) for erasure in erasures)

        return database.write(work)

    def list_erased(self, *, limit: int) -> Sequence[Kept]:
        waiting = select(*COLUMNS).where(JOBS.c.erased_at.is_not(None), JOBS.c.emptied_at.is_(None))
        query = waiting.order_by(JOBS.c.id).limit(limit)
        return self._database.read(lambda c: _load(c, c.execute(query).mappings().all()))

    def mark_deleted(self, job_id: str) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            gone = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.erased_at.is_not(None), JOBS.c.emptied_at.is_(None))
            connection.execute(gone.values(emptied_at=now))
            mine = select(MEMBERS.c.batch_id).where(MEMBERS.c.job_id == job_id)
            again = update(BATCHES).where(BATCHES.c.id.in_(mine), BATCHES.c.finished_at.is_not(None))
            connection.execute(again.values(files_written_at=None))  # results.jsonl holds its words too

        self._database.write(work)

    def list_emptied_batches(self, *, limit: int) -> Sequence[tuple[str, str]]:
        kept = _member_where(JOBS.c.emptied_at.is_(None))
        query = (
            select(BATCHES.c.id, BATCHES.c.archive_url)
            .where(BATCHES.c.finished_at.is_not(None), BATCHES.c.input_erased_at.is_(None))
            .where(_member_where(JOBS.c.emptied_at.is_not(None)), ~kept, ~_retried_where())
            .order_by(BATCHES.c.id)
            .limit(limit)
        )
        return self._database.read(lambda c: [(row.id, row.archive_url) for row in c.execute(query)])

    def sum_kept(self) -> Sequence[KeptSum]:
        jobs, files, size = func.count(JOBS.c.id.distinct()), func.count(), func.sum(SIZE)
        query = (
            select(JOBS.c.archive_url, JOBS.c.kind, jobs.label("jobs"), files.label("files"), size.label("size"))
            .join_from(OUTPUTS, JOBS, JOBS.c.id == OUTPUTS.c.job_id)
            .where(OUTPUTS.c.archived_at.is_not(None), OUTPUTS.c.erased_at.is_(None))
            .group_by(JOBS.c.archive_url, JOBS.c.kind)
            .order_by(JOBS.c.archive_url, JOBS.c.kind)
        )
        return self._database.read(
            lambda c: [
                KeptSum(row.archive_url, row.kind, row.jobs, row.files, int(row.size)) for row in c.execute(query)
            ]
        )

    def mark_emptied(self, batch_id: str) -> None:
        def work(connection: Connection) -> None:
            gone = update(BATCHES).where(BATCHES.c.id == batch_id)
            connection.execute(gone.values(input_erased_at=self._database.now(connection), files_written_at=None))

        self._database.write(work)


def _member_where(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    members = select(MEMBERS.c.job_id).join(JOBS, JOBS.c.id == MEMBERS.c.job_id)
    return members.where(MEMBERS.c.batch_id == BATCHES.c.id, condition).exists()


def _retried_where() -> ColumnElement[bool]:
    """Whether a retry of the batch has jobs that are kept: those have the lines of its file."""
    child = BATCHES.alias("child")
    members = select(MEMBERS.c.job_id).join(JOBS, JOBS.c.id == MEMBERS.c.job_id)
    members = members.join(child, child.c.id == MEMBERS.c.batch_id)
    return members.where(child.c.parent_id == BATCHES.c.id, JOBS.c.emptied_at.is_(None)).correlate(BATCHES).exists()


def _erase(connection: Connection, erasure: Erasure, *, now: datetime, rng: Random) -> int:
    """Erase one job that is final, of which nothing is still to be delivered and for which no other waits; return 1,
    else 0.
    """
    mine = WEBHOOK_EVENTS.c.job_id == JOBS.c.id
    told = select(DELIVERIES.c.id).join(WEBHOOK_EVENTS, WEBHOOK_EVENTS.c.id == DELIVERIES.c.event_id)
    is_being_told = exists(told.where(mine, DELIVERIES.c.state == DeliveryState.PENDING))
    others = JOBS.alias("others")
    waiting = select(DEPENDENCIES.c.job_id).join(others, others.c.id == DEPENDENCIES.c.job_id)
    is_awaited = exists(waiting.where(DEPENDENCIES.c.parent_id == JOBS.c.id, others.c.finished_at.is_(None)))
    taken = update(JOBS).where(JOBS.c.id == erasure.job_id, JOBS.c.finished_at.is_not(None), JOBS.c.erased_at.is_(None))
    taken = taken.where(~is_being_told, ~is_awaited)
    values = {"input": {}, "body": {}, "erased_at": now, "sequence": JOBS.c.sequence + 1}
    row = connection.execute(taken.values(values).returning(JOBS.c.state, JOBS.c.sequence)).first()
    if row is None:
        return 0
    job_id, state = erasure.job_id, State(row.state)
    connection.execute(delete(PROMPTS).where(PROMPTS.c.job_id == job_id))
    gone = {"erased_at": now, "text": None, "source_url": None, "source_expires_at": None, "at_risk_at": None}
    connection.execute(update(OUTPUTS).where(OUTPUTS.c.job_id == job_id).values(gone))
    words = update(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job_id)
    connection.execute(words.values(raw_answer=None, result=null()))
    _empty_events(connection, job_id)
    event = EventDraft(Trigger.ERASED, state, state, erasure.actor, erasure.reason)
    append_events(connection, {job_id: [event]}, {job_id: row.sequence}, now=now, rng=rng)
    return 1


def _empty_events(connection: Connection, job_id: str) -> None:
    """Take the request out of what was told of the job; a resend sends what is left, with the id it had."""
    query = select(WEBHOOK_EVENTS.c.id, WEBHOOK_EVENTS.c.body).where(WEBHOOK_EVENTS.c.job_id == job_id)
    for row in connection.execute(query).all():
        body = json.loads(row.body)
        body["data"]["input"] = {}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        connection.execute(update(WEBHOOK_EVENTS).where(WEBHOOK_EVENTS.c.id == row.id).values(body=text))


def _load(connection: Connection, rows: Sequence[RowMapping]) -> list[Kept]:
    ids = [row["id"] for row in rows]
    files, batches = defaultdict[str, list[KeptFile]](list), defaultdict[str, set[str]](set)
    archived = select(OUTPUTS.c.id, OUTPUTS.c.job_id, OUTPUTS.c.key, SIZE.label("size")).where(
        OUTPUTS.c.job_id.in_(ids), OUTPUTS.c.archived_at.is_not(None)
    )
    for output in connection.execute(archived):
        files[output.job_id].append(KeptFile(output.id, output.key, output.size))
    for member in connection.execute(select(MEMBERS.c.job_id, MEMBERS.c.batch_id).where(MEMBERS.c.job_id.in_(ids))):
        batches[member.job_id].add(member.batch_id)
    return [Kept(**row, batch_ids=frozenset(batches[row["id"]]), files=tuple(files[row["id"]])) for row in rows]


def _read_rule(row: Mapping[str, object] | RowMapping) -> Rule:
    seconds = row["keep_seconds"]
    return Rule(
        selector=Selector.parse(str(row["selector"])),
        keep=timedelta(seconds=int(str(seconds))) if seconds is not None else None,
        created_at=row["created_at"],  # type: ignore[arg-type]
        created_by=str(row["created_by"]),
        reason=str(row["reason"]),
        agreed_at=row["agreed_at"],  # type: ignore[arg-type]
    )


def _rule_row(rule: Rule) -> dict[str, object]:
    return {
        "selector": clean_text(str(rule.selector)),
        "keep_seconds": int(rule.keep.total_seconds()) if rule.keep is not None else None,
        "reason": clean_text(rule.reason),
        "created_at": rule.created_at,
        "created_by": rule.created_by,
        "agreed_at": rule.agreed_at,
    }

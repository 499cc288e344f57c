"""What is known of paid calls, stored on their submissions. Never fenced; a definite verdict is never replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from orchestrator.db.rows import SUBMISSIONS, write_drafts
from orchestrator.db.rowset import TEXT, encode_rows, make_rowset, type_of
from orchestrator.db.types import clean_text
from orchestrator.domain.job import DUPLICATE_TASK_ID, SURE_REFUSALS, FinalAnswer, Verdict
from orchestrator.domain.outcomes import AnswerComplete, CallEvidence, SubmitOutcome, TaskAccepted
from orchestrator.domain.redact import redact_links

RAW_ANSWER_BYTES = 64 * 1024

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """A piece of evidence and the row that it is about, whose job this transaction has locked."""

    row: Row
    evidence: CallEvidence
    outcome: SubmitOutcome
    verdict: Verdict
    decided_by: str | None = None
    decided_why: str | None = None


@dataclass(frozen=True)
class Stored:
    """What became of a piece of evidence, and its row as it stands now.

    `is_as_given`: the submission says what the evidence says.
    """

    row: Row
    is_new: bool
    is_as_given: bool
    is_duplicate_id: bool = False


def store_all(connection: Connection, given: Sequence[Given], *, now: datetime) -> list[Stored]:
    """Fill the columns that are still NULL, in one savepoint for all; what that cannot take in one of its own each."""
    fresh = {str(each.row["id"]): _columns(each, now=now) for each in given if each.row["verdict"] is None}
    together = {key: values for key, values in fresh.items() if "result" not in values}
    written = _write_together(connection, together) if len(together) > 1 else frozenset()
    found = []
    for each in given:
        key = str(each.row["id"])
        if key in written:
            found.append(Stored({**each.row, **fresh[key]}, is_new=True, is_as_given=True))
        else:
            current = _read_again(connection, each) if key in together else each
            found.append(_store_one(connection, current, now=now))
    return found


def _read_again(connection: Connection, given: Given) -> Given:
    """Return it with its row as it is: it was not as it had been read, or shares a savepoint with one that clashed."""
    query = select(SUBMISSIONS).where(SUBMISSIONS.c.id == given.row["id"])
    return replace(given, row=connection.execute(query).one()._asdict())


def _write_together(connection: Connection, rows: Mapping[str, Row]) -> frozenset[str]:
    """Write rows that have no verdict yet; return the ids of those that took it, none when any id clashes."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for key, values in sorted(rows.items()):
        named = {f"new_{name}": value for name, value in values.items()}
        groups[tuple(sorted(values))].append({"id": key, **named})
    written: set[str] = set()
    try:
        with connection.begin_nested():
            for columns, group in groups.items():
                write = _write_statement(columns, connection.dialect.name == "sqlite")
                written.update(connection.execute(write, {"given": encode_rows(group)}).scalars())
    except IntegrityError:  # each is told apart, and explained, on its own
        return frozenset()
    return frozenset(written)


@cache
def _write_statement(columns: tuple[str, ...], is_sqlite: bool) -> ReturningUpdate[str]:  # noqa: FBT001 - the cache's key
    types = {"id": TEXT} | {f"new_{name}": type_of(SUBMISSIONS.c[name].type) for name in columns}
    rows = make_rowset("given", types, is_sqlite=is_sqlite)
    write = update(SUBMISSIONS).where(SUBMISSIONS.c.id == rows.c.id, SUBMISSIONS.c.verdict.is_(None))
    return write.values({name: rows.c[f"new_{name}"] for name in columns}).returning(SUBMISSIONS.c.id)


def _store_one(connection: Connection, given: Given, *, now: datetime) -> Stored:
    """Fill one row. A task id that another submission of the credential holds (fault A13) is stored as an unknown
    without the id.
    """
    row = given.row
    if row["verdict"] not in (None, Verdict.UNKNOWN):
        return Stored(row, is_new=False, is_as_given=_says(given))
    if row["verdict"] == given.verdict:
        return Stored(row, is_new=False, is_as_given=True)
    values = _columns(given, now=now)
    write = update(SUBMISSIONS).where(SUBMISSIONS.c.id == row["id"])
    try:
        with connection.begin_nested():
            connection.execute(write.values(values))
    except IntegrityError:
        if not _is_taken(connection, given):
            raise
        values = _as_duplicate(values, given.outcome)
        connection.execute(write.values(values))
        return Stored({**row, **values}, is_new=True, is_as_given=False, is_duplicate_id=True)
    return Stored({**row, **values}, is_new=True, is_as_given=True)


def _says(given: Given) -> bool:
    if isinstance(given.outcome, TaskAccepted):
        return bool(given.row["task_id"] == given.outcome.task_id)
    return bool(given.row["verdict"] == given.verdict)


def _columns(given: Given, *, now: datetime) -> dict[str, object]:
    evidence, outcome, verdict = given.evidence, given.outcome, given.verdict
    once = {
        "moment": evidence.moment,
        "sent_at": evidence.sent_at,
        "answered_at": evidence.answered_at,
        "http_status": evidence.http_status,
        "raw_answer": _cap(evidence.body),
    }
    values: dict[str, object] = {name: value for name, value in once.items() if given.row[name] is None}
    code, message = getattr(outcome, "code", None), getattr(outcome, "message", None)
    values |= {
        "verdict": verdict,
        "verdict_at": now,
        "provider_code": code and clean_text(code),
        "message": message and clean_text(message),
    }
    if given.decided_by is not None:  # else whoever decided before stays in the ledger
        values |= {"decided_by": given.decided_by, "decided_why": given.decided_why and clean_text(given.decided_why)}
    if isinstance(outcome, TaskAccepted):
        values["task_id"] = clean_text(outcome.task_id)
    if isinstance(outcome, AnswerComplete):
        values["result"] = write_drafts(outcome.outputs)
    if verdict in SURE_REFUSALS or verdict in (Verdict.ANSWERED, Verdict.FAILED):
        values["slot_released_at"] = now
    if verdict is Verdict.FAILED:
        values |= {"final_at": now, "final_answer": FinalAnswer.FAIL}
    return values


def _as_duplicate(values: Row, outcome: SubmitOutcome) -> dict[str, object]:
    assert isinstance(outcome, TaskAccepted)
    message = f"the answer names task {outcome.task_id}, which another submission holds"
    changed = {"verdict": Verdict.UNKNOWN, "provider_code": DUPLICATE_TASK_ID, "message": clean_text(message)}
    return {name: value for name, value in {**values, **changed}.items() if name != "task_id"}


def _is_taken(connection: Connection, given: Given) -> bool:
    if not isinstance(given.outcome, TaskAccepted):
        return False
    holder = select(SUBMISSIONS.c.id).where(
        SUBMISSIONS.c.credential == given.row["credential"], SUBMISSIONS.c.task_id == clean_text(given.outcome.task_id)
    )
    return connection.execute(holder).first() is not None


def _cap(body: str | None) -> str | None:
    if body is None:
        return None
    return redact_links(clean_text(body)).encode()[:RAW_ANSWER_BYTES].decode(errors="ignore")

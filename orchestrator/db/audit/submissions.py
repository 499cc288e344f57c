"""The rules of `submissions`, and of how many calls of an hour may end unknown."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Select, and_, func, literal_column, or_, select

from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.db.slots import UNKNOWN_WINDOW, find_unknowns_end
from orchestrator.domain.audit import Violation
from orchestrator.domain.job import Verdict


def select_submissions(span: Span) -> Select[tuple[object, ...]]:
    """Return the submissions of a span."""
    columns = (SUBMISSIONS.c.id.label("subject"), SUBMISSIONS.c.job_id.label("job"), SUBMISSIONS.c.verdict)
    return select(*columns).where(span.of(SUBMISSIONS.c.id))


def submission_rules() -> list[RowRule]:
    """Return the rules over single submissions."""
    row = SUBMISSIONS.c
    incomplete = or_(
        row.verdict.is_(None) != row.verdict_at.is_(None),
        row.final_at.is_(None) != row.final_answer.is_(None),
        and_(func.coalesce(row.verdict, "") == Verdict.ACCEPTED, row.task_id.is_(None)),
    )
    return [RowRule("verdict_incomplete", incomplete)]


def select_shared_tasks() -> Select[tuple[object, ...]]:
    """Return task ids that several submissions hold; read in the order of their index."""
    task, credential = SUBMISSIONS.c.task_id, SUBMISSIONS.c.credential
    job, count = func.min(SUBMISSIONS.c.job_id).label("job"), func.count().label("holders")
    grouped = select(task.label("subject"), job, count).where(task.is_not(None)).group_by(credential, task)
    return grouped.having(func.count() > 1)


def find_unknowns(connection: Connection, now: datetime, limit: int) -> list[Violation]:
    """Return credentials that submit nothing more because too many calls of the hour ended unknown, and until when."""
    is_unknown = SUBMISSIONS.c.verdict == literal_column("'unknown'")
    recent = and_(is_unknown, SUBMISSIONS.c.verdict_at > now - UNKNOWN_WINDOW)
    query = select(SUBMISSIONS.c.credential, func.count()).where(recent).group_by(SUBMISSIONS.c.credential)
    found = connection.execute(query.having(func.count() >= limit).order_by(SUBMISSIONS.c.credential)).all()
    return [
        Violation(
            "too_many_unknowns",
            name,
            {"count": count, "limit": limit, "until": find_unknowns_end(connection, name, now=now, limit=limit)},
        )
        for name, count in found
    ]

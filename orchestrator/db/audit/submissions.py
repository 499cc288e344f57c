"""The rules of `submissions`, and of how many calls of an hour may end unknown."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, and_, func, literal, literal_column, or_, select

from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.rows import SUBMISSIONS
from orchestrator.db.slots import UNKNOWN_WINDOW
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


def select_unknowns(now: datetime, limit: int) -> Select[tuple[object, ...]]:
    """Return credentials that submit nothing more because too many calls of the hour ended unknown."""
    is_unknown = SUBMISSIONS.c.verdict == literal_column("'unknown'")
    recent = and_(is_unknown, SUBMISSIONS.c.verdict_at > now - UNKNOWN_WINDOW)
    columns = (SUBMISSIONS.c.credential.label("subject"), func.count().label("count"), literal(limit).label("limit"))
    return select(*columns).where(recent).group_by(SUBMISSIONS.c.credential).having(func.count() >= limit)

"""The rules of `outputs`, and the race against the links' lives."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, and_, func, or_, select

from orchestrator.db.audit.spans import RowRule, Span
from orchestrator.db.engine import Database
from orchestrator.db.rows import JOBS, OUTPUTS
from orchestrator.domain.audit import Violation
from orchestrator.domain.states import State

SHA256_LENGTH = 64


def select_outputs(span: Span) -> Select[tuple[object, ...]]:
    """Return the outputs of a span."""
    columns = (OUTPUTS.c.id.label("subject"), OUTPUTS.c.job_id.label("job"))
    return select(*columns).where(span.of(OUTPUTS.c.id))


def output_rules() -> list[RowRule]:
    """Return the rules over single outputs."""
    row = OUTPUTS.c
    has_hash = func.length(func.coalesce(row.sha256, "")) == SHA256_LENGTH
    lacks = or_(row.key.is_(None), row.byte_count.is_(None), ~has_hash)
    return [
        RowRule("output_incomplete", and_(row.archived_at.is_not(None), lacks)),
        RowRule("output_keeps_link", and_(row.archived_at.is_not(None), row.source_url.is_not(None))),
    ]


def find_dying_links(database: Database, span: Span, now: datetime) -> list[Violation]:
    """Return outputs of live jobs that are past half of their link's life (promise 7), or past all of it.

    The half is the sweep's, counted from when the link was learnt; the sweep clears it where it has told of it.
    """
    is_open = and_(OUTPUTS.c.archived_at.is_(None), OUTPUTS.c.lost_at.is_(None))
    is_live = JOBS.c.state.in_((State.ARCHIVING, State.PROCESSING))
    query = (
        select(OUTPUTS.c.id, OUTPUTS.c.job_id, OUTPUTS.c.source_expires_at)
        .join(JOBS, JOBS.c.id == OUTPUTS.c.job_id)
        .where(span.of(JOBS.c.id), is_live, is_open, OUTPUTS.c.source_expires_at.is_not(None))
        .where(or_(OUTPUTS.c.at_risk_at.is_(None), OUTPUTS.c.at_risk_at <= now))
    )
    found = []
    for output_id, job_id, expires_at in database.read(lambda c: c.execute(query).all()):
        code = "output_expired" if now >= expires_at else "output_at_risk"
        found.append(Violation(code, output_id, {"job": job_id, "expires_at": expires_at}))
    return found

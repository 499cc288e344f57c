"""What is known to have been charged, by the ledger of submissions.

A job's row says what its newest call cost: a job that was paid for twice (asked for again, result lost) has two charges in
the ledger and one in its row. Sums of money go by the ledger.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from orchestrator.db.rows import JOBS, SUBMISSIONS
from orchestrator.domain.job import FinalAnswer, Verdict

IS_CHARGED: ColumnElement[bool] = and_(
    SUBMISSIONS.c.verdict.in_((Verdict.ACCEPTED, Verdict.ANSWERED)),
    SUBMISSIONS.c.final_answer.is_distinct_from(FinalAnswer.FAIL),
    SUBMISSIONS.c.price_micros.is_not(None),
)
"""Of a submission: taken by the provider at a known price, and not failed there (what a FAIL costs nobody knows)."""


def charged_of_job() -> ColumnElement[Any]:
    """Return what all calls of a row of `jobs` are known to have charged together, in micro-units; NULL while nothing is.

    The ledger is opened only for jobs with more than one call, and for those whose row knows of no charge (one that is to
    be paid anew forgets it); of the others the row says the same.
    """
    ledger = select(func.sum(SUBMISSIONS.c.price_micros)).where(SUBMISSIONS.c.job_id == JOBS.c.id, IS_CHARGED)
    charged = func.coalesce(ledger.correlate(JOBS).scalar_subquery(), JOBS.c.cost_final_micros)
    is_forgotten = and_(JOBS.c.submission_count == 1, JOBS.c.cost_final_micros.is_(None))
    return case((or_(JOBS.c.submission_count > 1, is_forgotten), charged), else_=JOBS.c.cost_final_micros)

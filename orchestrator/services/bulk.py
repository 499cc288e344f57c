"""Cancelling and retrying what a query finds: first what it would come to, then exactly those jobs, group by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from orchestrator.domain.decide import Decision, decide_cancel, decide_retry
from orchestrator.domain.errors import Conflict, RequestError
from orchestrator.domain.history import History
from orchestrator.domain.job import Job
from orchestrator.domain.kind import Kind
from orchestrator.domain.ports import Clock
from orchestrator.domain.ports.bulk import BulkJobs
from orchestrator.domain.query import Filter
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import ACTIVE, State
from orchestrator.services.jobfile.tally import Estimate, PriceSum
from orchestrator.services.lifecycle import last_final_answer

GROUP = 200  # jobs a transaction: their rows are locked meanwhile
MOST_JOBS = 100_000  # their ids are kept between the question and the answer


class TooManyJobs(RequestError):
    """A query finds more jobs than are changed at once."""

    code = "too_many_jobs"

    def __init__(self) -> None:
        super().__init__(
            f"the query finds more than {MOST_JOBS:,} jobs", param="q", hint="narrow it, by time or by batch"
        )


@dataclass(frozen=True)
class BulkDesk:
    """What changes in bulk work with."""

    history: History
    jobs: BulkJobs
    clock: Clock
    kinds: Mapping[str, Kind]
    rules: Rules


@dataclass
class BulkPlan:
    """What a change of many jobs would come to; nothing but these jobs is touched afterwards.

    `free`: ids of jobs that are changed at no charge; `paid`: those that would be paid for again, `cost` their price (of
    a cancel: what is not spent); `runs_on`: ids of jobs that can only be flagged; `refused`: why others are left alone.
    """

    free: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    runs_on: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    cost: Estimate = field(default_factory=Estimate)


@dataclass
class BulkDone:
    """What came of it: jobs per state that they were moved to, jobs that were flagged, and why others were left alone.

    `going`: ids of those that work goes on for.
    """

    moved: Counter[State] = field(default_factory=Counter)
    going: list[str] = field(default_factory=list)
    flagged_count: int = 0
    refused: dict[str, str] = field(default_factory=dict)


Advance = Callable[[BulkDone], None]
"""Called behind each group."""


def plan_cancel(desk: BulkDesk, wanted: Filter) -> BulkPlan:
    """Look at every job that the query finds. Changes nothing. Raises TooManyJobs, QueryTooSlow."""
    plan, prices = BulkPlan(), PriceSum()
    for job in _iter_whole(desk, wanted):
        try:
            decision = decide_cancel(job, desk.clock.now())
        except Conflict:
            plan.refused[str(job.state)] += 1
            continue
        if decision is None:
            plan.runs_on.append(job.id)
        else:
            plan.free.append(job.id)
            prices.add(job.kind, job.model, job.price)
    plan.cost = prices.total()
    return plan


def plan_retry(desk: BulkDesk, wanted: Filter) -> BulkPlan:
    """Look at every job that the query finds. Changes nothing. Raises TooManyJobs, QueryTooSlow."""
    plan, prices = BulkPlan(), PriceSum()
    for job in _iter_whole(desk, wanted):
        if _can_retry(desk, job, may_charge=False):
            plan.free.append(job.id)
        elif _can_retry(desk, job, may_charge=True) and job.kind in desk.kinds:
            plan.paid.append(job.id)
            prices.add(job.kind, job.model, job.price)
        else:
            plan.refused[str(job.state)] += 1
    plan.cost = prices.total()
    return plan


def cancel_planned(
    desk: BulkDesk, plan: BulkPlan, *, actor: str, reason: str, advance: Advance = lambda _: None
) -> BulkDone:
    """Cancel the jobs of a plan, or flag those whose paid call has begun; what has ended meanwhile is left alone."""
    done = BulkDone()
    _change(desk, [*plan.free, *plan.runs_on], decide_cancel, done, actor, reason, advance)
    return done


def retry_planned(
    desk: BulkDesk, plan: BulkPlan, *, actor: str, reason: str, advance: Advance = lambda _: None
) -> BulkDone:
    """Retry the jobs of a plan. Only those that were to be paid for again may be; what has moved meanwhile is left alone."""
    done = BulkDone()
    for job_ids, may_charge in ((plan.free, False), (plan.paid, True)):
        _change(desk, job_ids, _retrying(desk, may_charge=may_charge), done, actor, reason, advance)
    return done


def _change(
    desk: BulkDesk,
    job_ids: Sequence[str],
    change: Callable[[Job, datetime], Decision | None],
    done: BulkDone,
    actor: str,
    reason: str,
    advance: Advance,
) -> None:
    for group in _groups(iter(job_ids)):
        changed = desk.jobs.change_group(group, change, actor=actor, reason=reason)
        done.moved.update(changed.moved.values())
        done.going += [job_id for job_id, state in changed.moved.items() if state in ACTIVE]
        done.flagged_count += changed.flagged_count
        done.refused |= changed.refused
        advance(done)


def _retrying(desk: BulkDesk, *, may_charge: bool) -> Callable[[Job, datetime], Decision]:
    def change(job: Job, now: datetime) -> Decision:
        return decide_retry(job, desk.rules, now, last_final_answer=last_final_answer(job), may_charge=may_charge)

    return change


def _can_retry(desk: BulkDesk, job: Job, *, may_charge: bool) -> bool:
    try:
        _retrying(desk, may_charge=may_charge)(job, desk.clock.now())
    except Conflict:
        return False
    return True


def _iter_whole(desk: BulkDesk, wanted: Filter) -> Iterator[Job]:
    found = 0
    for group in _groups(job.id for job in desk.history.iter_jobs(wanted)):
        found += len(group)
        if found > MOST_JOBS:
            raise TooManyJobs
        yield from desk.jobs.load(group)


def _groups(job_ids: Iterator[str]) -> Iterator[list[str]]:
    while group := list(islice(job_ids, GROUP)):
        yield group
